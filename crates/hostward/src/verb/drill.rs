//! `drill`: what would be done if a storage path were lost, played to its end over one look at the real host. It touches
//! nothing, asks no daemon and writes nowhere: on a production host it is as safe as `check`.

mod ground;
pub(crate) mod live;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use hostward_core::ask::{AskKey, PathsReading, Reading};
use hostward_core::drill::{Drill, NoDrill, Played, Wound};
use hostward_core::hold::Held;
use hostward_core::id::{Str, WatchId};
use hostward_core::ledger::Closing;
use hostward_core::plan::{Plan, PlanHash};
use hostward_core::policy::{Mode, Policy, Watch};
use hostward_core::time::Ms;
use hostward_core::watch::Spec;
use hostward_core::watch::storage::Spec as Storage;
use hostward_host::child::Children;
use serde::Serialize;
use tokio::sync::mpsc;

use super::{Out, load, look};
use crate::bus::Bus;
use crate::cli::Wounds;
use crate::edge::EVENTS_MAX;
use crate::exit::{self, Exit};
use crate::eyes::{Eyes, Files};
use crate::store::{self, Paths};
use crate::words::Words;
use crate::{oneshot, render};

/// What `drill --json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    watch: &'a WatchId,
    path: &'a str,
    wound: Wound,
    hash: Option<&'a PlanHash>,
    plan: Option<&'a Plan>,
    timeline: &'a [Moment],
    /// How the run ended; null: nothing was begun within the hour.
    closing: Option<&'a Closing>,
    /// What kept it from beginning.
    holds: &'a [Held],
    /// What would keep it from beginning on this host now.
    now: &'a [String],
}

#[derive(Serialize)]
struct Moment {
    /// Since the path was lost.
    ms: u64,
    says: String,
}

pub(crate) async fn storage(paths: &Paths, out: Out, path: &Path, wounds: &Wounds) -> Result<Exit> {
    let policy = load(paths)?.policy;
    let wound = wounds.one();
    let (watch, seen) = find(&policy, path).await?;
    let now = in_the_way(paths, &policy, &watch).await?;
    let path = Str::from(path.to_string_lossy());
    let (clock, _) = store::clock(&hostward_core::ledger::State::default())?;
    let drill = Drill { policy, watch: watch.clone(), path: path.clone(), wound, seen, wall: clock.now().wall };
    let played = drill.play().map_err(|why| match why {
        NoDrill::Unwell { .. } => exit::error(Exit::Refused, why.to_string()),
        _ => exit::error(Exit::Usage, why.to_string()),
    })?;
    let head = format!(
        "{path} of {watch}, as if it were {wound}. Nothing is touched: each act is taken to succeed, within a second."
    );
    print(out, (&watch, &path, wound), &head, &played, &now)?;
    Ok(if played.closing == Some(Closing::Proved) { Exit::Ok } else { Exit::Held })
}

fn print(
    out: Out,
    (watch, path, wound): (&WatchId, &str, Wound),
    head: &str,
    played: &Played,
    now: &[String],
) -> Result<()> {
    let timeline = timeline(played);
    let plan = played.plan.as_ref();
    let shown = Shown {
        watch,
        path,
        wound,
        hash: plan.map(|(hash, _)| hash),
        plan: plan.map(|(_, plan)| &**plan),
        timeline: &timeline,
        closing: played.closing.as_ref(),
        holds: &played.holds,
        now,
    };
    out.print(&shown, || text(head, &shown, played))
}

/// The watch whose path it is, and one look at all that it watches: one that declares it, else one whose manifest may.
async fn find(policy: &Policy, path: &Path) -> Result<(WatchId, PathsReading)> {
    let (events, _inbox) = mpsc::channel(EVENTS_MAX);
    let program = std::env::current_exe().context("find our own program")?;
    let eyes = Eyes::new(Bus::start(events), Files::Child(Children::new(program)));
    let storage = policy.watches.iter().filter_map(|(id, watch)| match &watch.spec {
        Spec::Storage(spec) => Some((id, watch, spec)),
        _ => None,
    });
    let declares = |spec: &Storage| spec.paths.iter().any(|own| own.asked.path == path);
    // Of a path that is declared no other watch is asked: its mounts may hang.
    let (own, lists): (Vec<_>, Vec<_>) =
        storage.clone().filter(|(.., spec)| declares(spec) || spec.manifest.is_some()).partition(|s| declares(s.2));
    for (id, watch, _) in if own.is_empty() { lists } else { own } {
        let seen = look_at(&eyes, id, watch).await?;
        if seen.paths.iter().any(|seen| seen.path == path) {
            return Ok((id.clone(), seen));
        }
    }
    let known = storage.flat_map(|(.., spec)| &spec.paths).map(|own| own.asked.path.display().to_string());
    let known = match known.collect::<Vec<_>>() {
        known if known.is_empty() => "none is declared".to_owned(),
        known => format!("declared are {}", known.join(", ")),
    };
    Err(exit::error(Exit::Usage, format!("{} is no path of a storage watch: {known}", path.display())))
}

async fn look_at(eyes: &Eyes, id: &WatchId, watch: &Watch) -> Result<PathsReading> {
    let probe = watch.spec.probes().into_iter().next().context("a storage watch asks one question")?;
    match eyes.answer(&AskKey::Probe(id.clone(), 0), &probe.question, probe.deadline.into()).await {
        Ok(Reading::Paths(seen)) => Ok(*seen),
        Ok(_) => bail!("the look at {id} answered another question"),
        Err(fault) => Err(exit::error(Exit::Unknown, format!("look at {id}: {fault}"))),
    }
}

/// What would keep the plan from beginning on this host, as it is.
async fn in_the_way(paths: &Paths, policy: &Policy, id: &WatchId) -> Result<Vec<String>> {
    let status = look::known(paths, Some(id.as_str())).await?;
    let watch = status.view.watch(id).ok_or_else(|| oneshot::no_such_watch(id, &[]))?;
    let mut found = Vec::new();
    match watch.mode.min(policy.host.mode) {
        Mode::Act => {}
        Mode::Propose => found.push("its mode is propose: the plan would wait for `hostward apply`".to_owned()),
        Mode::Observe => found.push("its mode is observe: it would only be told".to_owned()),
    }
    if watch.enabled == Some(false) {
        found.push("a sentinel is absent: `hostward enable` creates it".to_owned());
    }
    if watch.deploy_lock_held == Some(true) {
        found.push("a deploy lock is held".to_owned());
    }
    if watch.paused {
        found.push("it is paused".to_owned());
    }
    if watch.stuck {
        found.push("something of it is stuck: `hostward clear` once you have looked".to_owned());
    }
    Ok(found)
}

fn timeline(played: &Played) -> Vec<Moment> {
    let mut words = Words::default();
    let moment = |record| {
        let (_, _, says) = words.of(record);
        Moment { ms: record.at.since(played.began).0, says }
    };
    played.records.iter().map(moment).collect()
}

fn text(head: &str, shown: &Shown<'_>, played: &Played) -> String {
    let mut out = format!("{head}\n\n");
    if let Some((hash, plan)) = &played.plan {
        let _ = writeln!(out, "{}", render::plan(played.began, hash, plan, &[]));
    }
    for moment in shown.timeline {
        let _ = writeln!(out, "  +{:<8} {}", Ms(moment.ms).to_string(), moment.says);
    }
    let _ = writeln!(out);
    match shown.closing {
        Some(Closing::Proved) => out.push_str("It ends well.\n"),
        Some(_) => out.push_str("It does not end well: the last lines say why.\n"),
        None => out.push_str("Nothing would be done.\n"),
    }
    for held in shown.holds.iter().filter(|_| shown.closing.is_none()) {
        render::hold(&mut out, played.began, held);
    }
    for way in shown.now {
        let _ = writeln!(out, "On this host now, {way}.");
    }
    out
}
