//! Chance that can be had again: every draw comes from one seed, and the seed is printed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Seeded chance. A failing test prints the seed; `NAP_TEST_SEED=…` plays the same story again.
#[derive(Debug)]
pub struct Chaos {
    seed: u64,
    draws: StdRng,
}

impl Chaos {
    /// From `NAP_TEST_SEED`, else a new seed. Prints it.
    pub fn seed() -> Self {
        let given = std::env::var("NAP_TEST_SEED").ok();
        let seed = given.map_or_else(rand::random, |text| text.parse().expect("NAP_TEST_SEED is a number"));
        println!("NAP_TEST_SEED={seed}");
        Self::from_seed(seed)
    }

    /// From this seed.
    pub fn from_seed(seed: u64) -> Self {
        Self { seed, draws: StdRng::seed_from_u64(seed) }
    }

    /// The seed, for messages.
    pub fn its_seed(&self) -> u64 {
        self.seed
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draws.random_range(0..bound)
    }

    /// A span of up to `longest`, in steps of a microsecond.
    pub fn span_up_to(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.below(longest.as_micros() as u64 + 1))
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len() as u64) as usize]
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_tells_one_story() {
        let story = |seed| {
            let mut chaos = Chaos::from_seed(seed);
            (0..20).map(|_| chaos.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(story(7), story(7));
        assert_ne!(story(7), story(8));
    }
}
