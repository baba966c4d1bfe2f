//! From awake to dozing and back: what the owner does.

use std::sync::Arc;
use std::time::Duration;

use nap_model::guard::{Guard, Holding, Observation, guards};
use nap_model::state::{Reason, State};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::lie_down::{Bed, Laid, Stir, pulse};
use super::stop::Settled;
use super::{Done, Owner};
use crate::error::SleepError;
use crate::handle::unused_since;
use crate::spec::DozePolicy;

/// How soon a server is looked at again that a session has thawed: a ping is no use of it, and it may doze on.
const LOOK_AFTER_THAW: Duration = Duration::from_secs(1);

impl Owner {
    /// What it takes to freeze this server; `None`: it has no process, or somebody copies it, who may have it stand still
    /// and must not have it thawed.
    pub(super) fn bed(&self) -> Option<Bed> {
        if self.is_copied() {
            return None;
        }
        Some(Bed {
            branch: self.branch(),
            admin: self.admin.clone(),
            sessions: self.spec.sessions.clone(),
            guardian: self.shared.guardian.clone(),
            data: self.spec.places.data.clone(),
            postmaster: self.running.as_ref()?.watch.pid(),
            policy: self.policy(),
            checkpointed: self.checkpointed,
        })
    }

    fn is_copied(&self) -> bool {
        Arc::strong_count(&self.copying) > 1
    }

    /// Its processes are stopped. Whatever was said meanwhile counts first.
    pub(super) fn on_laid(&mut self, laid: Laid) {
        while let Ok(command) = self.inbox.try_recv() {
            self.on_command(command);
        }
        if self.state != State::Settling {
            return;
        }
        let Laid { doze, roles, checkpointed, attached, pinned, why } = laid;
        if self.leases != attached {
            // A session has left, and its backend must hear of it; or somebody is on the way.
            drop(doze);
            return self.stay_for_sessions(self.holding_now());
        }
        self.last_seen = Observation::default();
        self.holding = Holding { active: 0, pinned };
        self.checkpointed = Some(checkpointed);
        self.know_roles(roles.snapshot);
        self.doze = Some(doze);
        // Pins end only by what a session does, and that thaws: until then there is no use in trying to sleep.
        self.timer = if why == Reason::OnlyPinned { None } else { self.sleep_due() };
        self.go(why);
        for waiter in self.queues.doze.drain(..) {
            let _ = waiter.send(Ok(()));
        }
        let (branch, standing) = (self.branch(), self.guards(false));
        self.deny_sleep(|| SleepError::Guarded { branch: branch.clone(), guards: standing.clone() });
        // Without any session it may make room for another server.
        self.shared.slots.nudge();
    }

    /// A session turned the freezing round.
    pub(super) fn on_spoken(&mut self) {
        self.go(Reason::ClientSpoke);
        self.set_idle_timer();
        self.look_soon();
        let holding = self.holding_now();
        let standing = vec![Guard::Sessions(holding.active.max(1))];
        let branch = self.branch();
        self.deny_sleep(|| SleepError::Guarded { branch: branch.clone(), guards: standing.clone() });
    }

    /// Its processes did not stop, or nobody would have let them go on.
    pub(super) fn on_not_frozen(&mut self, problem: String) {
        self.stay_awake_because(Reason::NotFrozen);
        let branch = self.branch();
        self.deny_sleep(|| SleepError::Failed { branch: branch.clone(), problem: problem.clone() });
    }

    pub(super) fn on_stir(&mut self, stir: Stir) {
        match stir {
            Stir::Spoke => {
                self.thaw(Reason::ClientSpoke);
                self.look_soon();
            }
            Stir::GuardianLost => self.thaw(Reason::GuardianLost),
            Stir::Pulse => {
                let Some(bed) = self.bed() else { return };
                let Some(doze) = self.doze.take() else { return };
                self.job = Some(Box::pin(async move { Done::Pulsed(pulse(bed, doze).await) }));
            }
        }
    }

    /// It went on for a moment, and nothing came of it; or something did.
    pub(super) fn on_pulsed(&mut self, pulsed: Result<Box<Laid>, Settled>) {
        while let Ok(command) = self.inbox.try_recv() {
            self.on_command(command);
        }
        if self.state != State::Dozing {
            return;
        }
        match pulsed {
            Ok(laid) if laid.attached == self.leases => {
                tracing::debug!(branch = %self.spec.branch, "thawed for a moment");
                let Laid { doze, roles, checkpointed, .. } = *laid;
                self.checkpointed = Some(checkpointed);
                self.know_roles(roles.snapshot);
                self.doze = Some(doze);
                self.on_questions();
            }
            Ok(_) => self.thaw(Reason::SessionLeft),
            Err(Settled::Guarded(seen, _)) => {
                self.last_seen = seen;
                self.forget_roles();
                self.stay_awake_because(Reason::GuardStands);
                self.on_questions();
            }
            Err(Settled::Spoke | Settled::Held(_)) => {
                self.thaw(Reason::ClientSpoke);
                self.look_soon();
            }
            Err(other) => {
                if let Settled::Failed(error) = other {
                    tracing::warn!(branch = %self.spec.branch, %error, "cannot be looked into before it dozes on");
                }
                self.forget_roles();
                self.stay_awake_because(Reason::NotFrozen);
                self.on_questions();
            }
        }
    }

    /// It goes on, for this reason.
    pub(super) fn thaw(&mut self, reason: Reason) {
        self.let_go();
        self.go(reason);
        self.set_idle_timer();
        self.publish();
        self.on_questions();
    }

    /// Its processes go on, whatever comes next.
    pub(super) fn let_go(&mut self) {
        // A pulse, or a freezing under way: whoever drops that lets them go on too.
        self.job = None;
        self.doze = None;
        self.forget_roles();
    }

    fn look_soon(&mut self) {
        let soon = Instant::now() + LOOK_AFTER_THAW;
        self.timer = self.timer.map(|timer| timer.min(soon));
    }

    pub(super) fn on_doze(&mut self, reply: oneshot::Sender<Result<(), SleepError>>) {
        match self.state {
            State::Dozing => drop(reply.send(Ok(()))),
            State::Awake if self.is_copied() => {
                let guards = guards(self.holding_now(), None, false, &Observation::default());
                drop(reply.send(Err(SleepError::Guarded { branch: self.branch(), guards })));
            }
            State::Awake => {
                self.queues.doze.push(reply);
                self.settle(Reason::AskedToDoze);
            }
            // It is told what comes of that.
            State::Settling => self.queues.doze.push(reply),
            state => drop(reply.send(Err(SleepError::NotAwake { branch: self.branch(), state }))),
        }
    }

    /// Other settings: they hold at once.
    pub(super) fn on_policy_changed(&mut self) {
        if self.state == State::Dozing {
            let why = self.status.borrow().reason;
            match self.policy().doze {
                DozePolicy::Never => return self.thaw(Reason::DozeOff),
                DozePolicy::WhenPinned | DozePolicy::After(_) if why == Some(Reason::Unused) => {
                    self.timer = self.sleep_due();
                }
                DozePolicy::WhenPinned | DozePolicy::After(_) => {}
            }
        }
        self.set_idle_timer();
        self.publish();
    }

    /// When it is to sleep, as things are now.
    pub(super) fn sleep_due(&self) -> Option<Instant> {
        self.unused_since().zip(self.policy().sleep.span()).map(|(since, span)| since + span)
    }

    /// When it is to doze, pinned or not.
    pub(super) fn doze_due(&self) -> Option<Instant> {
        let DozePolicy::After(span) = self.policy().doze else { return None };
        let since = unused_since(self.leases, *self.idle_since.borrow(), true, &*self.spec.sessions);
        since.map(|since| since + span)
    }
}
