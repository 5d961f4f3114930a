//! Stories that mostly wait, told side by side.

use std::panic::resume_unwind;
use std::thread;

use anyhow::Result;

/// Tells each part on a thread of its own, and fails as the first of them that failed.
pub fn side_by_side<P: Send>(
    parts: impl IntoIterator<Item = P>,
    tell: impl Fn(P) -> Result<()> + Sync,
) -> Result<()> {
    let tell = &tell;
    thread::scope(|scope| {
        let told: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || tell(part))).collect();
        let told: Vec<Result<()>> =
            told.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect();
        told.into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use anyhow::{bail, ensure};

    use super::*;

    #[test]
    fn all_are_told_at_once_and_the_first_failure_is_theirs() -> Result<()> {
        let all_are_here = Barrier::new(3);
        let tell = |part: u32| {
            all_are_here.wait();
            if part > 1 {
                bail!("part {part}")
            }
            Ok(())
        };
        let told = side_by_side([1, 2, 3], tell);
        ensure!(told.as_ref().is_err_and(|error| error.to_string() == "part 2"), "{told:?}");
        side_by_side([0, 1, 1], tell)
    }

    #[test]
    #[should_panic(expected = "part 2")]
    fn a_panic_is_theirs_as_well() {
        let _ = side_by_side([1, 2], |part| {
            assert_eq!(part, 1, "part {part}");
            Ok(())
        });
    }
}
