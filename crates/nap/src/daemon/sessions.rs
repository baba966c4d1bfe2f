//! The sessions of a branch, as its server's owner asks for them.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use nap_gateway::Gateway;
use nap_model::guard::Holding;
use nap_model::ids::BranchName;
use nap_server::sessions::{Alarm, Parking, Quiet, Sessions, Silence};
use tokio::time::Instant;

use super::branch_set::BranchSet;

/// How long all sessions of a branch together may take to be parked: each takes milliseconds, and is asked at most for
/// seconds. Who is later stays active, and is asked again when the server tries to sleep next.
pub(super) const PARK_WITHIN: Duration = Duration::from_secs(30);

/// The gateway, once there is one: branches are there before.
pub(super) type LateGateway = Arc<OnceLock<Weak<Gateway<BranchSet>>>>;

/// The sessions of one branch.
pub(super) struct BranchSessions {
    pub(super) branch: BranchName,
    pub(super) gateway: LateGateway,
}

impl BranchSessions {
    fn gateway(&self) -> Option<Arc<Gateway<BranchSet>>> {
        self.gateway.get()?.upgrade()
    }
}

impl Sessions for BranchSessions {
    fn quiet(&self) -> Quiet {
        let Some(gateway) = self.gateway() else { return Quiet::default() };
        let nap_gateway::Quiet { attached, active, pinned, since } = gateway.quiet(&self.branch);
        Quiet { attached, holding: Holding { active, pinned }, since }
    }

    fn park(&self, all: bool) -> Parking {
        let (gateway, branch) = (self.gateway(), self.branch.clone());
        Box::pin(async move {
            match gateway {
                Some(gateway) => gateway.park(&branch, all, Instant::now() + PARK_WITHIN).await,
                None => Holding::default(),
            }
        })
    }

    fn end_attached(&self) {
        if let Some(gateway) = self.gateway() {
            gateway.end_attached(&self.branch);
        }
    }

    fn listening(&self) -> u32 {
        self.gateway().map_or(0, |gateway| gateway.hub_backends(&self.branch))
    }

    fn fall_silent(&self) -> Silence {
        let (gateway, branch) = (self.gateway(), self.branch.clone());
        Box::pin(async move {
            if let Some(gateway) = gateway {
                gateway.fall_silent(&branch).await;
            }
        })
    }

    fn alarm(&self) -> Alarm {
        match self.gateway() {
            Some(gateway) => Box::pin(gateway.alarm(&self.branch)),
            None => Box::pin(std::future::pending()),
        }
    }
}
