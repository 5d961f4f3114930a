//! The remedy of a path that is lost: which rung the evidence supports, for whom else at once, or why there is none.
//!
//! `rebind` makes the path's own mount anew, when what it comes from answers. `remount` makes that anew first, when it is
//! dead by evidence, or when a rebind did not help. Nothing else is unmounted, and nothing that somebody else mounted.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::base::{Base, Standing, outlived};
use super::{HotPath, Last, Memo, Spec, key, path, refit};
use crate::ask::PathReading;
use crate::hold::{Circuit, chargeable, circuit, tried};
use crate::id::{Resource, Rung, Str, TargetId, UnitName};
use crate::judge::Code;
use crate::plan::{Act, Basis, COST_REMOUNT, COST_RESTART, Command, Heal, Plan, Stop};
use crate::time::Ms;
use crate::watch::Draft;
use crate::watch::quiesce::stops;
use crate::world::{Live, World};

/// What the operator says of remedies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// Units that use the paths: stopped while a mount is taken off, started again whatever happens. While a path is lost
    /// nothing starts them there.
    pub holders: Vec<UnitName>,
    /// A mount is taken off also while somebody has files open there.
    pub lazy: bool,
    /// The operator's own commands, in place of a bind.
    pub rebind: Vec<Vec<Str>>,
    /// Started once the paths are mounted again.
    pub oneshots: Vec<UnitName>,
    /// Restarted at the end, for they may still see what was mounted before.
    pub dependents: Vec<Dependent>,
}

/// `[[storage.NAME.dependents]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependent {
    pub unit: UnitName,
    /// A command that shows that it is well.
    pub smoke: Option<Vec<Str>>,
}

/// What a rung does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Rebind,
    Remount,
}

impl Kind {
    pub(super) const ALL: [Kind; 2] = [Kind::Rebind, Kind::Remount];

    pub(super) fn rung(self) -> Rung {
        Rung::new(match self {
            Kind::Rebind => "rebind",
            Kind::Remount => "remount",
        })
    }

    fn cost(self) -> u32 {
        match self {
            Kind::Rebind => COST_RESTART,
            Kind::Remount => COST_REMOUNT,
        }
    }
}

/// A path that is to be healed.
#[derive(Clone, Debug)]
pub(super) struct Patient<'a> {
    pub(super) target: TargetId,
    pub(super) code: Code,
    pub(super) seen: &'a PathReading,
    /// The mount point that it is, or lies below.
    pub(super) point: PathBuf,
    pub(super) base: Option<Base>,
    /// The plan is for its sake, or rests on it: a step of it that fails ends the plan.
    pub(super) needed: bool,
}

/// The reason at hand was seen this often. Down counts by any reason, and the remedy goes by this one.
const STEADY_LOOKS: u32 = 2;
/// No more in one plan: each takes four steps at most, and a plan has 96.
const PATIENTS_MAX: usize = 14;

impl Spec {
    pub(super) fn remedy_for(&self, world: &World, target: &TargetId, live: &Live, memo: &Memo) -> Draft {
        let Some(last) = &memo.last else { return Draft::unready("it was not looked at") };
        let first = match self.patient(world, target, last) {
            Ok(patient) => Patient { needed: true, ..patient },
            Err(draft) => return *draft,
        };
        let kinds = match self.fits(&first, memo, last) {
            Ok(kinds) => kinds,
            Err(draft) => return *draft,
        };
        let worn = |kind: &Kind| worn(world, &heal(&first, *kind), kind.cost());
        let Some(kind) = kinds.into_iter().min_by_key(worn) else { return Draft::none("no rung fits") };
        if let Err(draft) = self.base_settled(world, &first, kind, memo, last) {
            return *draft;
        }
        let patients = self.patients(world, first, kind, memo, last);
        if let Some(point) = automounted(&patients, kind, last) {
            return Draft::none(format!(
                "{} is an automount: what it mounts is systemd's to make anew",
                point.display()
            ));
        }
        if let Some(why) = cut_off(&patients, kind, last) {
            return Draft::none(why);
        }
        let stops = match self.stops(&patients, last) {
            Ok(stops) => stops,
            Err(draft) => return *draft,
        };
        Draft::plan(self.plan(&patients, kind, stops, live, last))
    }

    fn patient<'a>(&self, world: &World, target: &TargetId, last: &'a Last) -> Result<Patient<'a>, Box<Draft>> {
        let reason = world.target(target).and_then(|t| t.verdict.down().or(t.suspect()));
        let reason = reason.ok_or_else(|| Box::new(Draft::none("nothing is wrong")))?;
        let unseen = || Box::new(Draft::unready("what is mounted there was not seen yet"));
        let seen = last.ill.get(&target.key).ok_or_else(unseen)?;
        let looks = last.steady.get(&target.key).map_or(0, |(_, looks)| *looks);
        if looks < self.confirm_runs.min(STEADY_LOOKS) {
            let why = format!("it is {} since the last look: somebody may be at work on it", reason.code.label());
            return Err(Box::new(Draft::unready(why)));
        }
        let point = self.declared(&seen.path).map_or(&*seen.path, |path| path.point()).to_owned();
        let base = self.base(&seen.path, seen.cold.as_deref());
        Ok(Patient { target: target.clone(), code: reason.code, seen, point, base, needed: false })
    }

    /// A base whose own mount is lost goes with the plan, or there is none yet: its unit does not mount over what is dead.
    fn base_settled(
        &self,
        world: &World,
        first: &Patient<'_>,
        kind: Kind,
        memo: &Memo,
        last: &Last,
    ) -> Result<(), Box<Draft>> {
        let base = first.base.as_ref().filter(|_| kind == Kind::Remount);
        let Some(own) = base.and_then(|base| self.own(base)) else { return Ok(()) };
        let target = TargetId::new(first.target.watch.clone(), key(&own.asked.path));
        if last.ill.get(&target.key).is_none_or(|seen| path::lost(seen, &own.expected).is_none()) {
            return Ok(());
        }
        let why = || format!("{} was not seen to be lost for long enough: it may come back", own.point().display());
        let patient = self.patient(world, &target, last).map_err(|_| Box::new(Draft::unready(why())))?;
        self.fits(&patient, memo, last).map(|_| ())
    }

    /// The rungs that the evidence supports, the least first.
    fn fits(&self, patient: &Patient<'_>, memo: &Memo, last: &Last) -> Result<Vec<Kind>, Box<Draft>> {
        let none = |why: String| Err(Box::new(Draft::none(why)));
        let seen = patient.seen;
        let shown = seen.path.display();
        let commands = !self.remedy.rebind.is_empty();
        match patient.code {
            Code::Readonly | Code::Unwritable if commands => Ok(vec![Kind::Rebind]),
            Code::Readonly => none(format!("{shown} is read-only: its kernel's log says why")),
            Code::Unwritable => none(format!("what keeps {shown} from being written to is its owner's to mend")),
            Code::BaseDown => Ok(vec![Kind::Remount]),
            Code::WrongSource if !outlived(seen) => {
                none(format!("somebody mounted something else at {shown}: theirs to unmount"))
            }
            Code::WrongSource => self.wrong_bind(seen).map_or(Ok(vec![Kind::Rebind]), none),
            Code::Stale | Code::Hung | Code::Missing if seen.look.is_absent() => {
                none(format!("there is no folder {shown} to mount anything at"))
            }
            Code::Hung if let Some(other) = seen.on.as_ref().and_then(|on| last.answering.get(&on.device)) => {
                none(cuts_off(&seen.path, other))
            }
            Code::Stale | Code::Hung | Code::Missing => self.fits_lost(patient, memo, last),
            _ => none(format!("nothing is known against {}", patient.code.label())),
        }
    }

    /// What answers for nobody, or is gone: by what it comes from.
    fn fits_lost(&self, patient: &Patient<'_>, memo: &Memo, last: &Last) -> Result<Vec<Kind>, Box<Draft>> {
        let none = |why: String| Err(Box::new(Draft::none(why)));
        let (seen, shown) = (patient.seen, patient.seen.path.display());
        match (&patient.base, &seen.cold, &seen.bind) {
            (Some(_), None, _) => Ok(vec![Kind::Remount]),
            (None, None, _) if self.remedy.rebind.is_empty() => {
                none(format!("nothing says how {shown} is mounted: declare `base`, `bind` or `rebind`"))
            }
            (None, None, _) => Ok(vec![Kind::Rebind]),
            (_, Some(_), None) => Err(Box::new(Draft::unready("what is to be bound was not found among the mounts"))),
            (Some(base), Some(_), Some(_)) => match last.stands(self, base) {
                Standing::Well if let Some(why) = self.wrong_bind(seen) => none(why),
                // Whom it still serves would lose it.
                Standing::Well if self.serves(base, memo, last) => Ok(vec![Kind::Rebind]),
                Standing::Well => Ok(vec![Kind::Rebind, Kind::Remount]),
                Standing::Dead(_) => Ok(vec![Kind::Remount]),
                Standing::Unknown(why) => Err(Box::new(Draft::unready(why))),
            },
            (None, Some(cold), Some(on)) if on.beneath(&seen.path) => {
                none(format!("{} is not mounted: it lies on the disk beneath {shown}", cold.display()))
            }
            (None, Some(_), Some(on)) => match last.mount_stands(&on.point) {
                Standing::Well if let Some(why) = self.wrong_bind(seen) => none(why),
                Standing::Well => Ok(vec![Kind::Rebind]),
                Standing::Dead(why) => none(format!("what is bound to {shown} does not answer: {why}")),
                Standing::Unknown(why) => Err(Box::new(Draft::unready(why))),
            },
        }
    }

    /// The cold folder lies on something else than what was declared of the path.
    fn wrong_bind(&self, seen: &PathReading) -> Option<String> {
        let listed = || self.manifest.as_ref().map(|manifest| &manifest.expected);
        let expected = self.declared(&seen.path).map(|path| &path.expected).or_else(listed)?;
        path::wrong_bind(seen.bind.as_ref()?, expected)
    }

    /// Something that is bound from it is well; of what a manifest lists, nobody says here what each is bound from.
    fn serves(&self, base: &Base, memo: &Memo, last: &Last) -> bool {
        let well = |key: &Str| !last.ill.contains_key(key);
        let bound = |path: &&HotPath| {
            let of = self.base(&path.asked.path, path.asked.bind.as_deref());
            path.asked.bind.is_some() && of.as_ref() == Some(base)
        };
        self.paths.iter().filter(bound).any(|path| well(&key(&path.asked.path))) || memo.listed.iter().any(well)
    }

    /// Everything that one plan heals: the path itself; the base's own path, whose caps count wherever the base is made
    /// anew; and what else of the base is down and may be charged.
    fn patients<'a>(
        &self,
        world: &World,
        first: Patient<'a>,
        kind: Kind,
        memo: &Memo,
        last: &'a Last,
    ) -> Vec<Patient<'a>> {
        let (base, target) = (first.base.clone(), first.target.clone());
        let others = last.ill.keys().map(|key| TargetId::new(target.watch.clone(), key.clone()));
        let others = others.filter(|other| *other != target);
        let others = others.filter_map(|other| self.patient(world, &other, last).ok());
        let mut patients = vec![first];
        for other in others.filter(|other| other.base == base) {
            let own = kind == Kind::Remount && base.as_ref().is_some_and(|base| other.point == base.point);
            let fits = self.fits(&other, memo, last).is_ok_and(|kinds| kinds.contains(&kind));
            if own && fits {
                patients.insert(1, Patient { needed: true, ..other });
            } else if fits && chargeable(world, &heal(&other, kind), kind.cost()) {
                patients.push(other);
            }
        }
        patients.truncate(PATIENTS_MAX);
        patients
    }

    /// The holders to stop: those that are active, each once, with what stops along. None for a base that only has to be
    /// started: what answers is left in peace.
    fn stops(&self, patients: &[Patient<'_>], last: &Last) -> Result<Vec<(Stop, Ms)>, Box<Draft>> {
        let holders = if refit::only_starts(patients) { &[][..] } else { &self.remedy.holders };
        stops(holders, |unit| {
            let found = last.holders.iter().find(|(holder, _)| holder == unit);
            found.and_then(|(_, closure)| closure.as_ref().ok())
        })
    }

    fn plan(&self, patients: &[Patient<'_>], kind: Kind, stops: Vec<(Stop, Ms)>, live: &Live, last: &Last) -> Plan {
        let first = &patients[0];
        let heals = patients.iter().map(|patient| heal(patient, kind)).collect();
        let refreshed = self.refreshed(&stops, last);
        let units = stops.iter().flat_map(|(stop, _)| stop.units()).cloned();
        let units = units.chain(refreshed.iter().map(|dependent| dependent.unit.clone()));
        let base = first.base.as_ref().filter(|_| kind == Kind::Remount);
        let units = units.chain(self.remedy.oneshots.iter().cloned()).chain(base.map(|base| base.unit.clone()));
        let points = patients.iter().map(|patient| patient.point.clone());
        let shared = last.connections.iter().filter(|c| refit::hangs_on(patients, base, last, c));
        let points = points.chain(base.map(|base| base.point.clone())).chain(shared.flat_map(|c| c.points.clone()));
        let mut touches: Vec<Resource> = points.map(Resource::Path).chain(units.map(Resource::Unit)).collect();
        touches.sort();
        touches.dedup();
        let why = format!("{} is {}: {}", first.seen.path.display(), first.code.label(), said(first, last, self));
        Plan {
            watch: first.target.watch.clone(),
            rung: kind.rung(),
            heals,
            touches,
            cost: kind.cost(),
            basis: vec![Basis::policy(&live.digest)],
            why: why.into(),
            steps: refit::steps(self, patients, base, stops, &refreshed, last),
        }
    }

    /// Those dependents that run: one that was stopped is nobody's to start, and one that the plan stops returns anew.
    fn refreshed(&self, stops: &[(Stop, Ms)], last: &Last) -> Vec<&Dependent> {
        let runs = |unit: &UnitName| last.units.iter().any(|(other, state)| other == unit && super::runs(state));
        let stopped = |unit: &UnitName| stops.iter().any(|(stop, _)| stop.units().any(|other| other == unit));
        let refreshed = |dependent: &&Dependent| runs(&dependent.unit) && !stopped(&dependent.unit);
        self.remedy.dependents.iter().filter(refreshed).collect()
    }

    /// The operator wrote this act down.
    pub(super) fn permits(&self, act: &Act) -> bool {
        let remedy = &self.remedy;
        let is_base = |unit: &UnitName| self.bases().any(|base| base == unit);
        match act {
            Act::Command(Command { argv, user: None, dir: None, env: None }) => {
                let smokes = || remedy.dependents.iter().filter_map(|dependent| dependent.smoke.as_ref());
                remedy.rebind.contains(argv) || smokes().any(|smoke| smoke == argv)
            }
            Act::Command(_) | Act::Launch(_) => false,
            Act::Restart(unit) => is_base(unit) || remedy.dependents.iter().any(|other| other.unit == *unit),
            Act::Stop(stop) => remedy.holders.contains(stop.declared()),
            Act::Start(units) => units.iter().all(|unit| remedy.oneshots.contains(unit)),
            Act::Fence(path) | Act::Unfence(path) => self.may_fence(path),
            Act::Abort(abort) => self.keeps(&abort.path) || self.is_point_of_base(&abort.path),
            Act::Unmount(unmount) => {
                (remedy.lazy || !unmount.lazy) && (self.keeps(&unmount.path) || self.is_point_of_base(&unmount.path))
            }
            Act::Bind(bind) => match self.declared(&bind.hot) {
                Some(path) => path.asked.bind.as_ref() == Some(&bind.cold),
                None => self.lists(&bind.hot),
            },
            Act::Gather(gather) => gather.paths.iter().all(|path| self.keeps(path)),
        }
    }

    /// It is a path of this watch's, or a manifest may name it, or its base mounts there.
    pub fn may_fence(&self, path: &Path) -> bool {
        self.keeps(path) || self.is_point_of_base(path)
    }

    fn keeps(&self, path: &Path) -> bool {
        self.paths.iter().any(|own| own.asked.path == path || own.point() == path) || self.lists(path)
    }

    /// The manifest may name it.
    pub(super) fn lists(&self, path: &Path) -> bool {
        let roots = self.manifest.iter().flat_map(|manifest| &manifest.asked.roots);
        roots.clone().any(|root| path != root && path.starts_with(root))
    }

    pub(super) fn is_point_of_base(&self, path: &Path) -> bool {
        self.bases().any(|unit| self.mounts_at(unit).as_deref() == Some(path))
    }
}

pub(super) fn heal(patient: &Patient<'_>, kind: Kind) -> Heal {
    Heal::new(patient.target.clone(), kind.rung(), patient.code.label())
}

/// A mount point at which only systemd knows when to mount: an unmount and a fence would be beneath its next mount.
fn automounted<'a>(patients: &'a [Patient<'_>], kind: Kind, last: &'a Last) -> Option<&'a Path> {
    let base = patients.first()?.base.as_ref().filter(|_| kind == Kind::Remount);
    let own = patients.iter().filter(|patient| patient.seen.automount).map(|patient| &*patient.point);
    let under = last.under.iter().filter(|seen| seen.automount && base.is_some_and(|base| base.point == seen.path));
    { own }.next().or_else(|| { under }.map(|seen| &*seen.path).next())
}

/// Why a connection that the plan would abort is not to be: it serves others still.
fn cut_off(patients: &[Patient<'_>], kind: Kind, last: &Last) -> Option<String> {
    let first = patients.first()?;
    let base = first.base.as_ref().filter(|_| kind == Kind::Remount);
    let mut aborted = last.connections.iter().filter(|connection| refit::hangs_on(patients, base, last, connection));
    aborted.find_map(|connection| Some(cuts_off(&first.seen.path, last.answering.get(&connection.device)?)))
}

fn cuts_off(hung: &Path, other: &Path) -> String {
    format!(
        "{} shares a FUSE connection with {}, which answers: an abort would end both",
        hung.display(),
        other.display()
    )
}

fn worn(world: &World, heal: &Heal, cost: u32) -> (Ms, usize) {
    let brake = world.state.targets.get(&heal.target);
    let limits = world.policy.watches.get(&heal.target.watch).map(|watch| watch.brakes);
    let (Some(brake), Some(limits)) = (brake, limits) else { return (Ms::ZERO, 0) };
    let open = match circuit(world.now, brake, &heal.rung, &heal.reason, limits, cost) {
        Circuit::Closed => Ms::ZERO,
        Circuit::Open(until) => until,
    };
    (open, tried(world.now, brake, &heal.rung))
}

/// What is wrong, and what that rests on. Which call failed, and for how long, changes from look to look; this is part of
/// the plan's hash, and does not.
fn said(patient: &Patient<'_>, last: &Last, spec: &Spec) -> String {
    let standing = patient.base.as_ref().map(|base| (base, last.stands(spec, base)));
    let what = match patient.code {
        Code::Stale => "it answers for nobody",
        Code::Hung => "it does not answer",
        Code::Missing => "nothing is mounted there",
        Code::BaseDown => "it answers",
        Code::WrongSource => "it outlived the mount that it came from",
        _ => "it takes no writes",
    };
    match standing {
        Some((_, Standing::Dead(why))) => format!("{what}; its base is lost: {why}"),
        Some((base, Standing::Well)) => format!("{what}; {} answers", base.point.display()),
        _ => what.to_owned(),
    }
}

/// What there is no remedy for: it is told of.
pub(super) fn none(target: &str) -> Draft {
    Draft::none(match target {
        super::MANIFEST => "only its owner can say what the manifest should name".to_owned(),
        _ => "what may be deleted is its owner's to say".to_owned(),
    })
}
