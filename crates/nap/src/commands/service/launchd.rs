//! launchd's agent, as text.

use nap_control::Failure;

use super::MARK;
use super::manager::Step;
use super::place::{Facts, line};
use crate::daemon::DRAIN_BEYOND;

const LABEL: &str = "napgres";
pub(super) const FILE: &str = "napgres.plist";

pub(super) fn home_line(home: &str) -> String {
    format!("<string>{}</string>", escaped(home))
}

/// Where launchd keeps it.
pub(super) fn domain(system: bool) -> String {
    if system { "system".to_owned() } else { format!("gui/{}", rustix::process::getuid().as_raw()) }
}

/// What launchd calls it.
pub(super) fn target(system: bool) -> String {
    format!("{}/{LABEL}", domain(system))
}

pub(super) fn launchctl(system: bool, words: &[&str], starts_daemon: bool) -> Step {
    let more = format!("`launchctl print {}` says more", target(system));
    Step::new(&[&["launchctl"], words].concat(), starts_daemon, &more)
}

/// The agent. If the daemon is killed its servers go on, and the next one takes them over.
pub(super) fn agent(facts: &Facts) -> Result<String, Failure> {
    let stop = facts.settings.shutdown_timeout.0.unwrap_or_default() + DRAIN_BEYOND;
    let user = format!("  <key>UserName</key>\n  <string>{}</string>\n", escaped(&facts.settings.run_as));
    Ok(format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- {MARK} -->
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>{LABEL}</string>
  <key>ProgramArguments</key>
  <array>
    <string>{program}</string>
    <string>--home</string>
    {home}
    <string>up</string>
    <string>--foreground</string>
  </array>
{user}  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>AbandonProcessGroup</key>
  <true/>
  <key>ExitTimeOut</key>
  <integer>{stop}</integer>
  <key>ProcessType</key>
  <string>Adaptive</string>
  <key>StandardErrorPath</key>
  <string>{log}</string>
  <key>Umask</key>
  <integer>63</integer>
</dict>
</plist>
"#,
        program = escaped(&line(&facts.program)?),
        home = home_line(&facts.home),
        user = if facts.system { user } else { String::new() },
        stop = stop.as_secs() + 15,
        log = escaped(&format!("{}/log/service.log", facts.home)),
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
