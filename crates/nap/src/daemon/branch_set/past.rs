//! Branches of the past: the nearest snapshot, recovered to the moment before anybody can see it.

use nap_control::{Failure, FailureKind};
use nap_model::access::AccessSnapshot;
use nap_model::ids::{BranchId, BranchName};
use nap_model::moment::Moment;
use nap_model::state::State;
use nap_server::recover::{NotRecovered, Past, recover};
use nap_store::{Draft, History, Recovery};
use tokio::time::Instant;

use super::create::{Brought, Held, WAKES_WITHIN};
use super::{BranchSet, Entry};
use crate::daemon::control_api::wake_failure;

impl BranchSet {
    /// The files of a parent as they were at a moment.
    pub(super) async fn bring_past(
        &self,
        parent: &Entry,
        draft: Draft,
        id: &BranchId,
        moment: Moment,
    ) -> Result<Brought, Failure> {
        let mut draft = Held::new(draft);
        self.write_out(parent).await?;
        let name = parent.record.name.clone();
        self.in_store(move |store| store.keep_log(&name)).await?;
        let Recovery { log, until } = draft.try_with(move |draft| draft.clone_past(moment)).await?;
        let install = self.installs.of(parent.record.major).map_err(Failure::failed)?;
        let home = self.store.home();
        nap_store::create::make_server_socket_dir(home, id)
            .map_err(|error| Failure::from_error(FailureKind::Failed, &error))?;
        let data = draft.with(|draft| draft.data()).await?;
        let (target, inclusive) = target(until);
        let past = Past { data, socket_dir: home.server_socket_dir(id), log, target, inclusive };
        match recover(&self.children, &install, &past).await {
            Ok(()) => {}
            // Nothing was committed after this time: all there is, is as it was then.
            Err(NotRecovered::EndsBefore) if matches!(until, Some(Moment::Time(_))) => {
                let past = Past { target: None, ..past };
                recover(&self.children, &install, &past).await.map_err(|error| not_recovered(&error))?;
            }
            Err(error) => return Err(not_recovered(&error)),
        }
        draft.try_with(Draft::find_where_it_left).await?;
        self.disable_subscriptions(parent, &mut draft).await?;
        // What it has now tells whether there is something to say.
        let has_none = |access: AccessSnapshot| (access.enabled_subscriptions == 0).then_some(0);
        let subscriptions = nap_store::roles::load_access(&parent.dir).and_then(has_none);
        Ok(Brought { draft, parent_in_use: false, pause: None, subscriptions })
    }

    /// What is kept of a branch's past, and whether anything can be.
    pub(in crate::daemon) async fn history(&self, name: &BranchName) -> Result<(History, bool), Failure> {
        let name = name.clone();
        self.in_store(move |store| Ok((store.history(&name)?, store.keeps_history()))).await
    }

    /// What a running server has in memory of its log belongs to its past too.
    async fn write_out(&self, parent: &Entry) -> Result<(), Failure> {
        if !matches!(parent.server.status().state, State::Waking | State::Awake | State::Settling | State::Dozing) {
            return Ok(());
        }
        let lease = parent.server.awake(Instant::now() + WAKES_WITHIN).await.map_err(wake_failure)?;
        if let Some(live) = parent.server.live(&lease).await {
            live.checkpoint().await.map_err(|error| Failure::from_error(FailureKind::Failed, &error))?;
        }
        Ok(())
    }
}

/// As PostgreSQL calls it, and whether what stands at it belongs to it: a place in the log is between two records.
fn target(until: Option<Moment>) -> (Option<(&'static str, String)>, bool) {
    match until {
        None => (None, true),
        Some(Moment::Lsn(lsn)) => (Some(("recovery_target_lsn", lsn.to_string())), false),
        // This setting takes no `Z`.
        Some(Moment::Time(time)) => {
            let text = time.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string();
            (Some(("recovery_target_time", text)), true)
        }
    }
}

fn not_recovered(error: &NotRecovered) -> Failure {
    Failure::from_error(FailureKind::Failed, error)
}
