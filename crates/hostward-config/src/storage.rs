//! `[storage.NAME]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hostward_core::ask::{ManifestQ, PathQ, Write};
use hostward_core::id::{Str, UnitName, WatchId};
use hostward_core::policy::{Brakes, Watch};
use hostward_core::time::Ms;
use hostward_core::watch;
use hostward_core::watch::storage::{Disk, Expected, HotPath, Lies, Manifest, PATHS_MAX, Spec};

use crate::common;
use crate::draft::{Claim, Draft};
use crate::finding::{Finding, Place, Said, shown};
use crate::reader::Reader;
use crate::remedy;
use crate::scalar::{self, Scalar, choice};

/// watches.md, "storage", Caps.
pub(crate) const BRAKES: Brakes =
    Brakes { cooldown: Ms::mins(15), plateau: Ms::hours(6), per_hour: 2, per_day: 6, soak: Ms::secs(60) };
/// Each is measured at each look, and a host has a handful.
const DISKS_MAX: usize = 64;

#[expect(clippy::unnecessary_wraps, reason = "as every kind is read; what is wrong with one has been said")]
pub(crate) fn read(mut table: Reader<'_>, id: &WatchId, draft: &mut Draft) -> Option<Watch> {
    let common = common::read(&mut table, id, draft, BRAKES);
    let interval = table.or("interval", &scalar::PERIOD, Ms::secs(60));
    let deadline = table.or("deadline", &scalar::PERIOD, Ms::secs(10));
    let (confirm_runs, confirm_age) = confirm(&mut table);
    let roots = table.list("roots", &scalar::PATH);
    let mut bases: Vec<Said<UnitName>> = Vec::new();
    let paths = table.tables("paths", PATHS_MAX).into_iter();
    let declared: Vec<Said<HotPath>> = paths.filter_map(|path| hot_path(path, id, draft, &mut bases)).collect();
    let mut disks: Vec<Said<Disk>> = table.tables("disks", DISKS_MAX).into_iter().filter_map(disk).collect();
    let asks_nothing = !["paths", "disks", "manifest"].iter().any(|key| table.has(key));
    let manifest = table.table("manifest");
    let manifest_at = manifest.as_ref().map(|table| table.at().clone());
    let manifest = manifest.and_then(|table| manifest_of(table, roots.as_deref(), &mut bases));
    let remedy = remedy::read(&mut table);
    if asks_nothing {
        let finding = Finding::error(format!("[{}] watches nothing", table.path()));
        table.push(
            table.at(),
            finding.help(format!("add [[{0}.paths]], [{0}.manifest] or [[{0}.disks]]", table.path())),
        );
    }
    if let Some(roots) = &roots {
        outside(&table, &declared, roots);
    }
    nested(&table, &declared);
    twice(&table, &mut disks);
    let (paths, places): (Vec<HotPath>, Vec<Place>) = declared.into_iter().map(|said| (said.value, said.at)).unzip();
    let disks = values(disks);
    let spec = Spec { paths, manifest, disks, interval, deadline, confirm_runs, confirm_age, remedy };
    let mut named = BTreeSet::new();
    for base in bases.iter().filter(|base| named.insert(&base.value)) {
        draft.claim(id, Claim::Base(base.value.clone()), &base.at);
    }
    for base in bases.iter().filter(|base| spec.mounts_at(&base.value).is_none()) {
        let finding = Finding::error(format!("where does {} mount?", base.value));
        table.push(&base.at, finding.help("add a path with this `base` and without `bind`: the mount that it makes"));
    }
    for (path, at) in spec.paths.iter().zip(&places) {
        rests(&table, &spec, path, at);
    }
    if let Some((manifest, at)) = spec.manifest.as_ref().zip(manifest_at) {
        // Where its cold folders lie stands in the file.
        let may_lie_on_one = spec.paths.iter().any(|path| path.asked.bind.is_none());
        if !may_lie_on_one && bare(&manifest.expected) {
            table.push(&at, unguarded("what its paths are bound to"));
        }
    }
    table.finish();
    Some(common.watch(watch::Spec::Storage(spec)))
}

/// Whether what a path is bound to, or lies on, can be told from the disk beneath, and be made anew by its unit.
fn rests(table: &Reader<'_>, spec: &Spec, path: &HotPath, at: &Place) {
    let Some(cold) = &path.asked.bind else {
        let base = path.expected.base.as_ref();
        let elsewhere =
            base.and_then(|base| Some((base, spec.mounts_at(base)?))).filter(|(_, at)| at != path.point());
        if let Some((base, mounts_at)) = elsewhere.filter(|_| spec.remedy.rebind.is_empty()) {
            let [point, mounts_at] = [path.point(), &mounts_at].map(|path| shown(&path.to_string_lossy()));
            let finding = Finding::error(format!("{base} mounts at {mounts_at}, and this path lies on {point}"));
            let help = format!("name the unit that mounts {point}, or the `rebind` commands that do");
            table.push(at, finding.help(help));
        }
        return;
    };
    let below = |other: &HotPath| other.asked.bind.is_none() && cold.starts_with(other.point());
    if bare(&path.expected) && !spec.paths.iter().any(below) {
        table.push(at, unguarded(&shown(&cold.to_string_lossy())));
    }
}

/// Nothing says what must be mounted there.
fn bare(expected: &Expected) -> bool {
    expected.base.is_none() && expected.source.is_none() && expected.fstype.is_none()
}

fn unguarded(what: &str) -> Finding {
    let finding = Finding::warning(format!("nothing says which mount {what} lies on"));
    finding.help(
        "add `base`, `source` or `fstype`, or declare that mount as a path: while it is lost, \
         a folder of the disk beneath may be bound",
    )
}

fn confirm(table: &mut Reader<'_>) -> (u32, Ms) {
    let (runs, age) = (2, Ms::secs(120));
    let Some(mut confirm) = table.table("confirm") else { return (runs, age) };
    let said = (confirm.integer("runs", 1..=100).unwrap_or(runs), confirm.or("age", &scalar::SPAN, age));
    confirm.finish();
    said
}

/// `[[storage.NAME.paths]]`
fn hot_path(
    mut table: Reader<'_>,
    id: &WatchId,
    draft: &mut Draft,
    bases: &mut Vec<Said<UnitName>>,
) -> Option<Said<HotPath>> {
    let path = table.need("path", &scalar::PATH);
    if let Some(path) = &path {
        draft.claim(id, Claim::Path(path.value.clone()), &path.at);
    }
    let below = table.get("below", &scalar::PATH);
    let bind = table.get("bind", &scalar::PATH);
    if let (Some(_), Some(bind)) = (&below, &bind) {
        let finding = Finding::error("what is bound to a path makes it a mount point");
        table.push(&bind.at, finding.help("keep `bind` or `below`"));
    }
    if let (Some(path), Some(below)) = (&path, &below)
        && (path.value == below.value || !path.value.starts_with(&below.value))
    {
        let (path, point) = (shown(&path.value.to_string_lossy()), shown(&below.value.to_string_lossy()));
        let help = "`below` names the mount point that the path lies on; leave it out for a mount point itself";
        table.push(&below.at, Finding::error(format!("{path} does not lie below {point}")).help(help));
    }
    let expected = expected(&mut table, bases);
    let (user, write) = writing(&mut table);
    table.finish();
    let path = path?;
    let asked = PathQ { path: path.value, bind: bind.map(|said| said.value), user, write };
    let lies = below.map_or(Lies::Mounted, |said| Lies::Below(said.value));
    Some(Said { value: HotPath { asked, expected: Expected { lies, ..expected } }, at: path.at })
}

/// What must be mounted there, and by which unit.
fn expected(table: &mut Reader<'_>, bases: &mut Vec<Said<UnitName>>) -> Expected {
    let base = table.get("base", &scalar::UNIT);
    bases.extend(base.clone());
    Expected {
        lies: Lies::Mounted,
        source: table.get("source", &scalar::TEXT).map(|said| said.value),
        fstype: table.get("fstype", &scalar::TEXT).map(|said| said.value),
        base: base.map(|said| said.value),
    }
}

const WRITE: Scalar<Write> = Scalar {
    expected: "a way of trying",
    example: "\"canary\"",
    parse: |text| {
        choice(
            "way of trying",
            text,
            &[("never", Write::Never), ("access", Write::Access), ("canary", Write::Canary)],
        )
    },
};

/// Who looks, and whether writing is tried.
pub(crate) fn writing(table: &mut Reader<'_>) -> (Option<Str>, Write) {
    let user = table.get("user", &scalar::USER).map(|said| said.value);
    (user, table.or("write", &WRITE, Write::Never))
}

/// `[storage.NAME.manifest]`
fn manifest_of(
    mut table: Reader<'_>,
    roots: Option<&[Said<PathBuf>]>,
    bases: &mut Vec<Said<UnitName>>,
) -> Option<Manifest> {
    let file = table.need("file", &scalar::PATH);
    let expected = expected(&mut table, bases);
    let (user, write) = writing(&mut table);
    if roots.is_none() {
        let finding = Finding::error("a manifest without `roots` could name any path of this host");
        table.push(
            table.at(),
            finding.help("add roots = [\"/srv/jobs\"] to the watch: hot paths lie below one of them"),
        );
    }
    table.finish();
    let roots = roots.unwrap_or_default().iter().map(|said| said.value.clone()).collect();
    Some(Manifest { asked: ManifestQ { file: file?.value, roots, user, write }, expected })
}

const PERCENT: std::ops::RangeInclusive<u32> = 1..=100;

/// `[[storage.NAME.disks]]`
fn disk(mut table: Reader<'_>) -> Option<Said<Disk>> {
    let path = table.need("path", &scalar::PATH);
    let used = table.integer("used", PERCENT).unwrap_or(90);
    let inodes = table.integer("inodes", PERCENT).unwrap_or(90);
    let full_within = table.or("full_within", &scalar::SPAN, Ms::hours(24));
    table.finish();
    let Said { value: path, at } = path?;
    Some(Said { value: Disk { path, used, inodes, full_within }, at })
}

fn outside(table: &Reader<'_>, declared: &[Said<HotPath>], roots: &[Said<PathBuf>]) {
    for Said { value: path, at } in declared {
        if !roots.iter().any(|root| path.asked.path.starts_with(&root.value)) {
            let message = format!("{} lies outside `roots`", shown(&path.asked.path.to_string_lossy()));
            table.push(
                at,
                Finding::error(message).help("a watch touches nothing outside its roots: add one, or mend the path"),
            );
        }
    }
}

/// A mount point within another would be lost with it, and is told of with it.
fn nested(table: &Reader<'_>, declared: &[Said<HotPath>]) {
    let mounted = declared.iter().filter(|said| said.value.expected.lies == Lies::Mounted);
    let points: BTreeMap<&Path, &Place> = mounted.map(|said| (&*said.value.asked.path, &said.at)).collect();
    for (point, at) in &points {
        let outer = point.ancestors().skip(1).find_map(|above| points.get_key_value(above));
        if let Some((outer, place)) = outer {
            let (inner, outer) = (shown(&point.to_string_lossy()), shown(&outer.to_string_lossy()));
            let finding = Finding::error(format!("{inner} is a mount point within {outer}"));
            table.push(
                at,
                finding.also(place, "declared here").help("watch it in a watch of its own, which needs this one"),
            );
        }
    }
}

fn twice(table: &Reader<'_>, disks: &mut Vec<Said<Disk>>) {
    let mut first: BTreeMap<PathBuf, Place> = BTreeMap::new();
    disks.retain(|disk| match first.get(&disk.value.path) {
        Some(place) => {
            let finding = Finding::error("this disk is declared twice").also(place, "first declared here");
            table.push(&disk.at, finding.help("keep one of them"));
            false
        }
        None => first.insert(disk.value.path.clone(), disk.at.clone()).is_none(),
    });
}

fn values<T>(said: Vec<Said<T>>) -> Vec<T> {
    said.into_iter().map(|said| said.value).collect()
}
