//! What leads to a doze, beside the owner's queue: nobody does anything, no guard stands, a guardian knows, all processes
//! are stopped. Whoever drops any of this on its way lets them go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nap_model::ids::BranchName;
use nap_model::lsn::Lsn;
use nap_model::state::Reason;
use tokio::time::{Instant, sleep, sleep_until};

use super::stop::{self, LAST_BACKEND_LEAVES, LOOK_PAUSE, Settled};
use crate::admin::{Admin, Roles};
use crate::freeze::{Frozen, freeze};
use crate::guardian::{Guardian, NoGuardian, Ward};
use crate::procfs;
use crate::sessions::{Alarm, Sessions};
use crate::spec::Policy;

/// No doze is longer without a thaw of a moment: some things of a server go by the clock on the wall.
const PULSE_AFTER: Duration = Duration::from_secs(60);
/// How long that moment is: time enough for a backend to hear that its timeout is over, and to end.
const PULSE: Duration = Duration::from_millis(50);
/// How often it is looked whether a timeout of a session is over, which then is late by this at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What it takes to freeze a server.
pub(super) struct Bed {
    pub(super) branch: BranchName,
    pub(super) admin: Arc<Admin>,
    pub(super) sessions: Arc<dyn Sessions>,
    pub(super) guardian: Arc<Guardian>,
    pub(super) data: PathBuf,
    pub(super) postmaster: i32,
    pub(super) policy: Policy,
    /// Where the WAL ended after the last checkpoint for a doze.
    pub(super) checkpointed: Option<Lsn>,
}

/// A server that is frozen, until this is dropped.
pub(super) struct Doze {
    // In this order: the guardian hears that it goes on when it does.
    frozen: Frozen,
    ward: Ward,
    alarm: Alarm,
    next_look: Instant,
    pulse_at: Instant,
}

/// Frozen, and what is known of it.
pub(super) struct Laid {
    pub(super) doze: Doze,
    /// As they are for as long as it is frozen.
    pub(super) roles: Roles,
    /// Where the WAL stood at the last checkpoint for a doze.
    pub(super) checkpointed: Lsn,
    /// Sessions that have a backend in it; of them, those that are known to be pinned.
    pub(super) attached: u32,
    pub(super) pinned: u32,
    pub(super) why: Reason,
}

/// Why a doze does not simply go on.
pub(super) enum Stir {
    /// A session does something.
    Spoke,
    /// The guardian has died.
    GuardianLost,
    /// It is time for a pulse.
    Pulse,
}

impl Doze {
    /// Waits for something to be done. Not to be called again afterwards.
    pub(super) async fn stirred(&mut self) -> Stir {
        loop {
            tokio::select! {
                biased;
                () = &mut self.alarm => return Stir::Spoke,
                () = self.ward.lost() => return Stir::GuardianLost,
                () = sleep_until(self.next_look) => {}
            }
            let now = Instant::now();
            self.next_look = now + LOOK_EVERY;
            if now >= self.pulse_at || self.frozen.timeout_is_over() {
                return Stir::Pulse;
            }
        }
    }
}

/// Freezes a server that nobody uses.
pub(super) async fn lie_down(bed: Bed, why: Reason) -> Settled {
    // Before anything is looked at: what a session does from here on ends it.
    let alarm = bed.sessions.alarm();
    match lay(bed, None, alarm, why).await {
        Ok(laid) => Settled::Laid(laid),
        Err(settled) => settled,
    }
}

/// Lets a frozen server go on for a moment, and freezes it again if nothing comes of it.
pub(super) async fn pulse(bed: Bed, doze: Doze) -> Result<Box<Laid>, Settled> {
    let Doze { frozen, ward, mut alarm, .. } = doze;
    drop(frozen);
    tokio::select! {
        biased;
        () = &mut alarm => return Err(Settled::Spoke),
        () = sleep(PULSE) => {}
    }
    let ward = Some(ward).filter(|ward| !ward.is_lost());
    lay(bed, ward, alarm, Reason::Unused).await
}

async fn lay(bed: Bed, ward: Option<Ward>, mut alarm: Alarm, why: Reason) -> Result<Box<Laid>, Settled> {
    let freezing = async {
        let ward = match ward {
            Some(ward) => ward,
            None => bed.guardian.watch_over(&bed.data).await.map_err(|error| no_guardian(&bed, &error))?,
        };
        no_guard_stands(&bed).await?;
        // It may take long: what came meanwhile counts.
        let (roles, checkpointed) = bed.admin.before_doze(bed.checkpointed).await.map_err(Settled::Failed)?;
        no_guard_stands(&bed).await?;
        let (attached, pinned) = nobody_does_anything(&bed).await?;
        let ours = bed.admin.own_backends().await.map_err(Settled::Failed)?;
        bed.admin.close().await;
        all_gone(&ours).await;
        let frozen = freeze(&bed.data, bed.postmaster).await.map_err(|error| {
            tracing::warn!(branch = %bed.branch, %error, "not frozen");
            Settled::NotFrozen(error.to_string())
        })?;
        Ok::<_, Settled>((frozen, ward, roles, checkpointed, attached, pinned))
    };
    let (frozen, ward, roles, checkpointed, attached, pinned) = tokio::select! {
        biased;
        () = &mut alarm => return Err(Settled::Spoke),
        frozen = freezing => frozen?,
    };
    let now = Instant::now();
    let doze = Doze { frozen, ward, alarm, next_look: now + LOOK_EVERY, pulse_at: now + PULSE_AFTER };
    Ok(Box::new(Laid { doze, roles, checkpointed, attached, pinned, why }))
}

/// Sessions that have a backend, and those of them that are pinned.
async fn nobody_does_anything(bed: &Bed) -> Result<(u32, u32), Settled> {
    let patience = Instant::now() + LAST_BACKEND_LEAVES;
    loop {
        let quiet = bed.sessions.quiet();
        if quiet.holding.active == 0 {
            return Ok((quiet.attached, quiet.holding.pinned));
        }
        // One whose client has just gone is still on its way out.
        if Instant::now() >= patience {
            return Err(Settled::Held(quiet.holding));
        }
        sleep(LOOK_PAUSE).await;
    }
}

/// Whatever must not be interrupted by a sleep must not be by a doze either.
async fn no_guard_stands(bed: &Bed) -> Result<(), Settled> {
    let ours = || bed.sessions.quiet().attached.saturating_add(bed.sessions.listening());
    stop::no_guard_stands(&bed.admin, ours, &bed.policy, false).await
}

/// Our own backends would be frozen with alarms that go off for nobody.
async fn all_gone(backends: &[i32]) {
    let patience = Instant::now() + LAST_BACKEND_LEAVES;
    while backends.iter().any(|pid| procfs::is_alive(*pid)) && Instant::now() < patience {
        sleep(LOOK_PAUSE).await;
    }
}

fn no_guardian(bed: &Bed, error: &NoGuardian) -> Settled {
    if bed.guardian.is_new_complaint() {
        tracing::error!(branch = %bed.branch, %error, "nothing dozes without a guardian");
    }
    Settled::NotFrozen(error.to_string())
}
