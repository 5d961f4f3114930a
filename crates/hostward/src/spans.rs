//! How long targets are down, and how long that takes to be seen, from the records as they are made.

use std::collections::BTreeMap;

use hostward_core::id::TargetId;
use hostward_core::ledger::{Body, Record, State, Turn};
use hostward_core::policy::Policy;
use hostward_core::time::Now;

use crate::durations::{CLEAR, DETECT, Durations};

#[derive(Debug)]
pub(crate) struct Spans {
    pub(crate) detect: Durations,
    pub(crate) clear: Durations,
    /// Targets that are down, and since when.
    fell: BTreeMap<TargetId, Now>,
}

impl Spans {
    /// What was down when an engine before us ended still is, until it is seen to be up.
    pub(crate) fn of(state: &State) -> Spans {
        let down = state.targets.iter().filter_map(|(id, brake)| match brake.turn {
            Some((Turn::Down { .. }, at)) => Some((id.clone(), at)),
            _ => None,
        });
        Spans { detect: Durations::new(&DETECT), clear: Durations::new(&CLEAR), fell: down.collect() }
    }

    /// Takes one record into account. `ill_since`: since when this target looks bad. Another reason is no other fall, and
    /// not to be seen is not to be up.
    pub(crate) fn note(&mut self, record: &Record, ill_since: impl FnOnce(&TargetId) -> Option<Now>) {
        let Body::Turned { target, to, .. } = &record.body else { return };
        match to {
            Turn::Down { .. } if !self.fell.contains_key(target) => {
                self.fell.insert(target.clone(), record.at);
                if let Some(since) = ill_since(target) {
                    self.detect.observe(&target.watch, record.at.since(since).into());
                }
            }
            Turn::Up => {
                if let Some(fell) = self.fell.remove(target) {
                    self.clear.observe(&target.watch, record.at.since(fell).into());
                }
            }
            Turn::Gone => drop(self.fell.remove(target)),
            Turn::Down { .. } | Turn::Unknown { .. } => {}
        }
    }

    /// Watches that are no longer declared never rise.
    pub(crate) fn keep(&mut self, policy: &Policy) {
        self.fell.retain(|id, _| policy.watches.contains_key(&id.watch));
    }
}

#[cfg(test)]
mod tests {
    use hostward_core::id::WatchId;
    use hostward_core::time::Ms;
    use prometheus::{Registry, TextEncoder};

    use super::*;

    fn turned(seq: u64, secs: u64, to: Turn) -> Record {
        let target = TargetId::new(WatchId::new("service.api"), "it");
        let at = Now { boot: 1, up: Ms::secs(secs), wall: Ms::secs(secs) };
        Record { seq, at, body: Body::Turned { target, to, incident: None } }
    }

    fn down(reason: &str) -> Turn {
        Turn::Down { reason: reason.into(), detail: "it".into(), blame: None }
    }

    /// The lines that are exported of these records.
    fn told(state: &State, records: &[Record]) -> String {
        let mut spans = Spans::of(state);
        for record in records {
            // It looked bad for four seconds when it was judged.
            let since = Now { up: record.at.up.saturating_sub(Ms::secs(4)), ..record.at };
            spans.note(record, |_| Some(since));
        }
        let registry = Registry::new();
        for durations in [&spans.detect, &spans.clear] {
            for histogram in durations.of([&WatchId::new("service.api")].into_iter()) {
                registry.register(histogram).unwrap();
            }
        }
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    fn has(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_fall_is_detected_once_and_cleared_once_whatever_reasons_it_gives_meanwhile() {
        let unknown = Turn::Unknown { fault: "timeout".into() };
        let records = [
            turned(1, 100, down("failed")),
            turned(2, 110, down("crash_looping")),
            turned(3, 120, unknown),
            turned(4, 130, down("failed")),
            turned(5, 145, Turn::Up),
        ];
        let text = told(&State::default(), &records);
        has(
            &text,
            &[
                "hostward_watch_time_to_detect_seconds_bucket{watch=\"service.api\",le=\"2.5\"} 0",
                "hostward_watch_time_to_detect_seconds_bucket{watch=\"service.api\",le=\"5\"} 1",
                "hostward_watch_time_to_detect_seconds_count{watch=\"service.api\"} 1",
                "hostward_watch_time_to_clear_seconds_sum{watch=\"service.api\"} 45",
                "hostward_watch_time_to_clear_seconds_count{watch=\"service.api\"} 1",
            ],
        );
    }

    #[test]
    fn what_was_down_before_the_start_is_cleared_and_not_detected() {
        let mut state = State::default();
        assert_eq!(state.apply(&turned(1, 100, down("failed"))), Ok(()));
        let text = told(&state, &[turned(2, 110, down("inactive")), turned(3, 400, Turn::Up)]);
        has(&text, &["hostward_watch_time_to_clear_seconds_sum{watch=\"service.api\"} 300"]);
        assert!(!text.contains("time_to_detect"), "{text}");
        assert_eq!(told(&state, &[]), "", "what did not happen is not exported");
    }

    #[test]
    fn a_watch_that_is_gone_is_forgotten() {
        let mut spans = Spans::of(&State::default());
        spans.note(&turned(1, 100, down("failed")), |_| None);
        spans.keep(&Policy::default());
        assert!(spans.fell.is_empty());
    }
}
