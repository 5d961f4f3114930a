//! The steps of a remedy, in the order of watches.md: keep the evidence, free who hangs, stop the holders, take off what is
//! dead, make the base anew, mount the paths, prove them, refresh who still sees the old ones. What was stopped returns at
//! the end, and behind a fence wherever nothing was mounted in time.
//!
//! Whoever writes to a path without being a holder must write to no disk beneath. So an unmount leaves a fence, a bind
//! lifts it, and what is bare from the start is fenced first. Open to the disk beneath is only what others mount: a base,
//! while its unit starts, and what the operator's own commands mount. From the step that may leave a path bare to the one
//! that mounts it, it owes its fence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::base::{Base, Standing};
use super::path;
use super::remedy::{Dependent, Patient};
use super::{Last, Spec};
use crate::ask::{Connection, Look, Mark, On, PathQ, PathReading, PathsQ, Question, Write};
use crate::id::{Str, TargetId};
use crate::judge::Code;
use crate::plan::{
    Abort, Act, Back, Bind, Check, Command, Gather, OnCrash, OnFail, Proof, Step, Stop, Unless, Unmount, Want, When,
};
use crate::time::Ms;
use crate::watch::steps::{prove_step, restart_step, stop_step};

const GATHER_WITHIN: Ms = Ms::secs(10);
/// A write to a file of the kernel's own.
const ABORT_WITHIN: Ms = Ms::secs(5);
/// mount(8) and umount(8) take milliseconds, or hang. Two of them, and their units' start and end.
const FENCE_WITHIN: Ms = Ms::secs(30);
/// The operator's own command.
const COMMAND_WITHIN: Ms = Ms::mins(5);
/// Until a base serves that was started.
const BASE_WITHIN: Ms = Ms::secs(60);
/// systemd-system.conf(5), DefaultTimeoutStartSec and DefaultTimeoutStopSec.
const UNIT_WITHIN: Ms = Ms::secs(180);
/// A pass over all paths of a watch, twice.
const PROVE_WITHIN: Ms = Ms::mins(2);
/// Of paths that are healed along: who was stopped does not wait longer for one of them that was not mounted.
const OTHERS_WITHIN: Ms = Ms::secs(30);

/// Whether this connection hangs, and the plan rests on its end.
pub(super) fn hangs_on(patients: &[Patient<'_>], base: Option<&Base>, last: &Last, connection: &Connection) -> bool {
    let stuck = |seen: &PathReading| matches!(seen.look, Look::Stuck { .. });
    let on_it = |seen: &PathReading| seen.on.as_ref().is_some_and(|on| on.device == connection.device);
    let under = last.under.iter().filter(|seen| base.is_some_and(|base| base.point == seen.path));
    patients.iter().map(|patient| patient.seen).chain(under).any(|seen| stuck(seen) && on_it(seen))
}

pub(super) fn steps(
    spec: &Spec,
    patients: &[Patient<'_>],
    base: Option<&Base>,
    stops: Vec<(Stop, Ms)>,
    refreshed: &[&Dependent],
    last: &Last,
) -> Vec<Step> {
    let mut refit = Refit { spec, steps: Vec::new(), owed: Vec::new(), mended: BTreeMap::new() };
    refit.gather(patients, base);
    for connection in last.connections.iter().filter(|c| hangs_on(patients, base, last, c)) {
        refit.abort(connection, patients, base, last);
    }
    let stops = stops.into_iter().map(|(stop, timeout)| stop_step(stop, Some(timeout), When::Last));
    refit.steps.extend(stops);
    // What answers only has to have its base started.
    let places = if only_starts(patients) { Vec::new() } else { places(patients) };
    for patient in &places {
        refit.clear(patient);
    }
    if let Some(base) = base {
        refit.remount(base, &places, last);
    }
    refit.rebind(&places, base);
    refit.prove(patients, refreshed);
    refit.settle_fences();
    refit.steps
}

pub(super) fn only_starts(patients: &[Patient<'_>]) -> bool {
    patients.iter().all(|patient| patient.code == Code::BaseDown)
}

/// One patient a mount point: two folders may lie below the same.
fn places<'a, 'b>(patients: &'b [Patient<'a>]) -> Vec<&'b Patient<'a>> {
    let mut seen = BTreeSet::new();
    patients.iter().filter(|patient| seen.insert(&patient.point)).collect()
}

struct Refit<'a> {
    spec: &'a Spec,
    steps: Vec<Step>,
    /// Steps that leave a path bare, and which.
    owed: Vec<(usize, PathBuf)>,
    /// The step that mounts something there again.
    mended: BTreeMap<PathBuf, usize>,
}

impl Refit<'_> {
    fn gather(&mut self, patients: &[Patient<'_>], base: Option<&Base>) {
        let paths = patients.iter().map(|patient| patient.point.clone()).collect::<BTreeSet<_>>();
        let units = base.map(|base| base.unit.clone()).into_iter().chain(self.spec.remedy.holders.iter().cloned());
        let gather = Gather { paths: paths.into_iter().collect(), units: units.collect() };
        self.courtesy(Act::Gather(gather), GATHER_WITHIN);
    }

    /// By a mount of this watch's own.
    fn abort(&mut self, connection: &Connection, patients: &[Patient<'_>], base: Option<&Base>, last: &Last) {
        let points = patients.iter().map(|patient| &patient.point).chain(base.map(|base| &base.point));
        let Some(path) = { points }.find(|point| connection.points.contains(point)) else { return };
        let seen = patients.iter().map(|patient| patient.seen).chain(&last.under).chain(last.ill.values());
        let was = { seen }.find_map(|seen| mounted(seen, path)).unwrap_or_default();
        let (device, points) = (connection.device.clone(), connection.points.clone());
        let abort = Abort { path: path.clone(), device, points, was };
        let freed = looks(self.asked(path), Want::Freed, Ms::secs(30));
        self.steps.push(Step { unless: Some(self.answers(path)), ..step(Act::Abort(abort), ABORT_WITHIN, freed) });
    }

    /// Takes off what is mounted there and leaves the path closed.
    fn clear(&mut self, patient: &Patient<'_>) {
        if stays(patient) {
            return;
        }
        let point = &patient.point;
        match (is_mounted(patient), patient.seen.fenced) {
            (true, fenced) => {
                if fenced {
                    self.unfence(point, patient.needed);
                }
                self.unmount(patient.seen, point, is_dead(patient), patient.needed);
            }
            (false, true) => {}
            (false, false) => {
                let fence = step(Act::Fence(point.clone()), FENCE_WITHIN, mount(point, Want::Fenced));
                self.push(Step { unless: Some(self.answers(point)), ..fence }, patient.needed);
            }
        }
    }

    /// That very mount; and not when it answers again by then, if it is for its silence that it goes.
    fn unmount(&mut self, seen: &PathReading, point: &Path, silent: bool, needed: bool) {
        let was = mounted(seen, point).unwrap_or_default();
        let unmount = Act::Unmount(Unmount { path: point.to_owned(), lazy: self.spec.remedy.lazy, was });
        let unless = silent.then(|| self.answers(point));
        let taken = Step { unless, ..step(unmount, FENCE_WITHIN, mount(point, Want::Fenced)) };
        self.bare(point, taken, needed);
    }

    fn unfence(&mut self, point: &Path, needed: bool) {
        let lifted = step(Act::Unfence(point.to_owned()), FENCE_WITHIN, mount(point, Want::NotFenced));
        self.bare(point, Step { unless: Some(self.answers(point)), ..lifted }, needed);
    }

    /// A step that may leave nothing mounted there: it owes a fence.
    fn bare(&mut self, point: &Path, step: Step, needed: bool) {
        self.owed.push((self.steps.len(), point.to_owned()));
        self.push(step, needed);
    }

    /// The base's mount is taken off, where it is no path that was cleared already; its unit makes it anew.
    fn remount(&mut self, base: &Base, places: &[&Patient<'_>], last: &Last) {
        let own = places.iter().any(|patient| patient.point == base.point);
        let under = last.under.iter().find(|seen| seen.path == base.point).filter(|_| !own && !places.is_empty());
        if let Some(seen) = under {
            self.unmount(seen, &base.point, path::dead(seen).is_some(), true);
        }
        // Its unit may mount only where nothing is mounted.
        if own || under.is_some() {
            self.unfence(&base.point, true);
        }
        if !places.is_empty() {
            // Its stop takes off what is still mounted, and its start may not come to anything.
            self.owed.push((self.steps.len(), base.point.clone()));
        }
        let unit = &base.unit;
        let fact = |want| Check::Fact(Arc::new(Question::Unit(unit.clone())), want);
        // Only a service has a process that tells when it began; of others it is enough that they did not run.
        let began = if unit.as_str().ends_with(".service") { Want::StartedSince } else { Want::Returned };
        let mut proof = looks(base.asked(), Want::Answers, BASE_WITHIN);
        proof.checks.insert(0, fact(began));
        self.mended.insert(base.point.clone(), self.steps.len());
        // What somebody mounted meanwhile would go with it.
        let dead = !places.is_empty() && matches!(last.stands(self.spec, base), Standing::Dead(_));
        let unless = dead.then(|| self.answers(&base.point));
        self.steps.push(Step { unless, ..step(Act::Restart(unit.clone()), UNIT_WITHIN, proof) });
    }

    /// What is no mount of the base's own is bound, or mounted by the operator's commands.
    fn rebind(&mut self, places: &[&Patient<'_>], base: Option<&Base>) {
        let made = |patient: &&Patient<'_>| base.is_some_and(|base| patient.point == base.point);
        let bound: Vec<&Patient<'_>> = places.iter().copied().filter(|patient| !made(patient)).collect();
        if bound.is_empty() {
            return;
        }
        let commands = self.spec.remedy.rebind.clone();
        for patient in &bound {
            match (commands.is_empty(), &patient.seen.cold) {
                (true, Some(cold)) => self.bind(cold, patient),
                (false, _) if !stays(patient) => self.unfence(&patient.point, patient.needed),
                _ => {}
            }
        }
        self.run(&commands, &bound);
    }

    fn bind(&mut self, cold: &Path, patient: &Patient<'_>) {
        let hot = patient.seen.path.clone();
        let asked = PathQ { bind: Some(cold.to_owned()), ..self.asked(&hot) };
        if !self.owed.iter().any(|(_, point)| *point == hot) {
            self.owed.push((self.steps.len(), hot.clone()));
        }
        self.mended.insert(hot.clone(), self.steps.len());
        let bind = Act::Bind(Bind { cold: cold.to_owned(), hot });
        self.push(step(bind, FENCE_WITHIN, looks(asked, Want::Bound, Ms::secs(30))), patient.needed);
    }

    /// All of them together mount everything: the last one owes that. What is healed along tells at the end of the plan.
    fn run(&mut self, commands: &[Vec<Str>], bound: &[&Patient<'_>]) {
        let needed: Vec<&&Patient<'_>> = bound.iter().filter(|patient| patient.needed).collect();
        let fail = if needed.is_empty() { OnFail::GoOn } else { OnFail::Unwind };
        for argv in commands {
            let act = Some(Act::Command(Command { argv: argv.clone(), user: None, dir: None, env: None }));
            let (deadline, proof, back) = (COMMAND_WITHIN, None, None);
            self.steps.push(Step { act, deadline, proof, crash: OnCrash::Again, back, unless: None, fail });
        }
        let Some(last) = self.steps.len().checked_sub(1).filter(|_| !commands.is_empty()) else { return };
        self.mended.extend(bound.iter().map(|patient| (patient.point.clone(), last)));
        let check = |patient: &&Patient<'_>| looks(self.asked(&patient.point), Want::Answers, BASE_WITHIN).checks;
        let checks: Vec<Check> = needed.into_iter().flat_map(check).collect();
        if let (false, Some(step)) = (checks.is_empty(), self.steps.last_mut()) {
            step.proof = Some(Proof { checks, passes: 1, every: Ms(500), within: BASE_WITHIN, soak: Ms::ZERO });
        }
    }

    /// Every path reads, and takes what is written; then whoever still sees the old mounts is started anew.
    fn prove(&mut self, patients: &[Patient<'_>], refreshed: &[&Dependent]) {
        for unit in &self.spec.remedy.oneshots {
            self.courtesy(Act::Start(vec![unit.clone()]), COMMAND_WITHIN);
        }
        let (needed, others): (Vec<_>, Vec<_>) = patients.iter().partition(|patient| patient.needed);
        let up = |patients: &[&Patient<'_>]| {
            let targets = patients.iter().map(|patient| Check::Target(TargetId::clone(&patient.target)));
            targets.collect::<Vec<_>>()
        };
        if !others.is_empty() {
            self.push(prove_step(up(&others), OTHERS_WITHIN), false);
        }
        self.steps.push(prove_step(up(&needed), PROVE_WITHIN));
        for dependent in refreshed {
            self.push(restart_step(&dependent.unit, None), false);
            if let Some(smoke) = &dependent.smoke {
                let command = Command { argv: smoke.clone(), user: None, dir: None, env: None };
                self.courtesy(Act::Command(command), COMMAND_WITHIN);
            }
        }
        if !refreshed.is_empty() {
            let mut end = prove_step(up(&needed), PROVE_WITHIN);
            end.proof.iter_mut().for_each(|proof| (proof.passes, proof.soak) = (1, Ms::ZERO));
            self.steps.push(end);
        }
    }

    /// Each step that leaves a path bare owes a fence until the step that mounts something there.
    fn settle_fences(&mut self) {
        for (n, point) in std::mem::take(&mut self.owed) {
            // One that nothing mounts again would be a bug, and the checker refuses its plan.
            let until = self.mended.get(&point).and_then(|mended| u16::try_from(*mended).ok()).unwrap_or(u16::MAX);
            let fence = Back {
                when: When::Until(until),
                act: Act::Fence(point.clone()),
                unless: Some(self.answers(&point)),
                deadline: FENCE_WITHIN,
                proof: mount(&point, Want::Fenced),
                tries: 0,
            };
            if let Some(step) = self.steps.get_mut(n) {
                step.back = Some(fence);
            }
        }
    }

    fn push(&mut self, step: Step, needed: bool) {
        self.steps.push(Step { fail: if needed { OnFail::Unwind } else { OnFail::GoOn }, ..step });
    }

    /// Repeatable, and passed over when it fails.
    fn courtesy(&mut self, act: Act, deadline: Ms) {
        let (proof, back) = (None, None);
        let (unless, fail) = (None, OnFail::GoOn);
        self.steps.push(Step { act: Some(act), deadline, proof, crash: OnCrash::Again, back, unless, fail });
    }

    /// Somebody mounted it, or it came back by itself: it answers all that the watch asks of it. A disk that was pulled
    /// goes on answering from memory until it is written to.
    fn answers(&self, point: &Path) -> Unless {
        let own = self.spec.paths.iter().find(|own| own.asked.path == point);
        let listed =
            || self.spec.manifest.as_ref().filter(|_| self.spec.lists(point)).map(|manifest| manifest.asked.write);
        let write = own.map(|own| own.asked.write).or_else(listed).unwrap_or(Write::Never);
        let question = Arc::new(Question::Paths(PathsQ::one(PathQ { write, ..self.asked(point) })));
        Unless { question, want: Want::Answers }
    }

    /// Who may look at a path.
    fn asked(&self, path: &Path) -> PathQ {
        let own = self.spec.paths.iter().find(|own| own.asked.path == path || own.point() == path);
        let listed = || self.spec.manifest.as_ref().and_then(|manifest| manifest.asked.user.clone());
        let user = own.map_or_else(listed, |own| own.asked.user.clone());
        PathQ { path: path.to_owned(), bind: None, user, write: Write::Never }
    }
}

fn step(act: Act, deadline: Ms, proof: Proof) -> Step {
    Step {
        act: Some(act),
        deadline,
        proof: Some(proof),
        crash: OnCrash::Again,
        back: None,
        unless: None,
        fail: OnFail::Unwind,
    }
}

fn proof(check: Check, within: Ms) -> Proof {
    Proof { checks: vec![check], passes: 1, every: Ms(500), within, soak: Ms::ZERO }
}

fn mount(point: &Path, want: Want) -> Proof {
    proof(Check::Fact(Arc::new(Question::Mount(point.to_owned())), want), Ms::secs(10))
}

fn looks(path: PathQ, want: Want, within: Ms) -> Proof {
    proof(Check::Fact(Arc::new(Question::Paths(PathsQ::one(path))), want), within)
}

/// What is mounted there is what should be: only commands of the operator's may mend it.
fn stays(patient: &Patient<'_>) -> bool {
    matches!(patient.code, Code::Readonly | Code::Unwritable)
}

/// Nobody has anything of what is mounted there.
fn is_dead(patient: &Patient<'_>) -> bool {
    matches!(patient.code, Code::Stale | Code::Hung)
}

/// What was seen to be mounted at this very point.
fn mounted(seen: &PathReading, point: &Path) -> Option<Mark> {
    seen.on.as_ref().filter(|on| on.point == point).map(On::mark)
}

/// Something is mounted at its point, under a fence or not.
fn is_mounted(patient: &Patient<'_>) -> bool {
    patient.seen.on.as_ref().is_some_and(|on| on.point == patient.point)
}
