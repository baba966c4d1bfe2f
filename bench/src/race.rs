//! Contestants in turn, so that whatever else the machine does hits all of them.

use anyhow::{Context as _, Result};

use crate::contestants::Contestant;
use crate::report::Times;

/// A first round for everybody fills the caches and does not count. The order is drawn anew for each round, and nothing
/// is left to be written before a contestant begins: else each would pay for what its predecessor's shutdown wrote.
pub(crate) fn race(contestants: &mut [Box<dyn Contestant + '_>], rounds: usize) -> Result<Vec<(String, Times)>> {
    let mut rows: Vec<(String, Times)> = contestants.iter().map(|c| (c.name().to_owned(), Times::default())).collect();
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    let mut draws = Draws(0x9e37_79b9_7f4a_7c15);
    for round in 0..=rounds {
        draws.shuffle(&mut order);
        for at in &order {
            let (Some(contestant), Some((name, times))) = (contestants.get_mut(*at), rows.get_mut(*at)) else {
                continue;
            };
            rustix::fs::sync();
            let taken = contestant.round().with_context(|| format!("{name}, round {round}"))?;
            if round > 0 {
                times.add(taken);
            }
        }
    }
    Ok(rows)
}

/// The median of the row with this name.
pub(crate) fn median_ms(rows: &[(String, Times)], name: &str) -> Result<f64> {
    let row = rows.iter().find(|(known, _)| known == name).with_context(|| format!("no row {name}"))?;
    Ok(row.1.median_ms())
}

/// Xorshift: the same orders in every run.
struct Draws(u64);

impl Draws {
    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            order.swap(last, (self.0 % (last as u64 + 1)) as usize);
        }
    }
}
