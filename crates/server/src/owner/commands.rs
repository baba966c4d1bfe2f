//! What the owner does when it is asked.

use std::time::Duration;

use nap_model::guard::{Holding, Observation, guards};
use nap_model::state::{Reason, State};
use tokio::sync::oneshot;

use super::access::Question;
use super::{Owner, until_it_dozes};
use crate::admin::AdminError;
use crate::error::{SleepError, WakeError};
use crate::handle::{AsleepHold, Command, Lease};
use crate::live::Live;

impl Owner {
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Acquire { reply } => self.on_acquire(reply),
            Command::Released => self.on_released(),
            Command::Access { role, database, reply } => self.on_question(Question::new(role, database, reply)),
            Command::AskAgain(question) => self.on_question(question),
            Command::Sleep { why, reply } => self.on_sleep(why, reply),
            Command::KeepAwake { on } => self.on_keep_awake(on),
            Command::Doze { reply } => self.on_doze(reply),
            Command::Maintain { budget, reply } => self.maintain(budget, reply),
            Command::Restart { reply } => self.on_restart(reply),
            Command::HoldAsleep { reply } => {
                self.queues.hold.push(reply);
                self.take_up_sleep_requests();
            }
            Command::HoldIfAsleep { reply } => {
                if self.state == State::Asleep && !self.held && self.job.is_none() {
                    self.held = true;
                    let _ = reply.send(AsleepHold::new(self.outbox.clone()));
                }
            }
            Command::Unhold => {
                self.held = false;
                // Another state may have taken its place, at the same place of its log.
                self.forget_roles();
                if self.state == State::Asleep {
                    self.after_sleep();
                }
            }
            Command::Live { reply } => self.on_live(reply),
            Command::WhyLate { reply } => drop(reply.send(self.why_late())),
            Command::Look { reply } => self.look(reply),
            Command::End { reply } => self.on_end(reply),
        }
    }

    fn on_acquire(&mut self, reply: oneshot::Sender<Result<Lease, WakeError>>) {
        if self.ending() {
            let _ = reply.send(Err(WakeError::Ending { branch: self.branch() }));
            return;
        }
        match self.state {
            State::Awake => self.grant(reply),
            State::Dozing => {
                self.thaw(Reason::ClientArrived);
                self.grant(reply);
            }
            State::Settling => {
                self.job = None;
                self.go(Reason::ClientArrived);
                self.grant(reply);
                self.deny_for_sessions();
            }
            State::Asleep | State::Failed => {
                self.queues.acquire.push(reply);
                self.begin_wake(Reason::ClientArrived);
            }
            State::Waking | State::Stopping => self.queues.acquire.push(reply),
        }
        self.publish();
    }

    pub(super) fn grant(&mut self, reply: oneshot::Sender<Result<Lease, WakeError>>) {
        self.leases += 1;
        self.set_idle_timer();
        // If nobody is there to take it the lease is dropped, and so given back, here.
        let _ = reply.send(Ok(Lease::new(self.socket(), self.admin.superuser(), self.outbox.clone())));
    }

    fn on_released(&mut self) {
        self.leases = self.leases.saturating_sub(1);
        if self.state == State::Dozing {
            // Its backend must hear that its client has gone, or its postmaster that a backend has.
            self.thaw(Reason::SessionLeft);
        }
        if self.leases == 0 {
            self.set_idle_timer();
            self.take_up_sleep_requests();
        } else if self.is_told_to_sleep() {
            // It may have been the one that kept it awake.
            self.set_idle_timer();
        }
        self.publish();
    }

    fn on_sleep(&mut self, why: Reason, reply: oneshot::Sender<Result<(), SleepError>>) {
        if why == Reason::RoomNeeded && !self.may_make_room() {
            // It was idle when it was chosen, and is no more: another one must make room.
            let error = SleepError::Guarded { branch: self.branch(), guards: self.guards(true) };
            let _ = reply.send(Err(error));
            return;
        }
        self.queues.sleep.push(reply);
        if why == Reason::RoomNeeded {
            return self.settle(why);
        }
        self.take_up_sleep_requests();
    }

    /// A session has said whether the server is to stay awake.
    fn on_keep_awake(&mut self, on: bool) {
        self.told_to_sleep = !on;
        self.set_idle_timer();
        self.publish();
    }

    /// It was idle when it was asked, and was not found to be pinned since.
    fn may_make_room(&self) -> bool {
        let may = match self.state {
            State::Awake => true,
            State::Dozing => self.status.borrow().reason != Some(Reason::OnlyPinned),
            _ => false,
        };
        may && self.unused_since().is_some()
    }

    fn on_restart(&mut self, reply: oneshot::Sender<Result<(), WakeError>>) {
        match self.state {
            State::Asleep => {
                let _ = reply.send(Ok(()));
            }
            State::Failed => {
                self.queues.restart.push(reply);
                self.not_before = None;
                self.begin_wake(Reason::AskedToWake);
            }
            State::Awake | State::Dozing | State::Settling => {
                self.queues.restart.push(reply);
                self.begin_stop(Reason::AskedToRestart);
            }
            // What is to be applied may have been read already, or not.
            State::Waking => {
                self.restart_when_ready = true;
                self.queues.restart.push(reply);
            }
            State::Stopping => self.queues.restart.push(reply),
        }
    }

    /// Who asks has a lease: it does not sleep meanwhile.
    fn maintain(&self, budget: Duration, reply: oneshot::Sender<Result<u32, AdminError>>) {
        let admin = self.admin.clone();
        tokio::spawn(async move {
            let _ = reply.send(admin.maintain(budget).await);
        });
    }

    /// Who asks has a lease: it does not sleep meanwhile.
    fn on_live(&self, reply: oneshot::Sender<Live>) {
        let Some(running) = self.running.as_ref().filter(|_| self.state == State::Awake) else { return };
        let _ = reply.send(Live {
            admin: self.admin.clone(),
            guardian: self.shared.guardian.clone(),
            data: self.spec.places.data.clone(),
            postmaster: running.watch.pid(),
            major: self.spec.major,
            copying: self.copying.clone(),
        });
    }

    fn look(&mut self, reply: oneshot::Sender<Vec<nap_model::guard::Guard>>) {
        if !matches!(self.state, State::Awake | State::Dozing | State::Settling) {
            if self.state == State::Asleep {
                self.look_behind_our_back();
            }
            let _ = reply.send(Vec::new());
            return;
        }
        let (admin, leases, policy) = (self.admin.clone(), self.leases, self.policy());
        let settings = policy.sleep.guard();
        let holding = self.holding_now();
        let listening = self.spec.sessions.listening();
        if self.state == State::Dozing {
            // No look is worth a thaw: no other guard stood when it lay down.
            let _ = reply.send(guards(holding, settings, true, &Observation::default()));
            return;
        }
        let mut status = self.status.subscribe();
        tokio::spawn(async move {
            let mut seen = tokio::select! {
                seen = admin.observe() => policy.heeded(seen.unwrap_or_default()),
                // It was frozen: then no other guard stood.
                () = until_it_dozes(&mut status) => Observation::default(),
            };
            // The gateway's sessions have client backends too.
            seen.other_client_backends = seen.other_client_backends.saturating_sub(leases.saturating_add(listening));
            let _ = reply.send(guards(holding, settings, true, &seen));
        });
    }

    /// The sessions that keep it awake now. A lease that no session has is somebody's who is on the way.
    pub(super) fn holding_now(&self) -> Holding {
        if !self.policy().park {
            return Holding { active: self.leases, pinned: 0 };
        }
        let quiet = self.spec.sessions.quiet();
        let others = self.leases.saturating_sub(quiet.attached);
        Holding { active: quiet.holding.active + others, ..quiet.holding }
    }

    fn on_end(&mut self, reply: oneshot::Sender<()>) {
        self.queues.end.push(reply);
        match self.state {
            State::Asleep | State::Stopping => {}
            State::Failed => {
                self.go(Reason::AskedToSleep);
            }
            State::Waking | State::Awake | State::Dozing | State::Settling => self.begin_stop(Reason::DaemonStops),
        }
    }
}
