//! Export: the view as Prometheus text (0.0.4), over HTTP and as a textfile. Label values come from the configuration or
//! from closed enums, never from what was observed. docs/metrics.md lists every family.

mod compat;
mod job;
mod storage;

use std::collections::BTreeMap;

use hostward_core::hold::Hold;
use hostward_core::judge::Verdict;
use hostward_core::ledger::Settlement;
use hostward_core::time::Now;
use hostward_core::view::{TargetView, View, WatchView};
use prometheus::{Encoder, GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

use crate::durations::Durations;
use crate::notify::Tally;
use crate::status::Health;

/// Everything there is to say, as text.
pub(crate) fn text(view: &View, health: &Health, durations: [&Durations; 3]) -> Result<String, prometheus::Error> {
    let out = Families::default();
    whole(&out, view, health)?;
    for tally in &health.notifiers {
        of_notifier(&out, tally)?;
    }
    for watch in &view.watches {
        of_watch(&out, watch)?;
        if let Some(prefix) = &watch.compat {
            compat::of_watch(&out, view, prefix, watch)?;
        }
    }
    for histogram in durations.iter().flat_map(|kind| kind.of(view.watches.iter().map(|watch| &watch.id))) {
        out.registry.register(histogram)?;
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&out.registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|e| prometheus::Error::Msg(e.to_string()))
}

/// Families are made as they are first used; the registry refuses one that is used in two shapes.
#[derive(Default)]
struct Families {
    registry: Registry,
    gauges: std::cell::RefCell<BTreeMap<String, GaugeVec>>,
    counters: std::cell::RefCell<BTreeMap<String, IntCounterVec>>,
}

impl Families {
    fn gauge(&self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) -> Result<(), prometheus::Error> {
        let (names, values): (Vec<&str>, Vec<&str>) = labels.iter().copied().unzip();
        let mut gauges = self.gauges.borrow_mut();
        if !gauges.contains_key(name) {
            let vec = GaugeVec::new(Opts::new(name, help), &names)?;
            self.registry.register(Box::new(vec.clone()))?;
            gauges.insert(name.to_owned(), vec);
        }
        if let Some(vec) = gauges.get(name) {
            vec.get_metric_with_label_values(&values)?.set(value);
        }
        Ok(())
    }

    fn counter(&self, name: &str, help: &str, labels: &[(&str, &str)], value: u64) -> Result<(), prometheus::Error> {
        let (names, values): (Vec<&str>, Vec<&str>) = labels.iter().copied().unzip();
        let mut counters = self.counters.borrow_mut();
        if !counters.contains_key(name) {
            let vec = IntCounterVec::new(Opts::new(name, help), &names)?;
            self.registry.register(Box::new(vec.clone()))?;
            counters.insert(name.to_owned(), vec);
        }
        if let Some(vec) = counters.get(name) {
            vec.get_metric_with_label_values(&values)?.inc_by(value);
        }
        Ok(())
    }
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

fn wall(at: Now) -> f64 {
    at.wall.as_secs_f64()
}

fn whole(out: &Families, view: &View, health: &Health) -> Result<(), prometheus::Error> {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    out.gauge("hostward_build_info", "Which build this is; always 1.", &version, 1.0)?;
    let turned = "When the decision loop last completed a turn.";
    out.gauge("hostward_loop_last_turn_timestamp_seconds", turned, &[], wall(view.at))?;
    let ok = "1: the configuration on disk is the one in force.";
    out.gauge("hostward_config_ok", ok, &[], flag(view.config_error.is_none()))?;
    let safe = "1: started abnormally three times within ten minutes; observes only.";
    out.gauge("hostward_safe_mode", safe, &[], flag(view.safe_mode))?;
    let writable = "0: intents cannot be made durable, so nothing is done.";
    out.gauge("hostward_ledger_writable", writable, &[], flag(view.ledger_bad.is_none()))?;
    let damaged = "1: the ledger was set aside; caps count as spent until `hostward clear`.";
    out.gauge("hostward_ledger_damaged", damaged, &[], flag(view.ledger_damaged.is_some()))?;
    let grows = "1: no new file could be begun, and the ledger grows beyond its limit.";
    out.gauge("hostward_ledger_not_rotated", grows, &[], flag(health.ledger_not_rotated))?;
    out.counter("hostward_ledger_records_total", "Records in the ledger.", &[], view.ledger_seq)?;
    out.counter(
        "hostward_incidents_total",
        "Incidents opened: a cause with its dependents is one.",
        &[],
        view.incidents_total,
    )?;
    let budget = "What the host's budget still allows: a restart costs 1, a reconcile 5.";
    out.gauge("hostward_budget_remaining", budget, &[], f64::from(view.budget_remaining))?;
    let late = "How late our own timers were within the last minute: 0 on a host that is not starved.";
    let starved = view.starved.map_or(0.0, hostward_core::time::Ms::as_secs_f64);
    out.gauge("hostward_starvation_seconds", late, &[], starved)?;
    let textfile = "0: the textfile could not be written.";
    if let Some(ok) = health.textfile_ok {
        out.gauge("hostward_textfile_ok", textfile, &[], flag(ok))?;
    }
    let hung = "Killed probes that hang in the kernel: a file system does not answer.";
    out.gauge("hostward_probes_hung", hung, &[], f64::from(health.probes_hung))?;
    let dropped = "Log lines that were dropped: journald did not read, or a watch said too much.";
    out.counter("hostward_log_lines_dropped_total", dropped, &[], health.log_lines_dropped)
}

fn of_notifier(out: &Families, tally: &Tally) -> Result<(), prometheus::Error> {
    let name = &*tally.notifier;
    for (result, count) in [("sent", tally.sent), ("failed", tally.failed), ("summed", tally.summed)] {
        let labels = [("notifier", name), ("result", result)];
        let help = "Messages to people, by what became of each try.";
        out.counter("hostward_notifications_total", help, &labels, count)?;
    }
    let dropped = "Messages that were given up: too many, or too old. They are told as a number.";
    out.counter("hostward_notifications_dropped_total", dropped, &[("notifier", name)], tally.dropped)?;
    let pending = "Messages that are owed and not delivered.";
    out.gauge("hostward_notifications_pending", pending, &[("notifier", name)], count(tally.pending))
}

fn of_watch(out: &Families, watch: &WatchView) -> Result<(), prometheus::Error> {
    let id = [("watch", watch.id.as_str())];
    if let Some(up) = watch.up() {
        out.gauge("hostward_watch_up", "1: every target is up. Absent while nothing was judged.", &id, flag(up))?;
    }
    let unknown = "1: a target's state cannot be known; nothing is done about it.";
    out.gauge("hostward_watch_unknown", unknown, &id, flag(watch.unknown()))?;
    if let Some(enabled) = watch.enabled {
        out.gauge("hostward_watch_enabled", "1: every sentinel is present.", &id, flag(enabled))?;
    }
    let mode = [("watch", watch.id.as_str()), ("mode", watch.mode.label())];
    out.gauge("hostward_watch_mode", "How far the watch may go; always 1.", &mode, 1.0)?;
    if let Some(items) = watch.drift_items {
        let labels = [("baseline", watch.id.name()), ("class", "python"), ("severity", "require")];
        out.gauge("hostward_drift_items", "Requirements that are not met.", &labels, f64::from(items))?;
    }
    if let Some(held) = watch.deploy_lock_held {
        let seconds = watch.deploy_lock.as_ref().filter(|_| held).map_or(0.0, |lock| lock.held_for.as_secs_f64());
        let help = "For how long its app's deploy lock is held, as far as looks can tell; 0: it is free.";
        out.gauge("hostward_watch_deploy_lock_held_seconds", help, &id, seconds)?;
    }
    let stopped = "Units that a plan of this watch stopped and that do not run again yet.";
    out.gauge("hostward_watch_stopped_by_us", stopped, &id, count(watch.stopped_by_us.len()))?;
    out.gauge("hostward_watch_paused", "1: an operator paused it.", &id, flag(watch.paused))?;
    let stuck = "1: an undo goes on failing or was given up; an operator should look.";
    out.gauge("hostward_watch_stuck", stuck, &id, flag(watch.stuck))?;
    for hold in Hold::ALL {
        let labels = [("watch", watch.id.as_str()), ("hold", hold.label())];
        out.gauge("hostward_watch_hold", "1: a remedy is held for this reason.", &labels, flag(watch.holds(hold)))?;
    }
    if let Some(worst) = kept(watch).max_by_key(|target| rank(&target.verdict)) {
        of_condition(out, watch, worst)?;
    }
    for target in &watch.targets {
        match &target.part {
            None => of_target(out, watch, target)?,
            Some(part) => of_part(out, watch, part, target)?,
        }
    }
    match watch.id.kind() {
        "storage" => storage::of_watch(out, watch),
        "job" => job::of_watch(out, watch),
        _ => Ok(()),
    }
}

/// What the watch keeps, its parts aside.
fn kept(watch: &WatchView) -> impl Iterator<Item = &TargetView> {
    watch.targets.iter().filter(|target| target.part.is_none())
}

/// Of many targets the worst speaks for the watch.
fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Up => 0,
        Verdict::Pending => 1,
        Verdict::Unknown(_) => 2,
        Verdict::Down(_) => 3,
    }
}

/// A part is told of and remedied by nothing: it has a condition, and no more.
fn of_part(out: &Families, watch: &WatchView, part: &str, target: &TargetView) -> Result<(), prometheus::Error> {
    let id = watch.id.as_str();
    if let Some(up) = target.verdict.up() {
        let help = "1: this part of a watch is well. Absent while it is not known.";
        out.gauge("hostward_part_up", help, &[("watch", id), ("part", part)], flag(up))?;
    }
    let labels = [("watch", id), ("part", part), ("reason", reason(target))];
    out.gauge("hostward_part_condition", "The verdict on a part of a watch; always 1.", &labels, 1.0)
}

fn reason(target: &TargetView) -> &'static str {
    match &target.verdict {
        Verdict::Pending => "pending",
        Verdict::Up => "up",
        Verdict::Unknown(fault) => fault.label(),
        Verdict::Down(reason) => reason.code.label(),
    }
}

fn of_condition(out: &Families, watch: &WatchView, worst: &TargetView) -> Result<(), prometheus::Error> {
    let id = watch.id.as_str();
    let labels = [("watch", id), ("reason", reason(worst))];
    out.gauge("hostward_watch_condition", "The one verdict; always 1.", &labels, 1.0)?;
    let since = "Since when the verdict is what it is.";
    out.gauge("hostward_watch_condition_since_timestamp_seconds", since, &[("watch", id)], wall(worst.since))?;
    if let Some(observed) = kept(watch).filter_map(|target| target.observed).min() {
        let help = "The oldest last answer among its questions.";
        out.gauge("hostward_watch_last_observation_timestamp_seconds", help, &[("watch", id)], wall(observed))?;
    }
    Ok(())
}

fn of_target(out: &Families, watch: &WatchView, target: &TargetView) -> Result<(), prometheus::Error> {
    let id = watch.id.as_str();
    let spontaneous = "Times it came up again though nobody had tried anything.";
    out.counter(
        "hostward_watch_spontaneous_recoveries_total",
        spontaneous,
        &[("watch", id)],
        target.spontaneous.count,
    )?;
    for rung in &watch.rungs {
        let labels = [("watch", id), ("remedy", rung.as_str())];
        let would = "Incidents in which this remedy would have been taken, had there been leave to act.";
        let times = target.would.get(rung).copied().unwrap_or(0);
        out.counter("hostward_watch_would_act_total", would, &labels, times)?;
        for result in Settlement::ALL {
            let labels = [("watch", id), ("remedy", rung.as_str()), ("result", result.label())];
            let help = "Attempts, by what came of them.";
            let count = target.attempts.get(rung).and_then(|by| by.get(&result)).copied().unwrap_or(0);
            out.counter("hostward_watch_attempts_total", help, &labels, count)?;
        }
    }
    Ok(())
}
