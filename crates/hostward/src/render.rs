//! For people: status, explain, plan and history on a terminal. Colour only there; UTC in `--json`, local time here.

use std::fmt::Write as _;

use hostward_core::hold::{Held, Lift};
use hostward_core::id::{TargetId, WatchId};
use hostward_core::judge::Verdict;
use hostward_core::ledger::{Brake, Record, Settlement};
use hostward_core::plan::{OnFail, Plan, PlanHash, Step, When};
use hostward_core::policy::Mode;
use hostward_core::time::{Ms, Now};
use hostward_core::view::{TargetView, View, WatchView};
use owo_colors::{OwoColorize, Stream, Style};

use crate::status::Status;
use crate::words::Words;

fn paint(text: &str, style: Style) -> String {
    text.if_supports_color(Stream::Stdout, |t| t.style(style)).to_string()
}

fn good(text: &str) -> String {
    paint(text, Style::new().green())
}

fn bad(text: &str) -> String {
    paint(text, Style::new().red().bold())
}

fn odd(text: &str) -> String {
    paint(text, Style::new().yellow())
}

fn faint(text: &str) -> String {
    paint(text, Style::new().dimmed())
}

fn strong(text: &str) -> String {
    paint(text, Style::new().bold())
}

/// `Nov 21 09:14:59`, where the operator is.
pub(crate) fn clock(wall: Ms) -> String {
    let at = i64::try_from(wall.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(
        || "-".to_owned(),
        |at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%b %d %H:%M:%S").to_string(),
    )
}

/// The whole host at a glance.
pub(crate) fn status<'a>(status: &'a Status, watches: impl IntoIterator<Item = &'a WatchView>) -> String {
    let mut out = String::new();
    head(&mut out, status);
    let mut any = false;
    for watch in watches {
        any = true;
        // A part that is well is in `explain`.
        let well = |target: &&TargetView| target.part.is_some() && target.verdict == Verdict::Up;
        for target in watch.targets.iter().filter(|target| !well(target)) {
            line(&mut out, &status.view, watch, target);
        }
        if watch.targets.is_empty() {
            let _ = writeln!(out, "{} {:<24} {}", odd("?"), watch.id, faint("not looked at yet"));
        }
    }
    if !any {
        let _ = writeln!(out, "nothing is watched");
    }
    for run in &status.view.runs {
        let step = run.run.steps.len();
        let of = run.run.plan.steps.len();
        let since = status.view.at.since(run.run.opened);
        let _ = writeln!(
            out,
            "{} run {} of {}: {}, step {step} of {of}, for {since}",
            odd("»"),
            run.id,
            run.run.plan.watch,
            run.run.plan.rung
        );
    }
    out
}

fn head(out: &mut String, status: &Status) {
    match status.daemon {
        Some(pid) => {
            let _ = writeln!(out, "{}", faint(&format!("hostward is running (pid {pid})")));
        }
        None => {
            let _ = writeln!(out, "{}", odd("hostward is not running; looked just now, without it"));
        }
    }
    let view = &status.view;
    let mut warn = |text: &str| {
        let _ = writeln!(out, "{} {text}", bad("!"));
    };
    if let Some(idle) = &status.idle {
        warn(idle);
    }
    if let Some(error) = &view.config_error {
        let what =
            if view.observing_only { "the last good one only observes" } else { "the one before it is in force" };
        warn(&format!("the configuration on disk was refused; {what}\n{}", error.trim_end()));
    }
    if view.safe_mode {
        warn("safe mode: three abnormal starts within ten minutes; observing only");
    }
    if let Some(why) = &view.ledger_bad {
        warn(&format!("the ledger cannot be written ({why}): nothing is done until it can"));
    }
    if let Some(why) = &view.ledger_damaged {
        // The reason says what it is: damaged, gone, or of a later version and whole.
        warn(&format!("caps count as spent until `hostward clear`: {why}"));
    }
    for stuck in &view.stuck {
        let watch = &stuck.watch;
        warn(&format!("stuck: an undo of {watch} was given up ({}); look, then `hostward clear {watch}`", stuck.why));
    }
    for run in &view.runs {
        if let Some((step, why)) = run.run.stuck() {
            let (id, watch) = (run.id, &run.run.plan.watch);
            let what = format!("run {id} of {watch} cannot give back what step {} took ({why})", step + 1);
            warn(&format!("stuck: {what}; it goes on trying; look, or `hostward clear {watch}`"));
        }
    }
    for pause in &view.pauses {
        let what = pause.watch.as_ref().map_or("every watch", |watch| watch.as_str());
        let left = pause.span.saturating_sub(view.at.since(pause.at));
        warn(&format!("{what} is paused for another {left}: {}", pause.reason));
    }
    for watch in &view.watches {
        if let Some(lock) = watch.deploy_lock.as_ref().filter(|lock| lock.stale) {
            let (app, says) = (watch.app.as_ref().map_or("its app", |app| app.as_str()), &lock.says);
            let id = &watch.id;
            warn(&format!("deploy_lock_stale: the deploy lock of {app} is {says} for {}: {id} waits", lock.held_for));
        }
    }
    if let Some(late) = view.starved {
        warn(&format!("this host is starved: our own timers are up to {late} late, so deadlines are stretched"));
    }
    for problem in &status.health.problems {
        warn(problem);
    }
}

fn line(out: &mut String, view: &View, watch: &WatchView, target: &TargetView) {
    let age = view.at.since(target.since);
    let (mark, says) = match &target.verdict {
        Verdict::Up => (good("✓"), format!("up for {age}")),
        Verdict::Down(reason) => (bad("✗"), format!("down for {age}: {}", reason.detail)),
        Verdict::Unknown(fault) => (odd("?"), format!("unknown for {age}: {fault}")),
        Verdict::Pending => (odd("…"), "being looked at".to_owned()),
    };
    let several = watch.targets.iter().filter(|target| target.part.is_none()).nth(1).is_some();
    let name = match &target.part {
        Some(part) => format!("  {part}"),
        None if several => format!("{} {}", watch.id, target.id.key),
        None => watch.id.to_string(),
    };
    let _ = writeln!(out, "{mark} {name:<24} {says}");
    if let (Verdict::Up | Verdict::Pending, Some(reason)) = (&target.verdict, &target.suspect) {
        let _ = writeln!(out, "  {:<24} {}", "", odd(&format!("looks down: {}", reason.detail)));
    }
    if let Some(blame) = &target.blame {
        let _ = writeln!(out, "  {:<24} because of {}", "", blame.watch);
    }
    if target.part.is_some() {
        return;
    }
    if !watch.stopped_by_us.is_empty() {
        let units: Vec<&str> = watch.stopped_by_us.iter().map(hostward_core::id::UnitName::as_str).collect();
        let _ = writeln!(out, "  {:<24} {}", "", odd(&format!("stopped by us: {}", units.join(", "))));
    }
    if watch.mode != Mode::Act || watch.enabled == Some(false) {
        trust(out, target);
    }
    let first = target.holds.first();
    if let Some(held) = first {
        let more = match target.holds.len() {
            1 => String::new(),
            n => format!(" (and {} more: hostward explain {})", n - 1, watch.id),
        };
        let _ =
            writeln!(out, "  {:<24} {}", "", faint(&format!("held: {}, {}{more}", held.hold.label(), held.value)));
    }
}

/// What it would have done so far, for whoever is about to trust it with more.
fn trust(out: &mut String, target: &TargetView) {
    let would: Vec<String> = target.would.iter().map(|(rung, times)| format!("{rung} {times}x")).collect();
    if !would.is_empty() {
        let _ = writeln!(out, "  {:<24} {}", "", faint(&format!("would have acted: {}", would.join(", "))));
    }
    if let (n @ 1.., Some(median)) = (target.spontaneous.count, target.spontaneous.median()) {
        let says = format!("cleared by itself {n}x, after {median} (median)");
        let _ = writeln!(out, "  {:<24} {}", "", faint(&says));
    }
}

/// What remedies were worth: a line for each rung and reason.
pub(crate) fn stats<'a>(targets: impl IntoIterator<Item = (&'a TargetId, &'a Brake)>) -> String {
    let mut out = String::new();
    for (id, brake) in targets {
        if brake.efficacy.is_empty() && brake.spontaneous.count == 0 && brake.would.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{}", strong(&id.to_string()));
        for worth in &brake.efficacy {
            let tried: u64 = worth.settled.iter().filter(|(s, _)| **s != Settlement::Relapsed).map(|(_, n)| n).sum();
            let settled: Vec<String> = worth.settled.iter().map(|(s, n)| format!("{} {n}", s.label())).collect();
            let median = worth.clear.median().map(|span| format!(", cleared in {span} (median)")).unwrap_or_default();
            let against = if worth.reason.is_empty() { String::new() } else { format!(" against {}", worth.reason) };
            let _ = writeln!(out, "  {}{against}: {tried} attempts: {}{median}", worth.rung, settled.join(", "));
        }
        if let Some(median) = brake.spontaneous.median() {
            let n = brake.spontaneous.count;
            let _ = writeln!(out, "  by itself: {n}x, after {median} (median)");
        }
        for (rung, times) in &brake.would {
            let _ = writeln!(out, "  {rung}: would have been taken {times}x, had there been leave to act");
        }
    }
    if out.is_empty() { "nothing was tried yet\n".to_owned() } else { out }
}

/// Why it acts, or does not: everything about one watch.
pub(crate) fn explain(status: &Status, watch: &WatchView) -> String {
    let mut out = String::new();
    head(&mut out, status);
    let _ = writeln!(out, "{}", strong(watch.id.as_str()));
    let app = watch.app.as_ref().map(|app| format!(", app {app}")).unwrap_or_default();
    let _ = writeln!(out, "  mode {}{app}", watch.mode.label());
    let enabled = match watch.enabled {
        Some(true) => good("present"),
        Some(false) => bad("absent: nothing is done"),
        None => odd("not known"),
    };
    let _ = writeln!(out, "  sentinels {enabled}");
    if let Some(revision) = &watch.revision {
        let _ = writeln!(out, "  deployed revision {revision}");
    }
    graph(&mut out, &status.view, watch);
    for target in &watch.targets {
        explain_target(&mut out, status.view.at, target);
    }
    out
}

/// What it cannot do without, what cannot do without it, and how these are.
fn graph(out: &mut String, view: &View, watch: &WatchView) {
    let how = |id: &WatchId| {
        let targets = view.watches.iter().filter(|other| other.id == *id).flat_map(|other| &other.targets);
        let down = targets.filter(|target| target.verdict.down().is_some()).count();
        if down == 0 { id.to_string() } else { format!("{id} {}", bad("(down)")) }
    };
    if !watch.needs.is_empty() {
        let needs: Vec<String> = watch.needs.iter().map(how).collect();
        let _ = writeln!(out, "  needs {}", needs.join(", "));
    }
    let needed = view.watches.iter().filter(|other| other.needs.contains(&watch.id)).map(|other| how(&other.id));
    let needed: Vec<String> = needed.collect();
    if !needed.is_empty() {
        let _ = writeln!(out, "  needed by {}", needed.join(", "));
    }
    for cut in &watch.needs_cut {
        let circle = format!("systemd says that it needs {cut} as well, which closes a circle: not waited for");
        let _ = writeln!(out, "  {}", odd(&circle));
    }
}

fn explain_target(out: &mut String, now: Now, target: &TargetView) {
    let verdict = match &target.verdict {
        Verdict::Up => good("up"),
        Verdict::Down(reason) => bad(&format!("down ({})", reason.code.label())),
        Verdict::Unknown(fault) => odd(&format!("unknown ({})", fault.label())),
        Verdict::Pending => odd("not judged yet"),
    };
    let _ = writeln!(out, "\n  {} is {verdict} for {}", target.id.key, now.since(target.since));
    if let Some(incident) = target.incident {
        let _ = writeln!(out, "    incident {incident}");
    }
    for look in &target.looks {
        let ago = format!("{} ago", now.since(look.asked));
        let _ = writeln!(out, "    {:<44} {} {}", look.question, look.said, faint(&ago));
        if let Some(excerpt) = look.excerpt.as_ref().filter(|excerpt| !excerpt.is_empty()) {
            let _ = writeln!(out, "      {}", faint(&format!("it said: {excerpt}")));
        }
    }
    if let Some(blame) = &target.blame {
        let _ = writeln!(out, "    because of {}", strong(blame.watch.as_str()));
    }
    if let Some((run, at, settled)) = &target.last_attempt {
        let result = settled.map_or("not settled yet", hostward_core::ledger::Settlement::label);
        let _ = writeln!(out, "    last attempt: run {run}, {} ago, {result}", now.since(*at));
    }
    match (&target.plan, &target.suspect) {
        (Some((hash, plan)), _) => {
            let _ = writeln!(out, "    would: {} (plan {hash})", plan.rung);
        }
        (None, Some(_)) => {
            let _ = writeln!(out, "    no remedy fits");
        }
        (None, None) if target.verdict.down().is_some() => {
            let _ = writeln!(out, "    recovering: its last look was up");
        }
        (None, None) => {}
    }
    if target.plan.is_some() && target.holds.is_empty() {
        let _ = writeln!(out, "    nothing holds it");
    }
    for held in &target.holds {
        hold(out, now, held);
    }
}

pub(crate) fn hold(out: &mut String, now: Now, held: &Held) {
    let lifts = match &held.lift {
        Lift::At(at) => {
            let left = at.saturating_sub(now.up);
            format!("lifts in {left}, at {}", clock(now.wall + left))
        }
        Lift::Fact(fact) => format!("lifts with {fact}"),
        Lift::Operator(what) => format!("lifts when you {what}"),
    };
    let _ = writeln!(out, "    held: {:<20} {}", odd(held.hold.label()), held.value);
    let _ = writeln!(out, "          {:<20} needs {}; {lifts}", "", held.threshold);
}

/// The very object that is executed.
pub(crate) fn plan(now: Now, hash: &PlanHash, plan: &Plan, holds: &[Held]) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} {} of {}", strong("plan"), strong(&hash.to_string()), plan.watch);
    let _ = writeln!(out, "  {}", plan.why);
    for heal in &plan.heals {
        let _ = writeln!(out, "  heals   {} ({})", heal.target, heal.rung);
    }
    for touched in &plan.touches {
        let _ = writeln!(out, "  touches {touched}");
    }
    for basis in &plan.basis {
        let _ = writeln!(out, "  rests on {} {}", basis.what, basis.value);
    }
    let _ = writeln!(out, "  cost    {}", plan.cost);
    for (n, step) in plan.steps.iter().enumerate() {
        steps(&mut out, n + 1, step);
    }
    if holds.is_empty() {
        let _ = writeln!(out, "  {}", good("nothing holds it"));
    }
    for held in holds {
        hold(&mut out, now, held);
    }
    out
}

fn steps(out: &mut String, n: usize, step: &Step) {
    match &step.act {
        Some(act) => {
            let courtesy = if step.fail == OnFail::GoOn { ", and passed over if it fails" } else { "" };
            let _ = writeln!(out, "  {n}. {act} {}", faint(&format!("(at most {}{courtesy})", step.deadline)));
        }
        None => {
            let _ = writeln!(out, "  {n}. wait");
        }
    }
    if let Some(unless) = &step.unless {
        let _ = writeln!(out, "     not when {unless} by then");
    }
    if let Some(proof) = &step.proof {
        for check in &proof.checks {
            let _ = writeln!(out, "     proved when {check}, {} within {}", times(proof.passes), proof.within);
        }
    }
    if let Some(back) = &step.back {
        let when = match back.when {
            When::Last => "at the end, whatever happens".to_owned(),
            When::After(step) => format!("after step {}, whatever happens", step + 1),
            When::Failed => "if the plan fails".to_owned(),
            When::Until(step) => format!("at the end, unless step {} was proved", step + 1),
        };
        let unless = back.unless.as_ref().map_or_else(String::new, |unless| format!(", unless {unless} by then"));
        let _ = writeln!(out, "     given back {when}: {}{unless}", back.act);
    }
}

fn times(n: u32) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

/// One line a record, of records in their order.
pub(crate) fn record(words: &mut Words, record: &Record) -> String {
    let (_, watch, says) = words.of(record);
    let at = faint(&clock(record.at.wall));
    format!("{:>5} {at} {:<18} {says}\n", record.seq, watch.unwrap_or_default())
}
