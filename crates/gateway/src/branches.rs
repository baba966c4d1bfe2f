//! What the gateway asks of the rest of Napgres. It never learns who answers.

use std::any::Any;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use nap_model::access::AccessFacts;
use nap_model::client_error::ClientError;
use nap_model::hba::Rules;
use nap_model::ids::{BranchName, Major};
use tokio::time::Instant;

/// Why a branch cannot serve a client, in words for that client.
pub type Refusal = Box<dyn ClientError + Send + Sync>;

/// What is known of a branch without waking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BranchFacts {
    /// The PostgreSQL major of its cluster.
    pub major: Major,
}

/// A server that takes connections.
pub struct Awake {
    /// The server's Unix socket.
    pub socket: PathBuf,
    /// A role that may log in there and do everything.
    pub superuser: String,
    /// While it is held the server does not fall asleep.
    pub hold: Box<dyn Any + Send>,
}

/// A branch as it was at a moment, to be read only.
pub struct Opened {
    /// Under which name it is a branch of its own.
    pub branch: BranchName,
    /// It goes some time after the last of these.
    pub hold: Box<dyn Any + Send>,
}

/// What a session can ask for by NOTIFY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Put the branch to sleep, if nothing stands in the way.
    Sleep,
    /// Read the home's settings and rules again.
    ReloadConfig,
}

/// The branches of a home.
pub trait Branches: Send + Sync + 'static {
    /// The branch for clients that name none.
    fn default_branch(&self) -> BranchName;
    /// The branch of this name.
    fn find(&self, name: &BranchName) -> Option<BranchFacts>;
    /// All names, to offer the nearest ones.
    fn names(&self) -> Vec<BranchName>;
    /// Who may connect to this branch: the rules that are in force now.
    fn rules(&self, branch: &BranchName) -> Arc<Rules>;
    /// What is known of this role and this database. Must not wake the server on behalf of a client, who has not
    /// yet proved anything.
    fn access(
        &self,
        branch: &BranchName,
        role: &str,
        database: &str,
    ) -> impl Future<Output = Result<AccessFacts, Refusal>> + Send;
    /// Whether pings of this branch's parked sessions may be answered in its server's stead: it could wake, and its
    /// settings say so.
    fn answers_pings(&self, branch: &BranchName) -> bool;
    /// A session has said whether its server is to stay awake: `SET nap.keep_awake = on|off`. Must not block.
    fn keep_awake(&self, branch: &BranchName, on: bool);
    /// The role whose sessions may control this branch by NOTIFY; none: nobody may.
    fn control_role(&self, branch: &BranchName) -> Option<String>;
    /// A session of that role has asked for this. Must not block.
    fn control(&self, branch: &BranchName, order: Order);
    /// Opens a moment of a branch's past for a role that has been let in to the branch, and is no mightier then than it is
    /// today. The moment as it was written.
    fn open_past(
        &self,
        branch: &BranchName,
        at: &str,
        role: &str,
    ) -> impl Future<Output = Result<Opened, Refusal>> + Send;
    /// Wakes the server and holds it awake. Answers by the deadline: nobody knows better why it is late.
    fn wake(&self, branch: &BranchName, deadline: Instant) -> impl Future<Output = Result<Awake, Refusal>> + Send;
}
