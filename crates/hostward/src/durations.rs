//! How long something takes for each watch, as histograms: its questions, until it is judged down, until it is up again.
//! Counted since the start.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hostward_core::id::WatchId;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts};

/// One family.
#[derive(Debug)]
pub(crate) struct Kind {
    name: &'static str,
    help: &'static str,
    /// Upper bounds in seconds.
    buckets: &'static [f64],
}

/// Measured at the edge: the wait for a place is not counted. From an answer out of memory to the longest deadline that is
/// in use.
pub(crate) const PROBES: Kind = Kind {
    name: "hostward_probe_duration_seconds",
    help: "How long the questions of a watch took, without their wait for a place.",
    buckets: &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
};

/// From a failed unit, judged at its first look, to a drift that waits for a quiet tree.
pub(crate) const DETECT: Kind = Kind {
    name: "hostward_watch_time_to_detect_seconds",
    help: "From the first look that was bad to the verdict that it is down.",
    buckets: &[0.01, 0.1, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0],
};

/// From a restart to a fault that waits for a person.
pub(crate) const CLEAR: Kind = Kind {
    name: "hostward_watch_time_to_clear_seconds",
    help: "From the verdict that it is down to the verdict that it is up again, whoever cured it.",
    buckets: &[1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0],
};

/// One histogram a watch, since the start.
#[derive(Clone, Debug)]
pub(crate) struct Durations {
    kind: &'static Kind,
    watches: Arc<Mutex<BTreeMap<WatchId, Histogram>>>,
}

impl Durations {
    pub(crate) fn new(kind: &'static Kind) -> Durations {
        Durations { kind, watches: Arc::default() }
    }

    pub(crate) fn observe(&self, watch: &WatchId, took: Duration) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = watches.get(watch) {
            histogram.observe(took.as_secs_f64());
            return;
        }
        let Kind { name, help, buckets } = *self.kind;
        let opts = HistogramOpts::new(name, help).const_label("watch", watch.as_str()).buckets(buckets.to_vec());
        // It refuses only a name or a label that is none, and those are constants.
        if let Ok(histogram) = Histogram::with_opts(opts) {
            histogram.observe(took.as_secs_f64());
            watches.insert(watch.clone(), histogram);
        }
    }

    /// Those of the watches that are declared; what is kept of others is dropped.
    pub(crate) fn of<'a>(&self, watches: impl Iterator<Item = &'a WatchId>) -> Vec<Box<dyn Collector>> {
        let mut kept = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let declared: BTreeMap<WatchId, Histogram> =
            watches.filter_map(|id| Some((id.clone(), kept.get(id)?.clone()))).collect();
        kept.clone_from(&declared);
        declared.into_values().map(|histogram| Box::new(histogram) as Box<dyn Collector>).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_watch_has_its_histogram_and_one_that_is_gone_leaves_nothing() {
        let durations = Durations::new(&PROBES);
        let (api, gone) = (WatchId::new("service.api"), WatchId::new("service.gone"));
        for millis in [3, 40, 60_000] {
            durations.observe(&api, Duration::from_millis(millis));
            durations.observe(&gone, Duration::from_millis(millis));
        }
        let registry = prometheus::Registry::new();
        for histogram in durations.of([&api, &WatchId::new("service.new")].into_iter()) {
            registry.register(histogram).unwrap();
        }
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "# TYPE hostward_probe_duration_seconds histogram",
            "hostward_probe_duration_seconds_bucket{watch=\"service.api\",le=\"0.0025\"} 0",
            "hostward_probe_duration_seconds_bucket{watch=\"service.api\",le=\"0.005\"} 1",
            "hostward_probe_duration_seconds_bucket{watch=\"service.api\",le=\"30\"} 2",
            "hostward_probe_duration_seconds_bucket{watch=\"service.api\",le=\"+Inf\"} 3",
            "hostward_probe_duration_seconds_count{watch=\"service.api\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("service.gone") && !text.contains("service.new"), "{text}");
        assert!(durations.watches.lock().unwrap().keys().eq([&api]));
    }
}
