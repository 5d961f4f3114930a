//! Checks across tables and files: what is mentioned exists, what must be one is one, and nothing grows without limit.

use std::collections::{BTreeMap, BTreeSet};

use hostward_core::id::{AppName, Str, WatchId};
use hostward_core::ledger::CHARGES_KEPT;
use hostward_core::plan::{COST_RECONCILE, COST_REMOUNT};
use hostward_core::policy::{Host, Mode, Watch};
use hostward_core::watch::Spec;

use crate::draft::{Claim, Draft, Mention};
use crate::finding::{Finding, Findings, Place, Said, did_you_mean, shown};

/// One loop judges them all, each several times a minute.
const WATCHES_LIMIT: usize = 1000;

pub(crate) fn check(draft: &Draft, findings: &Findings) {
    let last = draft.watches.values().max_by_key(|said| (said.at.file, said.at.span.start));
    if let Some(last) = last.filter(|_| draft.watches.len() > WATCHES_LIMIT) {
        let message = format!("{} watches are more than the limit of {WATCHES_LIMIT}", draft.watches.len());
        findings.push(&last.at, Finding::error(message).help("remove some of them"));
    }
    claims(draft, findings);
    // A suggestion costs a comparison with every name: none is looked for beyond what is shown.
    for (by, said) in draft.mentions.iter().take_while(|_| !findings.is_full()) {
        if let Some(finding) = mention(draft, by, &said.value) {
            findings.push(&said.at, finding);
        }
    }
    crate::notify::check(draft, findings);
    budget(draft, findings);
    queues(draft, findings);
    unused_apps(draft, findings);
}

fn claims(draft: &Draft, findings: &Findings) {
    let mut first: BTreeMap<&Claim, (&WatchId, &Place)> = BTreeMap::new();
    for (by, Said { value: claim, at }) in &draft.claims {
        let Some((owner, place)) = first.get(claim) else {
            first.insert(claim, (by, at));
            continue;
        };
        let (what, help) = match claim {
            Claim::Unit(unit) => {
                (unit.to_string(), "give both sets of probes to one watch: two would restart it twice")
            }
            Claim::Venv(venv) => (venv.display().to_string(), "one baseline may have both `lock` and `required`"),
            Claim::Path(path) => (path.display().to_string(), "one watch judges a path, else two would repair it"),
            Claim::Base(unit) => (
                unit.to_string(),
                "declare all its paths in one watch: only that watch's holders stand still while it is made anew",
            ),
            Claim::Compat(compat) => (compat.to_string(), "two watches would overwrite each other's numbers"),
        };
        let finding = Finding::error(format!("{} belongs to [{owner}] already", shown(&what)));
        findings.push(at, finding.also(place, format!("first named here, in [{owner}]")).help(help));
    }
}

/// The job "a-1" of `crawl` and the job "1" of `crawl-a` have one name for their units: each would run the other one.
fn queues(draft: &Draft, findings: &Findings) {
    let prefix = |said: &Said<Option<Watch>>| match &said.value.as_ref()?.spec {
        Spec::Job(spec) => spec.queue.as_ref().map(|queue| queue.prefix.clone()),
        _ => None,
    };
    let all = draft.watches.iter().filter_map(|(id, said)| Some((id, &said.at, prefix(said)?)));
    let all: Vec<(&WatchId, &Place, Str)> = all.collect();
    for (id, at, prefix) in &all {
        let shorter = all.iter().find(|(other, _, short)| other != id && prefix.starts_with(&**short));
        if let Some((other, place, _)) = shorter {
            let finding = Finding::error(format!("jobs of [{id}] and of [{other}] may have the same unit"));
            let help = "rename one of them: a job's unit is called hostward-job-NAME-ID";
            findings.push(at, finding.also(place, "this has a queue as well").help(help));
        }
    }
}

fn mention(draft: &Draft, by: &WatchId, what: &Mention) -> Option<Finding> {
    match what {
        Mention::Mode(mode) => {
            let ceiling = draft.host.as_ref().map_or(Host::default().mode, |said| said.value.mode);
            (*mode > ceiling).then(|| above(*mode, ceiling))
        }
        // What a torn file declares is not known: nothing can be said to be missing.
        _ if draft.torn => None,
        Mention::App(app) if draft.apps.contains_key(app) => None,
        Mention::App(app) => {
            let known = draft.apps.keys().map(AppName::as_str);
            let help = did_you_mean(app.as_str(), known).unwrap_or_else(|| format!("add a table [app.{app}]"));
            Some(Finding::error(format!("there is no [app.{app}]")).help(help))
        }
        Mention::Reconcile(id) => reconcile(draft, id),
        Mention::Prove(id) => prove(draft, by, id),
        Mention::Needs(id) => needs(draft, by, id),
        Mention::Cause(id) => cause(draft, by, id),
    }
}

fn above(mode: Mode, ceiling: Mode) -> Finding {
    let (mode, ceiling) = (mode.label(), ceiling.label());
    Finding::warning(format!("this watch will not {mode}: the host's mode is {ceiling}"))
        .help(format!("the lesser of both counts; [host] mode = \"{mode}\" would allow it"))
}

fn reconcile(draft: &Draft, id: &WatchId) -> Option<Finding> {
    let Some(said) = draft.watches.get(id) else {
        let baselines = draft.watches.keys().filter(|id| id.kind() == "baseline");
        let rungs: Vec<String> = baselines.map(|id| format!("reconcile:{}", id.name())).collect();
        let rung = format!("reconcile:{}", id.name());
        let help = did_you_mean(&rung, rungs.iter().map(String::as_str))
            .unwrap_or_else(|| format!("declare [{id}], or take the rung off the ladder"));
        return Some(Finding::error(format!("there is no [{id}]")).help(help));
    };
    match &said.value.as_ref()?.spec {
        Spec::Baseline(spec) if spec.reconcile.is_none() => {
            let finding = Finding::error(format!("[{id}] has no reconcile")).also(&said.at, "declared here");
            Some(finding.help(format!("add [{id}.reconcile] with `run`")))
        }
        _ => None,
    }
}

/// What is needed exists, and nothing needs itself by any way round: two such would wait for each other.
fn needs(draft: &Draft, by: &WatchId, id: &WatchId) -> Option<Finding> {
    if !draft.watches.contains_key(id) {
        let help = did_you_mean(id.as_str(), draft.watches.keys().map(WatchId::as_str))
            .unwrap_or_else(|| format!("declare [{id}], or do not need it"));
        return Some(Finding::error(format!("there is no [{id}]")).help(help));
    }
    let of = |id: &WatchId| draft.watches.get(id).and_then(|said| said.value.as_ref()).map(|watch| &watch.needs);
    let mut way: Vec<&WatchId> = vec![id];
    let mut seen: BTreeSet<&WatchId> = BTreeSet::new();
    while let Some(next) = way.pop() {
        if next == by {
            let message = format!("[{by}] needs itself, by way of [{id}]");
            return Some(Finding::error(message).help("two watches that need each other would wait for each other"));
        }
        if seen.insert(next) {
            way.extend(of(next).into_iter().flatten());
        }
    }
    None
}

fn cause(draft: &Draft, by: &WatchId, id: &WatchId) -> Option<Finding> {
    if id == by {
        let finding = Finding::error(format!("[{by}] cannot be the cause of its own component"));
        return Some(finding.help("name the watch of what the component rests on, or leave it out"));
    }
    if draft.watches.contains_key(id) {
        return None;
    }
    let help = did_you_mean(id.as_str(), draft.watches.keys().map(WatchId::as_str))
        .unwrap_or_else(|| format!("declare [{id}], or leave the cause out"));
    Some(Finding::error(format!("there is no [{id}]")).help(help))
}

fn prove(draft: &Draft, by: &WatchId, id: &WatchId) -> Option<Finding> {
    if id.kind() == "service" && draft.watches.contains_key(id) {
        return None;
    }
    let services = || draft.watches.keys().filter(|id| id.kind() == "service");
    let message = if draft.watches.contains_key(id) {
        format!("{} is not a service", shown(id.as_str()))
    } else {
        format!("there is no watch {}", shown(id.as_str()))
    };
    let suggestion = || {
        let same_name = services().find(|service| service.name() == id.as_str());
        let named = same_name.map(|service| format!("did you mean {}?", shown(service.as_str())));
        named.or_else(|| did_you_mean(id.as_str(), services().map(WatchId::as_str)))
    };
    let help =
        suggestion().unwrap_or_else(|| format!("name the service that shows that [{by}] is well: service.NAME"));
    Some(Finding::error(message).help(help))
}

/// A budget that can never pay for what was declared is probably not meant.
fn budget(draft: &Draft, findings: &Findings) {
    let (Some(host), Some(at)) = (&draft.host, &draft.budget_at) else { return };
    if host.value.budget.cost as usize > CHARGES_KEPT {
        let finding = Finding::error(format!("a budget above {CHARGES_KEPT} cannot be kept to"));
        findings.push(at, finding.help("a restart costs 1: so many an hour are no remedy"));
    }
    let dearest = |said: &Said<Option<Watch>>| match said.value.as_ref().map(|watch| &watch.spec) {
        Some(Spec::Baseline(spec)) if spec.reconcile.is_some() => Some(("reconcile", COST_RECONCILE)),
        Some(Spec::Storage(spec)) if spec.bases().next().is_some() => Some(("remount", COST_REMOUNT)),
        _ => None,
    };
    let mut dear = draft.watches.iter().filter_map(|(id, said)| Some((id, dearest(said)?)));
    if let Some((id, (what, cost))) = dear.find(|(_, (_, cost))| host.value.budget.cost < *cost) {
        let finding = Finding::warning(format!("this budget never pays for the {what} of [{id}]"));
        findings.push(at, finding.help(format!("a {what} costs {cost}, a restart 1")));
    }
}

fn unused_apps(draft: &Draft, findings: &Findings) {
    let named = draft.mentions.iter().filter_map(|(_, said)| match &said.value {
        Mention::App(name) => Some(name),
        _ => None,
    });
    let used: BTreeSet<&AppName> = named.collect();
    for (name, said) in draft.apps.iter().filter(|(name, _)| !draft.torn && !used.contains(name)) {
        let finding = Finding::warning(format!("no watch belongs to [app.{name}]"));
        findings.push(&said.at, finding.help(format!("add app = \"{name}\" to its watches")));
    }
}
