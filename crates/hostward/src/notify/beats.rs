//! Beats: pings that say that all is well, and fall silent when the loop does.

use std::collections::BTreeMap;

use hostward_config::{Notify, Way};
use hostward_core::ask::Secret;
use hostward_core::id::Str;
use hostward_core::notify::Delivered;
use hostward_core::time::Ms;
use tokio::time::Instant;

pub(super) const DEADMAN: &str = "deadman";

#[derive(Debug, Default)]
pub(super) struct Beats(BTreeMap<Str, Beat>);

#[derive(Debug)]
struct Beat {
    url: Secret,
    every: Ms,
    begun: Option<Instant>,
    under_way: bool,
    sent: u64,
    failed: u64,
}

impl Beats {
    pub(super) fn configure(&mut self, config: &Notify) {
        let mut beats: BTreeMap<Str, Beat> = BTreeMap::new();
        let deadman = config.deadman.iter().map(|deadman| (DEADMAN.into(), &deadman.url, deadman.every));
        let checks = config.notifiers.iter().filter_map(|(name, notifier)| match &notifier.way {
            Way::Healthchecks { url, every: Some(every) } => Some((name.clone(), url, *every)),
            _ => None,
        });
        for (name, url, every) in deadman.chain(checks) {
            let was = self.0.remove(&name);
            let fresh = Beat { url: url.clone(), every, begun: None, under_way: false, sent: 0, failed: 0 };
            let beat = was.map_or_else(|| fresh, |was| Beat { url: url.clone(), every, ..was });
            beats.insert(name, beat);
        }
        self.0 = beats;
    }

    /// Those whose time has come, begun. A check beats only while nothing of it is open.
    pub(super) fn due(&mut self, config: &Notify, is_calm: impl Fn(&str) -> bool) -> Vec<(Str, Secret)> {
        let mut due = Vec::new();
        for (name, beat) in &mut self.0 {
            let calm = !config.notifiers.contains_key(name) || is_calm(name);
            let late = beat.begun.is_none_or(|begun| begun.elapsed() >= beat.every.into());
            if calm && late && !beat.under_way {
                (beat.begun, beat.under_way) = (Some(Instant::now()), true);
                due.push((name.clone(), beat.url.clone()));
            }
        }
        due
    }

    pub(super) fn ended(&mut self, name: &str, delivered: Delivered) {
        let Some(beat) = self.0.get_mut(name) else { return };
        beat.under_way = false;
        match delivered {
            Delivered::Sent => beat.sent += 1,
            Delivered::Failed | Delivered::Unclear => beat.failed += 1,
        }
    }

    /// Sent and failed.
    pub(super) fn counts(&self, name: &str) -> (u64, u64) {
        self.0.get(name).map_or((0, 0), |beat| (beat.sent, beat.failed))
    }
}
