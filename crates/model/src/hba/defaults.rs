//! The files that a home begins with.

/// The rules of a new home.
pub const PG_HBA: &str = "\
# Who may connect, and how they prove who they are. The first line that matches decides; if none does, the client is
# refused. The format is that of PostgreSQL's own pg_hba.conf:
#
#   local                                  DATABASE  USER           METHOD  [OPTIONS]
#   host | hostssl | hostnossl             DATABASE  USER  ADDRESS  METHOD  [OPTIONS]
#   include | include_if_exists | include_dir   PATH
#
# DATABASE  all, sameuser, samerole, replication, names, /regular expression, @file; the name without its branch
# USER      all, names, +group, /regular expression, @file
# ADDRESS   CIDR range, IP address and mask, all, samehost, samenet, host name, .domain
# METHOD    trust, reject, peer, scram-sha-256, md5 (the same), cert
# OPTIONS   map=NAME (peer, cert), clientcert=verify-ca|verify-full and clientname=CN|DN (hostssl)
#
# `nap config check` tells what is wrong with it, `nap config reload` brings it into force. A branch may have a file of
# its own in its place: branches/NAME/pg_hba.conf.

# Unix sockets: whom the kernel names, as pg_ident.conf maps them to roles
local    all          all                 peer map=nap
local    replication  all                 peer map=nap

# TCP on this machine: by password
host     all          all  127.0.0.1/32   scram-sha-256
host     all          all  ::1/128        scram-sha-256
host     replication  all  127.0.0.1/32   scram-sha-256
host     replication  all  ::1/128        scram-sha-256

# From elsewhere: by password, and only encrypted
hostssl  all          all  all            scram-sha-256
hostssl  replication  all  all            scram-sha-256
";

/// The maps of a new home whose servers run as this user.
pub fn pg_ident(owner: &str) -> String {
    let mut text = String::from(
        "\
# Which roles a user of this system, or whoever a certificate names, may be. Lines in pg_hba.conf name a map by
# map=NAME. The format is that of PostgreSQL's own pg_ident.conf. A user without a name goes by its number.

# MAP  SYSTEM-USER  ROLE (or all, +group, /regular expression)

# everybody the role of their own name
nap    /^(.*)$      \\1

# the owner of this home, and root, any role
",
    );
    let mut users = vec![owner, "root"];
    users.dedup();
    for user in users {
        text.push_str(&format!("nap    {:12} all\n", format!("\"{}\"", user.replace('"', "\"\""))));
    }
    text
}
