//! The home that a client plays in, and the requests that it gets.

use std::fmt::Write as _;
use std::path::PathBuf;

use nap_testkit::{PortPair, TestHome, Way};
use serde_json::{Value, json};

use crate::cases::{Scene, Transport};

/// Names that a URL can hold only percent-encoded.
const ODD_ROLE: &str = "o'hara & söhne";
const ODD_PASSWORD: &str = "p@ss:w/rd?#% &=+";
const ODD_DATABASE: &str = "odd name/?#%&";

/// Of the roles that may come over one transport only.
const PASSWORD: &str = "kept";

/// How many rows go in and out by COPY, and how many queries are pipelined.
pub(crate) const COPIED: u64 = 10_000;
pub(crate) const PIPELINED: u64 = 100;
/// Rows of a kibibyte each.
pub(crate) const LARGE: u64 = 100_000;

/// Branch, database and the mark that only this branch has.
const WHERE_AM_I: &str = "select concat_ws(' ', current_setting('nap.branch'), current_database(), \
                          (select string_agg(name, ',') from mark))";

/// Whoever comes over another transport than the case says is refused.
const RULES: &str = "\
hostnossl all over_tcp all scram-sha-256
hostssl all over_tls all scram-sha-256
host all over_tcp,over_tls all reject
";

/// Branches `main` and `feat`, and all that a connection may need.
pub(crate) struct Stage {
    pub(crate) home: TestHome,
    role: String,
    password: String,
    own_port: PortPair,
    root_certificate: String,
}

impl Stage {
    pub(crate) fn set() -> Self {
        let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
        home.main_and_feat();
        let own_port = PortPair::free();
        home.nap(&["set", "feat", &format!("port={}", own_port.port)]).ok();
        home.psql("postgres@feat", &format!("create database \"{ODD_DATABASE}\" template postgres")).ok();
        let role = ODD_ROLE.replace('"', "\"\"");
        let secret = ODD_PASSWORD.replace('\'', "''");
        home.psql("postgres@feat", &format!("create role \"{role}\" superuser login password '{secret}'")).ok();
        for branch in ["main", "feat"] {
            let role = |name| format!("create role {name} superuser login password '{PASSWORD}';");
            home.psql(&format!("postgres@{branch}"), &(role("over_tcp") + &role("over_tls"))).ok();
        }
        let rules = home.path().join("pg_hba.conf");
        let others = std::fs::read_to_string(&rules).unwrap();
        std::fs::write(rules, format!("{RULES}{others}")).unwrap();
        home.nap(&["config", "reload"]).ok();
        std::fs::write(home.beside().join("hosts"), "127.0.0.1 localhost feat.localhost\n").unwrap();
        let url = home.nap(&["url", "--verify", "postgres@feat"]).ok().to_owned();
        let root_certificate = url.split_once("sslrootcert=").expect("a root certificate").1;
        let root_certificate = root_certificate.split('&').next().unwrap().replace("%2F", "/");
        Self { role: home.role(), password: home.password(), own_port, root_certificate, home }
    }

    /// What resolves the names below localhost, for clients that can be told. A program may have files beside it.
    pub(crate) fn hosts(&self) -> PathBuf {
        self.home.beside().join("hosts")
    }

    /// The environment that a program is started in for the case `environment`.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        self.home.way(Way::User, "postgres@feat")
    }

    /// Where the client is to connect.
    fn connection(&self, scene: Scene) -> Value {
        let home = &self.home;
        let url = |url: String| json!({ "url": url });
        match scene.case {
            "url" => return url(home.url("postgres@feat")),
            "url_verify" => return url(home.nap(&["url", "--verify", "postgres@feat"]).ok().to_owned()),
            "url_socket" => return url(self.url_of_the_socket()),
            "url_option" => return self.urls_with("options=endpoint%3Dfeat"),
            "url_parameter" => return self.urls_with("branch=feat"),
            "url_percent" => return self.odd_urls("postgres@feat"),
            "url_percent_database" => return self.odd_urls(&percent(&format!("{ODD_DATABASE}@feat"))),
            "keywords" => return self.strings(),
            "environment" => return json!({ "environment": true }),
            _ => {}
        }
        let mut parts = self.parts(scene.over);
        // Cases that name the branch otherwise have the plain name of the database.
        let otherwise =
            ["user_name", "option", "endpoint", "parameter", "own_port", "own_socket", "server_name", "default_branch"];
        parts["database"] = if otherwise.contains(&scene.case) { "postgres" } else { "postgres@feat" }.into();
        match scene.case {
            "user_name" => parts["user"] = format!("{}@feat", parts["user"].as_str().unwrap()).into(),
            "option" => parts["options"] = "-c nap.branch=feat".into(),
            "endpoint" => parts["options"] = "endpoint=feat".into(),
            "parameter" => parts["parameters"] = json!({ "branch": "feat" }),
            "own_port" => parts["port"] = self.own_port.port.into(),
            "own_socket" => self.through_socket(&mut parts, home.door("feat")),
            "server_name" => {
                parts["host"] = "feat.localhost".into();
                parts["address"] = "127.0.0.1".into();
            }
            "channel_binding" => parts["channel_binding"] = "require".into(),
            "wrong_password" => parts["password"] = "wrong".into(),
            "unknown_branch" => parts["database"] = "postgres@feet".into(),
            _ => {}
        }
        parts
    }

    /// All but the database.
    fn parts(&self, over: Transport) -> Value {
        let mut parts = json!({ "host": "localhost", "port": self.home.port(), "password": PASSWORD });
        match over {
            Transport::Tcp => parts["user"] = "over_tcp".into(),
            Transport::Tls => {
                parts["user"] = "over_tls".into();
                parts["root_certificate"] = self.root_certificate.clone().into();
            }
            Transport::Socket => {
                parts["user"] = self.role.clone().into();
                parts.as_object_mut().unwrap().remove("password");
                self.through_socket(&mut parts, self.home.socket_directory());
            }
        }
        parts
    }

    fn through_socket(&self, parts: &mut Value, directory: PathBuf) {
        parts["host"] = directory.to_str().unwrap().into();
        parts["socket_file"] = directory.join(format!(".s.PGSQL.{}", self.home.port())).to_str().unwrap().into();
    }

    fn url_of_the_socket(&self) -> String {
        let directory = self.home.socket_directory();
        let (role, port) = (percent(&self.role), self.home.port());
        format!("postgresql:///postgres@feat?host={}&port={port}&user={role}", directory.display())
    }

    fn urls_with(&self, query: &str) -> Value {
        let (role, password, port) = (percent(&self.role), &self.password, self.home.port());
        json!({
            "url": format!("postgresql://{role}:{password}@localhost:{port}/postgres?{query}"),
            "jdbc_url": format!("jdbc:postgresql://localhost:{port}/postgres?user={role}&password={password}\
                                 &{query}"),
        })
    }

    fn odd_urls(&self, database: &str) -> Value {
        let (role, password, port) = (percent(ODD_ROLE), percent(ODD_PASSWORD), self.home.port());
        json!({
            "url": format!("postgresql://{role}:{password}@localhost:{port}/{database}"),
            "jdbc_url": format!("jdbc:postgresql://localhost:{port}/{database}?user={role}&password={password}"),
        })
    }

    fn strings(&self) -> Value {
        let (role, password, port) = (&self.role, &self.password, self.home.port());
        json!({
            "keywords": format!("host=localhost port={port} user='{role}' password={password} dbname=postgres@feat"),
            "jdbc_url": format!("jdbc:postgresql://localhost:{port}/postgres?user={role}&password={password}\
                                 &options=-c%20nap.branch=feat"),
        })
    }

    /// The request of a scene.
    pub(crate) fn request(&self, scene: Scene) -> Value {
        let mut request = self.connection(scene);
        let mut add = |fields: Value| request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let name = scene.case;
        match name {
            "cancel" => add(json!({ "do": "cancel", "sql": "select pg_sleep(600)",
                "watch": "select count(*) from pg_stat_activity where wait_event = 'PgSleep'" })),
            "copy" | "pipeline" => add(json!({ "do": name, "count": PIPELINED, "rows": copied_rows(),
                "create": "create temporary table goods (number int, word text)",
                "copy_in": "copy goods from stdin", "select": "select number, word from goods order by number",
                "copy_out": "copy (select number, word from goods order by number) to stdout",
                "sum": "select sum(number) from goods" })),
            "large" => add(json!({ "do": name,
                "sql": format!("select repeat('0123456789abcdef', 64) as text from generate_series(1, {LARGE})") })),
            "error" => add(json!({ "do": "error_arrives",
                "sql": "do $$ begin raise exception 'no such luck' \
                        using errcode = 'ZZ123', detail = 'a detail', hint = 'a hint'; end $$" })),
            "wrong_password" | "unknown_branch" => add(json!({ "do": "refused", "sql": "select 1" })),
            _ => add(json!({ "do": "ask", "sql": WHERE_AM_I })),
        }
        request
    }

    /// What `ask` must say.
    pub(crate) fn expected(case: &str) -> String {
        match case {
            "default_branch" => "main postgres main".into(),
            "url_percent_database" => format!("feat {ODD_DATABASE} feat"),
            _ => "feat postgres feat".into(),
        }
    }
}

fn copied_rows() -> String {
    (1..=COPIED).fold(String::new(), |mut rows, number| {
        writeln!(rows, "{number}\tword {number}").unwrap();
        rows
    })
}

fn percent(text: &str) -> String {
    let encode = |byte: u8| if byte.is_ascii_alphanumeric() { (byte as char).into() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}
