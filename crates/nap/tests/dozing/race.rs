//! Queries that come just when their server is being frozen.

use std::time::{Duration, Instant};

use rand::RngExt as _;

use super::*;

const ROUNDS: u32 = 300;
/// Longer than a freezing takes, from `nap` to the last process.
const AROUND: Duration = Duration::from_millis(60);
/// Whoever is forgotten would wait for the next pulse, a minute.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn none_is_forgotten() {
    let home = home();
    let mut sessions = [pinned(&home), session(&home)];
    let mut random = rand::rng();
    for round in 0..ROUNDS {
        let mut doze = home.nap_command(&["doze"]);
        let mut doze = doze.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(random.random_range(Duration::ZERO..AROUND));
        let asked = Instant::now();
        for session in &mut sessions {
            assert_eq!(session.ask(&format!("SELECT {round}")).unwrap(), round.to_string());
        }
        assert!(asked.elapsed() < ANSWERED_WITHIN, "round {round}: {:?}", asked.elapsed());
        doze.wait().unwrap();
    }
    let frozen = dozed(&home);
    assert!(frozen > ROUNDS as usize / 10, "only {frozen} of {ROUNDS} were frozen");
    still_has_its_table(&mut sessions[0]);
}
