//! `nap url`

use clap::Args;
use nap_control::{ConnectionReport, Failure};

use crate::command_error::CommandError;
use crate::complete;
use crate::context::Context;
use crate::output::connection;
use crate::target::Target;

/// Print the URL of a database, with its password
///
/// It names the branch in the database's name, which every client can pass on. For programs that change the database
/// by themselves, see `nap env --tools`.
#[derive(Debug, Args)]
pub(crate) struct Url {
    /// A branch, or a database of it: dev, shop@dev [default: the default branch]
    #[arg(value_name = "DB@BRANCH", add = complete::target())]
    target: Option<Target>,
    /// For a client that verifies over TLS that it talks to this server
    #[arg(long)]
    verify: bool,
}

impl Url {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let report = Target::connection(self.target.as_ref(), context)?;
        let url = if self.verify { verified(&report, context)? } else { connection::url(&report) };
        if report.password.is_none() {
            context.output.remark(&no_password(&report.role));
        }
        context.output.result(&serde_json::json!({ "url": url, "connection": report }), || url.clone())
    }
}

fn verified(report: &ConnectionReport, context: &Context) -> Result<String, Failure> {
    if !report.ssl {
        return Err(Failure::failed("ssl is off, so there is no certificate to verify").hint("`nap config set ssl=on`"));
    }
    if report.root_certificate.is_none() {
        context.output.remark(
            "note: the certificate is one that was given (ssl_cert_file): name the root of who issued it with \
             sslrootcert=FILE, or sslrootcert=system",
        );
    }
    Ok(connection::verified_url(report))
}

/// The remark when Napgres does not know the password.
pub(crate) fn no_password(role: &str) -> String {
    format!("note: the password of {role} is not one that Napgres has given, so it is not shown here")
}
