//! How far each log was read, between two looks. Losing one costs a look at the end of its log, and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hostward_core::ask::JobsQ;
use hostward_core::id::Str;

use super::tail::Mark;

/// Of all watches together; of about 200 bytes each. One watch may have four logs a job: with fewer, each pass would forget
/// what it is about to ask for.
const MARKS_MAX: usize = JobsQ::JOBS_MAX * 4;

#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    marks: BTreeMap<(PathBuf, Str), (Mark, u64)>,
    /// Rises with each that is kept: the least is the oldest.
    turn: u64,
}

impl Marks {
    /// Of the files of this pattern, read for that number.
    pub(super) fn recall(&self, files: &Path, count: &Str) -> Option<Mark> {
        let kept = self.kept();
        kept.marks.get(&(files.to_owned(), count.clone())).map(|(mark, _)| mark.clone())
    }

    pub(super) fn keep(&self, files: &Path, count: &Str, mark: Mark) {
        let mut kept = self.kept();
        kept.turn += 1;
        let turn = kept.turn;
        kept.marks.insert((files.to_owned(), count.clone()), (mark, turn));
        if kept.marks.len() > MARKS_MAX {
            let oldest = kept.marks.iter().min_by_key(|(_, (_, turn))| *turn).map(|(key, _)| key.clone());
            oldest.map(|key| kept.marks.remove(&key));
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let marks = Marks::default();
        let count: Str = "(.)".into();
        let file = |n: usize| PathBuf::from(format!("/{n}"));
        for n in 0..MARKS_MAX {
            marks.keep(&file(n), &count, Mark::default());
        }
        marks.keep(&file(0), &count, Mark::default());
        marks.keep(&file(MARKS_MAX), &count, Mark::default());
        let known: Vec<bool> = [0, 1, 2, MARKS_MAX].map(|n| marks.recall(&file(n), &count).is_some()).into();
        assert_eq!(known, [true, false, true, true]);
        assert_eq!(marks.recall(&file(0), &"another".into()), None);
    }
}
