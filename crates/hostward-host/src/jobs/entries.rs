//! One job as its provider lists it, and what is refused of that.
//!
//! What somebody wrote about a job ends up in paths, unit names, arguments and labels: an entry of which any such part
//! cannot be trusted is refused by itself, for a job without its lock would look like one that nobody runs. Only what
//! nothing rests on is dropped alone: the group, and numbers for metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use hostward_core::ask::{JobState, JobsQ};
use hostward_core::id::{Str, UnitName};
use hostward_core::time::Ms;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::mask;

/// Refused entries that are named; the others are counted.
const REFUSED_MAX: usize = 20;
const REFUSED_CHARS: usize = 200;
/// Clocks of two hosts may differ by so much.
const AHEAD_MAX: Ms = Ms::mins(5);
const NUMBERS_MAX: usize = 32;
const NUMBER_NAME_MAX: usize = 64;
/// PATH_MAX of limits.h.
const PATH_BYTES: usize = 4096;
/// UNIT_NAME_MAX of systemd.
const UNIT_NAME_MAX: usize = 255;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: Str,
    pub(crate) group: Option<Str>,
    /// None: whether its lock is held tells.
    pub(crate) state: Option<JobState>,
    /// Wall clock.
    pub(crate) started: Option<Ms>,
    pub(crate) output: Option<PathBuf>,
    pub(crate) unit: Option<UnitName>,
    pub(crate) pid: Option<u32>,
    pub(crate) lock: Option<PathBuf>,
    pub(crate) progress: Option<u64>,
    pub(crate) numbers: BTreeMap<Str, serde_json::Number>,
}

/// All of them, without those that are done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) entries: Vec<Entry>,
    pub(crate) refused: Vec<Str>,
    pub(crate) refused_total: u32,
    /// Whose the refused ones are, where that can be told.
    pub(crate) doubtful: Vec<(Str, Str)>,
}

/// A list in the making.
pub(crate) struct Book<'a> {
    words: &'a BTreeMap<Str, JobState>,
    now: Ms,
    seen: BTreeSet<Str>,
    read: usize,
    listed: Listed,
}

impl<'a> Book<'a> {
    pub(crate) fn new(words: &'a BTreeMap<Str, JobState>, now: Ms) -> Book<'a> {
        Book { words, now, seen: BTreeSet::new(), read: 0, listed: Listed::default() }
    }

    /// An entry of a provider's JSON.
    pub(crate) fn enter_json(&mut self, text: &str) {
        let entered = match self.read(text) {
            Ok(entry) => self.enter(entry),
            Err((Some(id), why)) => return self.doubt(&id, &why),
            Err((None, why)) => Err(why),
        };
        if let Err(why) = entered {
            self.refuse(&why);
        }
    }

    /// An entry that was read; the reason if it is refused.
    pub(crate) fn enter(&mut self, entry: Entry) -> Result<(), String> {
        let id = &entry.id;
        is_id(id).map_err(|why| format!("job '{}': {why}", shown(id)))?;
        if !self.seen.insert(id.clone()) {
            return Err(format!("job '{id}': it is listed twice"));
        }
        if entry.state == Some(JobState::Done) {
            return Ok(());
        }
        if self.listed.entries.len() >= JobsQ::JOBS_MAX {
            return Err(format!("job '{id}': more than {} jobs are not watched", JobsQ::JOBS_MAX));
        }
        self.listed.entries.push(entry);
        Ok(())
    }

    pub(crate) fn refuse(&mut self, why: &str) {
        self.listed.refused_total = self.listed.refused_total.saturating_add(1);
        if self.listed.refused.len() < REFUSED_MAX {
            self.listed.refused.push(mask::text(why, REFUSED_CHARS));
        }
    }

    /// Nothing of it can be believed, but that it is listed.
    pub(crate) fn doubt(&mut self, id: &str, why: &str) {
        self.refuse(why);
        if is_id(id).is_ok() && self.listed.doubtful.len() < JobsQ::JOBS_MAX {
            self.listed.doubtful.push((id.into(), mask::text(why, REFUSED_CHARS)));
        }
    }

    pub(crate) fn close(self) -> Listed {
        self.listed
    }

    /// Or whose it is, as far as it says so, and why it is none.
    fn read(&mut self, text: &str) -> Result<Entry, (Option<Str>, String)> {
        self.read += 1;
        let nameless = |why: String| (None, format!("entry {}: {why}", self.read));
        let raw: Raw<'_> = serde_json::from_str(text).map_err(|e| nameless(e.to_string()))?;
        let id = raw.id.ok_or_else(|| nameless("it has no id".to_owned()))?;
        let id: Str = string(id).map_err(|why| nameless(format!("id {why}")))?.into();
        let name = shown(&id);
        let of = |field: &str, why: String| format!("job '{name}': {field} {why}");
        match self.entry(&raw, of) {
            Ok(entry) => Ok(Entry { id, ..entry }),
            Err(why) => Err((Some(id), why)),
        }
    }

    /// All but its id.
    fn entry(&mut self, raw: &Raw<'_>, of: impl Fn(&str, String) -> String) -> Result<Entry, String> {
        let state = raw.state.ok_or_else(|| of("state", "is missing".to_owned()))?;
        let mut entry = Entry {
            state: Some(self.state(state).map_err(|why| of("state", why))?),
            started: read(raw.started_at, |raw| started(raw, self.now)).map_err(|why| of("started_at", why))?,
            output: read(raw.output, path).map_err(|why| of("output", why))?,
            unit: read(raw.unit, unit).map_err(|why| of("unit", why))?,
            pid: read(raw.pid, pid).map_err(|why| of("pid", why))?,
            lock: read(raw.lock, path).map_err(|why| of("lock", why))?,
            progress: read(raw.progress, progress).map_err(|why| of("progress", why))?,
            ..Entry::default()
        };
        match read(raw.group, group) {
            Ok(group) => entry.group = group,
            Err(why) => self.refuse(&format!("{}, ignoring it alone", of("group", why))),
        }
        for why in read_numbers(raw.numbers, &mut entry.numbers) {
            self.refuse(&format!("{}, ignoring it alone", of("numbers", why)));
        }
        Ok(entry)
    }

    fn state(&self, raw: &RawValue) -> Result<JobState, String> {
        let word = string(raw)?;
        let ours = JobState::ALL.into_iter().find(|state| state.label() == word);
        let state = self.words.get(&*word).copied().or(ours);
        state
            .ok_or_else(|| format!("'{}' is none of {}", shown(&word), JobState::ALL.map(JobState::label).join(", ")))
    }
}

/// Values are read one by one, so that a bad one is told by its name.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    group: Option<&'a RawValue>,
    #[serde(borrow)]
    state: Option<&'a RawValue>,
    #[serde(borrow)]
    started_at: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    unit: Option<&'a RawValue>,
    #[serde(borrow)]
    pid: Option<&'a RawValue>,
    #[serde(borrow)]
    lock: Option<&'a RawValue>,
    #[serde(borrow)]
    progress: Option<&'a RawValue>,
    #[serde(borrow)]
    numbers: Option<&'a RawValue>,
}

fn read<T>(raw: Option<&RawValue>, parse: impl FnOnce(&RawValue) -> Result<T, String>) -> Result<Option<T>, String> {
    raw.map(parse).transpose()
}

fn string(raw: &RawValue) -> Result<String, String> {
    serde_json::from_str(raw.get()).map_err(|_| "is no text".to_owned())
}

/// What stands in for `{id}` and `{group}`.
pub(crate) fn is_id(id: &str) -> Result<(), String> {
    let odd = |c: char| c.is_control() || c.is_whitespace() || "/{}".contains(c);
    if id.is_empty() {
        return Err("it is empty".to_owned());
    }
    if id.chars().count() > JobsQ::ID_MAX {
        return Err(format!("it is longer than {} characters", JobsQ::ID_MAX));
    }
    if id.starts_with('-') {
        return Err("it begins with '-', as an option does".to_owned());
    }
    if matches!(id, "." | "..") {
        return Err("it is the name of a folder above".to_owned());
    }
    match id.chars().find(|c| odd(*c)) {
        Some(c) => Err(format!("it has the character {c:?}")),
        None => Ok(()),
    }
}

fn group(raw: &RawValue) -> Result<Str, String> {
    let group = string(raw)?;
    is_id(&group)?;
    Ok(group.into())
}

fn started(raw: &RawValue, now: Ms) -> Result<Ms, String> {
    let at = if let Ok(text) = string(raw) {
        let stamp: Option<jiff::Timestamp> = text.parse().ok().filter(|_| is_rfc_3339(&text));
        let stamp = stamp.ok_or_else(|| format!("'{}' is no time as RFC 3339 writes it", shown(&text)))?;
        u64::try_from(stamp.as_millisecond()).map_err(|_| "is before 1970".to_owned())?
    } else {
        let seconds: f64 = serde_json::from_str(raw.get()).map_err(|_| "is no time".to_owned())?;
        whole(seconds * 1000.0).ok_or_else(|| format!("{seconds} are no seconds since 1970"))?
    };
    if at > (now + AHEAD_MAX).0 {
        return Err("is in the future".to_owned());
    }
    Ok(Ms(at))
}

/// jiff reads more than that: ISO 8601 without seconds or marks, and names of zones.
fn is_rfc_3339(text: &str) -> bool {
    let marks = [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")];
    let marked = marks.iter().all(|(at, of)| text.as_bytes().get(*at).is_some_and(|b| of.contains(char::from(*b))));
    let zone = text.get(19..).unwrap_or_default().trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = || zone.len() == 6 && zone.starts_with(['+', '-']) && zone.as_bytes()[3] == b':';
    marked && (zone.eq_ignore_ascii_case("z") || offset())
}

fn path(raw: &RawValue) -> Result<PathBuf, String> {
    let text = string(raw)?;
    let path = Path::new(&text);
    if !path.is_absolute() {
        return Err(format!("'{}' is no absolute path", shown(&text)));
    }
    if text.len() > PATH_BYTES || text.chars().any(char::is_control) {
        return Err("is no path that anybody would choose".to_owned());
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("'{}' has '..' in it", shown(&text)));
    }
    Ok(path.components().collect())
}

fn unit(raw: &RawValue) -> Result<UnitName, String> {
    let text = string(raw)?;
    let fits = text.len() <= UNIT_NAME_MAX && text.rsplit_once('.').is_some_and(|(name, _)| !name.is_empty());
    if !fits || text.chars().any(|c| c == '/' || c.is_whitespace() || c.is_control()) {
        return Err(format!("'{}' is no unit's name", shown(&text)));
    }
    Ok(UnitName::new(text))
}

fn pid(raw: &RawValue) -> Result<u32, String> {
    let pid = serde_json::from_str(raw.get()).ok().filter(|pid| (1..=i32::MAX as u32).contains(pid));
    pid.ok_or_else(|| "is no process".to_owned())
}

fn progress(raw: &RawValue) -> Result<u64, String> {
    let number: serde_json::Number = serde_json::from_str(raw.get()).map_err(|_| "is no number".to_owned())?;
    count(&number).ok_or_else(|| format!("{number} is no count"))
}

/// A count is a number that is not negative; what is behind its point says nothing.
pub(crate) fn count(number: &serde_json::Number) -> Option<u64> {
    number.as_u64().or_else(|| whole(number.as_f64()?))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in the range that was looked at")]
fn whole(number: f64) -> Option<u64> {
    // 2^63: beyond it no counter comes, and below it nothing is lost but the fraction.
    (0.0..9_223_372_036_854_775_808.0).contains(&number).then_some(number as u64)
}

/// Why some are left out.
fn read_numbers(raw: Option<&RawValue>, numbers: &mut BTreeMap<Str, serde_json::Number>) -> Vec<String> {
    let Some(raw) = raw else { return Vec::new() };
    let Ok(all) = serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()) else {
        return vec!["is no object".to_owned()];
    };
    let mut left = Vec::new();
    for (name, raw) in all {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if name.is_empty() || name.len() > NUMBER_NAME_MAX || !name.chars().all(plain) {
            left.push(format!("'{}' is no name for one", shown(&name)));
            continue;
        }
        match serde_json::from_str(raw.get()) {
            Ok(_) if numbers.len() >= NUMBERS_MAX => {
                left.push(format!("'{name}' is one more than {NUMBERS_MAX}"));
                break;
            }
            Ok(number) => drop(numbers.insert(name.into(), number)),
            Err(_) => left.push(format!("'{name}' is no number")),
        }
    }
    left
}

fn shown(text: &str) -> Str {
    mask::clip(text, JobsQ::ID_MAX)
}
