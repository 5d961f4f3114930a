//! Randomness that a seed decides, and nothing else.
//!
//! Two kinds: a stream for making scenarios, and a keyed draw for what happens in them. A keyed draw does not depend on
//! what was drawn before it, so a scenario from which a fault was taken away otherwise goes on as it did: what a failure
//! does not need can be shrunk off.

use hostward_core::time::Ms;

/// The odd constant nearest to 2^64 divided by the golden ratio: SplitMix64's step (Steele, Lea, Flood 2014).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(mix(seed))
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// Below `n`; 0 for an empty range.
    pub fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.draw() % n).unwrap_or(0)
    }

    /// True this often in a hundred.
    pub fn percent(&mut self, n: u64) -> bool {
        self.draw() % 100 < n
    }

    /// From `low` up to `high`, both possible.
    pub fn ms(&mut self, low: Ms, high: Ms) -> Ms {
        Ms(low.0 + self.draw() % (high.0.saturating_sub(low.0) + 1))
    }

    /// A span whose order of magnitude is as likely as any other: seconds are not drowned by hours.
    pub fn span(&mut self, low: Ms, high: Ms) -> Ms {
        let doublings = (high.0 / low.0.max(1)).max(1).ilog2();
        let top = Ms(low.0 << (self.draw() % (u64::from(doublings) + 1))).0.min(high.0);
        self.ms(low, Ms(top))
    }

    /// One of these; the first of none is a mistake of the caller's.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let n = self.below(from.len());
        &from[n]
    }
}

/// A number that depends on a seed, a purpose and a count only.
pub fn keyed(seed: u64, purpose: &str, n: u64) -> u64 {
    let key = purpose.bytes().fold(seed ^ n.wrapping_mul(STEP), |key, byte| mix(key ^ u64::from(byte)));
    mix(key)
}

fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        let draws = |seed| (0..8).map(|_| Rng::new(seed).draw()).collect::<Vec<_>>();
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
        assert_ne!(keyed(1, "ask", 0), keyed(1, "ask", 1));
        assert_ne!(keyed(1, "ask", 0), keyed(1, "act", 0));
    }

    #[test]
    fn spans_cover_their_whole_range() {
        let mut rng = Rng::new(7);
        let spans: Vec<Ms> = (0..2000).map(|_| rng.span(Ms::secs(1), Ms::hours(1))).collect();
        assert!(spans.iter().all(|span| *span >= Ms::secs(1) && *span <= Ms::hours(1)));
        assert!(spans.iter().any(|span| *span < Ms::secs(10)) && spans.iter().any(|span| *span > Ms::mins(20)));
    }
}
