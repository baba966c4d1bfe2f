//! The two ways that lead PostgreSQL's programs to a branch and keep them there when they change the database.

use std::process::Command;

use crate::home::TestHome;

/// A way to a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `USER@BRANCH`, over TCP with the password.
    User,
    /// The branch's own socket directory, as a peer.
    Door,
}

impl Way {
    /// Both.
    pub const ALL: [Way; 2] = [Way::User, Way::Door];

    /// How this way writes a role of a branch.
    pub fn role(self, role: &str, branch: &str) -> String {
        match self {
            Way::User => format!("{role}@{branch}"),
            Way::Door => role.to_owned(),
        }
    }
}

impl TestHome {
    /// What `nap env` gives for this way to a branch (`BRANCH` or `DATABASE@BRANCH`).
    #[track_caller]
    pub fn way(&self, way: Way, target: &str) -> Vec<(String, String)> {
        let mut arguments = vec!["env", "--json", target];
        if way == Way::User {
            arguments.push("--tools");
        }
        let json = self.nap(&arguments).json();
        let pair = |(name, value): (&String, &serde_json::Value)| (name.clone(), value.as_str().unwrap().to_owned());
        json.as_object().unwrap().iter().map(pair).filter(|(name, _)| name.starts_with("PG")).collect()
    }

    /// One of PostgreSQL's programs that goes this way by its environment alone.
    #[track_caller]
    pub fn program_on(&self, way: Way, target: &str, name: &str) -> Command {
        let mut command = self.program(name);
        command.envs(self.way(way, target));
        command
    }

    /// The first role of the home, named after whoever runs the test.
    #[track_caller]
    pub fn role(&self) -> String {
        let url = self.nap(&["url", "--json"]).json();
        url["connection"]["role"].as_str().expect("a role").to_owned()
    }

    /// The password of the first role.
    #[track_caller]
    pub fn password(&self) -> String {
        let url = self.nap(&["url", "--json"]).json();
        url["connection"]["password"].as_str().expect("a password").to_owned()
    }

    /// The directory of a branch's own socket.
    pub fn door(&self, branch: &str) -> std::path::PathBuf {
        self.path().join("run").join(branch)
    }

    /// How often the server of a branch was started since the daemon runs.
    #[track_caller]
    pub fn wakes(&self, branch: &str) -> u64 {
        let found = self.branch(branch).unwrap_or_else(|| panic!("no branch {branch}"));
        found["status"]["wakes"].as_u64().expect("a number of wakes")
    }
}

impl TestHome {
    /// One login over TCP with this password, answered by who the session is. `target` is `DATABASE@BRANCH`.
    pub fn login(&self, role: &str, password: &str, target: &str) -> crate::Output {
        let connection =
            format!("host=127.0.0.1 port={} user='{role}' password='{password}' dbname='{target}'", self.port());
        self.psql_with(&connection, "select current_user")
    }

    /// Puts a branch to sleep, and says how often it has been woken so far.
    #[track_caller]
    pub fn put_to_sleep(&self, branch: &str) -> u64 {
        self.sleep(branch);
        self.wakes(branch)
    }

    /// It sleeps, and was woken as often as before: what was tried meanwhile woke nothing.
    #[track_caller]
    pub fn still_sleeps(&self, branch: &str, wakes: u64) {
        assert_eq!((self.state(branch).as_str(), self.wakes(branch)), ("asleep", wakes));
    }
}
