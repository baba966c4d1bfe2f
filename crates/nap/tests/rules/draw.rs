//! Rule files, maps and connections by chance: what people write, and what nobody should.

use std::net::IpAddr;

use nap_testkit::Chaos;

use crate::client::{Encryption, Knock, Origin};

const DATABASES: &[&str] = &[
    "all",
    "all",
    "all",
    "sameuser",
    "samerole",
    "samegroup",
    "replication",
    "shop",
    "alice",
    "staff",
    "\"all\"",
    "\"replication\"",
    "\"Odd Name\"",
    "shop,alice",
    "all,replication",
    "shop, \"Odd Name\"",
    "@dbs",
    "\"@dbs\"",
    "sh\"o\"p",
    "\"\"all",
    "all\"\"",
];
const MODERN_DATABASES: &[&str] = &["/^s", "/^(shop|alice)$", "\"/^odd name$\"", "\"/d N\"", "/.", "/^a,shop", "x,/p$"];
const USERS: &[&str] = &[
    "all",
    "all",
    "all",
    "alice",
    "bob",
    "boss",
    "no-such-role",
    "+staff",
    "+people",
    "\"+staff\"",
    "\"all\"",
    "\"Odd Name\"",
    "+nobodys",
    "+boss",
    "alice,bob",
    "bob,+staff",
    "@users",
    "sameuser",
    "+\"staff\"",
    "+",
];
const MODERN_USERS: &[&str] = &["/^b", "/e$", "\"/^[a-c]\"", "/^(?:bob|boss)$", "/^a,bob"];
const ADDRESSES: &[&str] = &[
    "all",
    "all",
    "samehost",
    "samenet",
    "127.0.0.1/32",
    "127.0.0.0/8",
    "127.0.0.2/32",
    "127.0.0.1 255.255.255.255",
    "127.0.0.3 255.0.0.255",
    "::1/128",
    "::/0",
    "0.0.0.0/0",
    "10.0.0.0/8",
    "::ffff:127.0.0.1/128",
    "\"all\"",
    "127.0.0.2/31",
    "127.0.0.1/+8",
    "::1 ffff:ffff::",
    "0.0.0.0 0.0.0.0",
    "\"samehost\"",
];
/// Looking these up takes a name server's time, so they are rarer.
const HOSTS: &[&str] = &["localhost", "LocalHost", ".localdomain", "nobody.invalid", ".host"];
const TYPES: &[&str] =
    &["local", "local", "local", "host", "host", "hostssl", "hostnossl", "hostnogssenc", "hostgssenc"];
const METHODS: &[&str] = &["trust", "trust", "reject", "scram-sha-256", "md5"];
const LOCAL_METHODS: &[&str] = &["peer", "peer map=m1", "peer map=m2", "peer map=none", "ident map=m1", "peer map="];
const SSL_METHODS: &[&str] = &[
    "cert",
    "cert map=m1",
    "cert clientname=DN",
    "scram-sha-256 clientcert=verify-ca",
    "trust clientcert=verify-full",
    "scram-sha-256 clientcert=verify-full",
    "cert map=m2 clientcert=verify-full",
];
/// What PostgreSQL refuses, mostly. Wrong values of clientcert and clientname are missing: it refuses them too, but its view
/// of errors does not tell.
const WRONG: &[&str] = &[
    "hosts all all all trust",
    "local",
    "local all",
    "local all all",
    "host all all",
    "host all all all",
    "host all all 127.0.0.1 trust",
    "host all all 127.0.0.1/33 trust",
    "host all all 127.0.0.1/x trust",
    "host all all 127.0.0.1/ trust",
    "host all all ::1/129 trust",
    "host all all ::1 255.0.0.0 trust",
    "host all all localhost/8 trust",
    "host all all all,samehost trust",
    "host all all 127.0.0.1/-1 trust",
    "local,host all all trust",
    "local all all trusty",
    "local all all trust,reject",
    "host all all all peer",
    "host all all all cert",
    "local all all cert",
    "local all all trust map=m1",
    "local all all peer map",
    "local all all peer no=thing",
    "host all all all md5 clientcert=verify-ca",
    "hostssl all all all cert clientcert=verify-ca",
    "local all all trust x",
    "local all all \"trust",
    "local \"all all trust",
    "LOCAL all all trust",
    "local all all TRUST",
    "host all all 300.0.0.0/8 trust",
    "local all all gss",
    "host all all all oops map=m1",
    "# x\\\nlocal\\\n all",
];
const MODERN_WRONG: &[&str] = &[
    "local shop ,alice all trust",
    "local /( all trust",
    "local all /[ trust",
    "include nowhere.conf",
    "include_dir nowhere",
    "include_dir \"\"",
    "local all all peer map=m1 include",
    "local @nowhere all trust",
    "include loop.conf",
    "include wrong.conf",
];
const SYSTEM_USERS: &[&str] =
    &["root", "@me", "nobody", "daemon", "postgres", "alice", "/^(.*)$", "/^(no.*)$", "/^d", "\"/o(.)\"", "/^CN=(.*)$"];
const MAPPED: &[&str] = &["alice", "bob", "\\1", "x\\1", "boss", "no\\1y", "\\1\\1"];
const MODERN_MAPPED: &[&str] = &["all", "\"all\"", "+staff", "\"+staff\"", "/^a", "+people"];
const WRONG_MAPS: &[&str] = &[
    "m1",
    "m1 root",
    "m1,m2 root alice",
    "m1 root,bin alice",
    "m1 root alice,bob",
    "m1 @users alice",
    "m1 root @nowhere",
];
/// Since 16 maps may bring in files as rules do.
const MAP_INCLUDES: &[&str] = &[
    "include more_maps.conf",
    "include_dir m",
    "include_if_exists nowhere",
    "include \"m/b.conf\"",
    "include_dir \"m\"",
];
const MODERN_WRONG_MAPS: &[&str] = &[
    "include nowhere.conf",
    "include_dir nowhere",
    "include_dir \"\"",
    "include loop.conf",
    "include wrong_maps.conf",
    "include more_maps.conf m1",
    "include_if_exists wrong_maps.conf",
];

const ROLES: &[&str] =
    &["alice", "alice", "bob", "boss", "no-such-role", "Odd Name", "staff", "all", "+staff", "nobody", "root"];
const NAMED: &[&str] = &["shop", "shop", "alice", "staff", "all", "replication", "Odd Name", "no-such-database"];

/// Files that rules may bring in, by their names.
pub const BESIDE: &[(&str, &str)] = &[
    ("dbs", "shop # the shop's\n@more_dbs\n"),
    ("more_dbs", "\"Odd Name\", staff\n"),
    ("users", "bob, +people\n\"all\"\n"),
    ("more.conf", "local shop alice reject\nhost all boss all reject\n"),
    ("loop.conf", "include loop.conf\n"),
    ("wrong.conf", "local all all wrong\n"),
    ("d/a.conf", "local alice all trust\n"),
    ("d/b.conf", "include ../more.conf\nhost staff +staff samenet trust\n"),
    ("d/.hidden.conf", "wrong\n"),
    ("d/other", "wrong\n"),
    ("me", "root # or whoever\n"),
    ("more_maps.conf", "m1 root alice\nm2 nobody boss\n"),
    ("wrong_maps.conf", "m1 root alice\nm1 root\n"),
    ("m/a.conf", "m2 /^(d.*)$ bob\ninclude_if_exists ../nowhere\n"),
    ("m/b.conf", "include ../more_maps.conf\nm1 @../me \\\n \"boss\"\n"),
    ("m/.hidden.conf", "wrong\n"),
    ("m/other", "wrong\n"),
];
/// The directories of these.
pub const BESIDE_DIRECTORIES: &[&str] = &["d", "m"];

/// Draws what a PostgreSQL of some age knows.
pub struct Draw<'c> {
    pub chaos: &'c mut Chaos,
    /// Regular expressions and include directives, since 16.
    pub modern: bool,
    /// Whether this machine has it.
    pub ipv6: bool,
    /// Users of this system that we can be.
    pub users: &'c [u32],
}

impl Draw<'_> {
    fn pick(&mut self, common: &'static [&'static str], modern: &'static [&'static str]) -> &'static str {
        let among = if self.modern && self.chaos.once_in(5) { modern } else { common };
        self.chaos.pick::<&str>(among)
    }

    /// A file of rules. `first` goes before all others; `wrong` brings in a line that may be refused.
    pub fn rules(&mut self, first: &str, hosts: bool, wrong: bool) -> String {
        let mut lines: Vec<String> = (0..3 + self.chaos.below(12)).map(|_| self.rule(hosts)).collect();
        if self.modern && self.chaos.once_in(4) {
            let include = ["include more.conf", "include_dir d", "include_if_exists nowhere", "include \"more.conf\""];
            lines.insert(0, (*self.chaos.pick(&include)).to_owned());
        }
        if wrong {
            let at = self.chaos.below(lines.len() as u64 + 1) as usize;
            lines.insert(at, self.pick(WRONG, MODERN_WRONG).to_owned());
        }
        let mut text = format!("# drawn\n{first}\n");
        for line in lines {
            let end = ["\n", "\n", "\r\n", " # comment\n", "\t\n\n", "#\n", " \\\n\n"];
            text.push_str(&line);
            text.push_str(self.chaos.pick::<&str>(&end));
        }
        text
    }

    fn rule(&mut self, hosts: bool) -> String {
        let kind = *self.chaos.pick(TYPES);
        // Else hardly anything would match.
        let database = if self.chaos.once_in(3) { "all" } else { self.pick(DATABASES, MODERN_DATABASES) };
        let user = if self.chaos.once_in(3) { "all" } else { self.pick(USERS, MODERN_USERS) };
        let mut fields = vec![kind, database, user];
        if kind != "local" {
            let addresses = if hosts && self.chaos.once_in(2) { HOSTS } else { ADDRESSES };
            fields.push(*self.chaos.pick(addresses));
        }
        let own = match kind {
            "local" => LOCAL_METHODS,
            "hostssl" => SSL_METHODS,
            _ => METHODS,
        };
        let methods = if self.chaos.once_in(2) { own } else { METHODS };
        fields.push(*self.chaos.pick(methods));
        let blank = *self.chaos.pick(&[" ", " ", "\t", "   ", " \\\n "]);
        fields.join(blank)
    }

    /// A file of maps.
    pub fn maps(&mut self, wrong: bool) -> String {
        let mut lines = Vec::new();
        for _ in 0..2 + self.chaos.below(5) {
            let map = self.chaos.pick(&["m1", "m1", "m2", "\"m1\""]);
            let user = self.chaos.pick(SYSTEM_USERS);
            lines.push(format!("{map} {user} {}", self.pick(MAPPED, MODERN_MAPPED)));
        }
        if self.modern && self.chaos.once_in(3) {
            let at = self.chaos.below(lines.len() as u64 + 1) as usize;
            lines.insert(at, (*self.chaos.pick(MAP_INCLUDES)).to_owned());
        }
        if wrong {
            lines.push(self.pick(WRONG_MAPS, MODERN_WRONG_MAPS).to_owned());
        }
        format!("# drawn\n{}\n", lines.join("\n"))
    }

    /// A connection. With `hosts`, from addresses only whose names are known without asking the network.
    pub fn knock(&mut self, hosts: bool) -> Knock {
        let from = if self.chaos.once_in(2) {
            Origin::User(*self.chaos.pick(self.users))
        } else {
            let all = ["127.0.0.1", "127.0.0.1", "::1", "127.0.0.2", "127.0.0.3", "127.9.9.9"];
            let mut addresses = if hosts { all[..3].to_vec() } else { all.to_vec() };
            addresses.retain(|address| *address != "::1" || self.ipv6);
            let address: IpAddr = self.chaos.pick(&addresses).parse().unwrap();
            let encryption = [Encryption::Plain, Encryption::Plain, Encryption::Tls, Encryption::TlsAlice];
            Origin::Address(address, *self.chaos.pick(&encryption))
        };
        let replication = [None, None, None, None, None, None, Some("true"), Some("database")];
        Knock {
            from,
            role: (*self.chaos.pick(ROLES)).to_owned(),
            database: (*self.chaos.pick(NAMED)).to_owned(),
            replication: *self.chaos.pick(&replication),
        }
    }
}
