//! One unit's reading: a row of `ListUnitsByNames` for its states, one `GetAll` for the rest.

use std::collections::HashMap;
use std::time::Instant;

use hostward_core::ask::{Active, Answer, Fault, Load, Reading, UnitReading};
use hostward_core::id::UnitName;
use hostward_core::time::Ms;
use rustix::time::{ClockId, clock_gettime};
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use super::call::CallError;
use super::{Systemd, path};

/// Two answers about a unit in motion may differ; after so many tries the later one stands.
const TRIES: usize = 3;

/// One row of `ListUnitsByNames`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) load: String,
    pub(super) active: String,
    pub(super) sub: String,
    pub(super) path: OwnedObjectPath,
    /// None: no job is queued.
    pub(super) job: Option<String>,
}

impl Row {
    /// Nothing of it differs from what was read whole.
    pub(super) fn shows(&self, reading: &UnitReading) -> bool {
        load(&self.load).as_ref() == Ok(&reading.load)
            && active(&self.active).as_ref() == Ok(&reading.active)
            && *self.sub == *reading.sub
            && self.job.as_deref() == reading.job.as_deref()
    }
}

type RawRow = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

impl Systemd {
    /// What a unit is now. A unit that does not exist is a reading too.
    pub async fn unit(&self, name: &UnitName) -> Answer {
        let reading = self.read_unit(name).await?;
        Ok(Reading::Unit(Box::new(reading)))
    }

    /// What a service last said of itself: sd_notify(3), STATUS=. Empty: nothing, or there is no such unit.
    pub async fn status_text(&self, name: &UnitName) -> Result<String, Fault> {
        Ok(self.of_service(name, "StatusText").await?.unwrap_or_default())
    }

    /// One of the numbers that systemd accounts for: `CPUUsageNSec`. None: there is no such unit, or it accounts for none.
    pub async fn accounted(&self, name: &UnitName, property: &str) -> Result<Option<u64>, Fault> {
        Ok(self.of_service(name, property).await?.filter(|number| *number != u64::MAX))
    }

    /// None: there is no such service.
    async fn of_service<R>(&self, name: &UnitName, property: &str) -> Result<Option<R>, Fault>
    where
        R: TryFrom<OwnedVariant, Error = zbus::Error>,
    {
        let Some(row) = self.row(name).await? else { return Ok(None) };
        match self.property(row.path.as_str(), "org.freedesktop.systemd1.Service", property).await {
            Err(e) if e.is_absent() => Ok(None),
            value => Ok(Some(value?)),
        }
    }

    /// The units that are loaded and whose names match, as a shell's pattern does; by name.
    pub async fn units_like(&self, pattern: &str) -> Result<Vec<(UnitName, Active)>, Fault> {
        let states: Vec<&str> = Vec::new();
        let rows: Vec<RawRow> = self.manager("ListUnitsByPatterns", &(states, vec![pattern])).await?;
        let loaded = rows.into_iter().filter(|(_, _, load, ..)| load != "not-found");
        let named = loaded.map(|(name, _, _, state, ..)| Ok((UnitName::new(name), active(&state)?)));
        let mut units = named.collect::<Result<Vec<_>, Fault>>()?;
        // systemd lists them as its hash table has them.
        units.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(units)
    }

    /// None: systemd holds the name for impossible, or knows nothing of it.
    pub(super) async fn listed(&self, name: &UnitName) -> Result<Option<Row>, CallError> {
        Ok(self.rows(&[name.as_str()]).await?.pop())
    }

    pub(super) async fn rows(&self, names: &[&str]) -> Result<Vec<Row>, CallError> {
        let rows: Vec<RawRow> = self.manager("ListUnitsByNames", &(names,)).await?;
        let row = |(_, _, load, active, sub, _, path, job, kind, _): RawRow| Row {
            load,
            active,
            sub,
            path,
            job: (job != 0).then_some(kind),
        };
        Ok(rows.into_iter().map(row).collect())
    }

    async fn read_unit(&self, name: &UnitName) -> Result<UnitReading, Fault> {
        let mut reading = not_found();
        for _ in 0..TRIES {
            let row = match self.row(name).await {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(not_found()),
                Err(e) if e.is_absent() => return Ok(not_found()),
                Err(e) => return Err(e.into()),
            };
            if row.load == "not-found" && row.active == "inactive" {
                return Ok(UnitReading { sub: row.sub.into(), ..not_found() });
            }
            // By its own name, which signals have: it may have been asked for by an alias.
            let own = path::unit_of(row.path.as_str()).unwrap_or_else(|| name.clone());
            if let Some(known) = self.inner.readings.recall(&own, &row, Instant::now()) {
                return Ok(known);
            }
            let look = self.inner.readings.begin(&own);
            // An empty interface means all of them: the unit's and the service's from one moment.
            let reply = match self.call(row.path.as_str(), "org.freedesktop.DBus.Properties", "GetAll", &("",)).await
            {
                Ok(reply) => reply,
                // Unloaded since: the row is all there is to know, and the next turn lists it afresh.
                Err(e) if e.is_absent() => {
                    reading = fold(&row, &Properties(HashMap::new()))?;
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let body = reply.body();
            let properties = Properties(body.deserialize().map_err(CallError::from)?);
            reading = fold(&row, &properties)?;
            if properties.text("ActiveState") == row.active && properties.text("SubState") == row.sub {
                self.inner.readings.keep(&own, look, &reading, Instant::now());
                break;
            }
        }
        Ok(reading)
    }
}

/// The properties of one object, of the types that we ask for. What is missing or of another type reads as nothing:
/// kinds of units differ, and so do versions of systemd.
pub(super) struct Properties<'m>(pub(super) HashMap<&'m str, Variant<'m>>);

impl Properties<'_> {
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(|value| <&str>::try_from(value).ok()).unwrap_or_default()
    }
    pub(super) fn truth(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(|value| bool::try_from(value).ok())
    }
    pub(super) fn word(&self, name: &str) -> u32 {
        self.0.get(name).and_then(|value| u32::try_from(value).ok()).unwrap_or_default()
    }
    pub(super) fn int(&self, name: &str) -> i32 {
        self.0.get(name).and_then(|value| i32::try_from(value).ok()).unwrap_or_default()
    }
    pub(super) fn micros(&self, name: &str) -> u64 {
        self.0.get(name).and_then(|value| u64::try_from(value).ok()).unwrap_or_default()
    }
    /// An array, of anything, that holds something.
    fn some(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Variant::Array(array)) if !array.is_empty())
    }
    /// An array of unit names.
    pub(super) fn units(&self, name: &str) -> impl Iterator<Item = UnitName> {
        let array = match self.0.get(name) {
            Some(Variant::Array(array)) => Some(array),
            _ => None,
        };
        let names = array.into_iter().flat_map(|array| array.iter());
        names.filter_map(|value| <&str>::try_from(value).ok()).map(UnitName::new)
    }
    fn hex(&self, name: &str) -> String {
        let Some(Variant::Array(array)) = self.0.get(name) else { return String::new() };
        let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or_default();
        let bytes = array.iter().filter_map(|value| u8::try_from(value).ok());
        bytes.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
    /// A span; systemd's infinity is ours.
    pub(super) fn span(&self, name: &str) -> Ms {
        match self.micros(name) {
            u64::MAX => Ms::MAX,
            micros => Ms(micros / 1000),
        }
    }
    /// `Job` is a job's number and path; zero: none.
    pub(super) fn has_job(&self) -> bool {
        let Some(Variant::Structure(job)) = self.0.get("Job") else { return false };
        job.fields().first().and_then(|id| u32::try_from(id).ok()).is_some_and(|id| id != 0)
    }
    /// A moment of CLOCK_MONOTONIC, as boot time. `ahead` is by how much the latter is ahead: time spent suspended.
    fn moment(&self, name: &str, ahead: Ms) -> Ms {
        match self.micros(name) {
            0 => Ms::ZERO,
            micros => Ms(micros / 1000) + ahead,
        }
    }

    /// `exited 1`, `killed 9`, `dumped 6`: ExecMainCode is a CLD_ constant (waitid(2)), ExecMainStatus its status or
    /// signal. Empty while it never ended.
    pub(super) fn main_end(&self) -> String {
        let how = match self.int("ExecMainCode") {
            1 => "exited",
            2 => "killed",
            3 => "dumped",
            _ => return String::new(),
        };
        format!("{how} {}", self.int("ExecMainStatus"))
    }
}

pub(super) fn fold(row: &Row, properties: &Properties<'_>) -> Result<UnitReading, Fault> {
    let ahead = suspended();
    let file_state = properties.text("UnitFileState");
    let wanted = ["WantedBy", "RequiredBy", "BoundBy"].iter().any(|name| properties.some(name));
    let restarts = !matches!(properties.text("Restart"), "" | "no");
    let pid = properties.word("MainPID");
    Ok(UnitReading {
        load: load(&row.load)?,
        active: active(&row.active)?,
        sub: row.sub.as_str().into(),
        result: properties.text("Result").into(),
        restarts: properties.word("NRestarts"),
        invocation: properties.hex("InvocationID").into(),
        job: row.job.as_deref().map(Into::into),
        wanted: wanted || matches!(file_state, "enabled" | "enabled-runtime"),
        disabled: file_state == "disabled",
        // One that was never looked at reads as "no", too.
        condition: properties.micros("ConditionTimestampMonotonic") == 0
            || properties.truth("ConditionResult").unwrap_or_default(),
        needs_reload: properties.truth("NeedDaemonReload").unwrap_or_default(),
        restart_every: restarts.then(|| properties.span("RestartUSec")),
        main_pid: (pid != 0).then_some(pid),
        main_started: properties.moment("ExecMainStartTimestampMonotonic", ahead),
        main_exited: properties.moment("ExecMainExitTimestampMonotonic", ahead),
        main_end: properties.main_end().into(),
        active_since: properties.moment("ActiveEnterTimestampMonotonic", ahead),
        starting_since: properties.moment("InactiveExitTimestampMonotonic", ahead),
        stop_timeout: properties.span("TimeoutStopUSec"),
        needs: ["Requires", "Requisite", "BindsTo"].iter().flat_map(|name| properties.units(name)).collect(),
        busy: None,
    })
}

fn load(state: &str) -> Result<Load, Fault> {
    match state {
        "loaded" | "stub" | "merged" => Ok(Load::Loaded),
        "not-found" => Ok(Load::NotFound),
        "masked" => Ok(Load::Masked),
        "bad-setting" | "error" => Ok(Load::Bad),
        other => Err(Fault::Unreadable(format!("LoadState '{other}'").into())),
    }
}

fn active(state: &str) -> Result<Active, Fault> {
    match state {
        "active" => Ok(Active::Active),
        // `refreshing` is of systemd 257: it runs, and something about it is renewed.
        "reloading" | "refreshing" => Ok(Active::Reloading),
        // `maintenance`: it has ended and its directories are being cleaned.
        "inactive" | "maintenance" => Ok(Active::Inactive),
        "failed" => Ok(Active::Failed),
        "activating" => Ok(Active::Activating),
        "deactivating" => Ok(Active::Deactivating),
        other => Err(Fault::Unreadable(format!("ActiveState '{other}'").into())),
    }
}

fn not_found() -> UnitReading {
    UnitReading {
        load: Load::NotFound,
        active: Active::Inactive,
        sub: "dead".into(),
        result: "".into(),
        restarts: 0,
        invocation: "".into(),
        job: None,
        wanted: false,
        disabled: false,
        condition: false,
        needs_reload: false,
        restart_every: None,
        main_pid: None,
        main_started: Ms::ZERO,
        main_exited: Ms::ZERO,
        main_end: "".into(),
        active_since: Ms::ZERO,
        starting_since: Ms::ZERO,
        stop_timeout: Ms::ZERO,
        needs: Vec::new(),
        busy: None,
    }
}

/// By how much CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC now.
fn suspended() -> Ms {
    let millis = |clock| {
        let time = clock_gettime(clock);
        u64::try_from(time.tv_sec).unwrap_or_default() * 1000
            + u64::try_from(time.tv_nsec).unwrap_or_default() / 1_000_000
    };
    // Monotonic first: the instant between the two reads may only add.
    let monotonic = millis(ClockId::Monotonic);
    Ms(millis(ClockId::Boottime).saturating_sub(monotonic))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn reading(active: &str, job: Option<&str>) -> UnitReading {
        fold(&row(active, job), &Properties(HashMap::new())).unwrap()
    }

    pub(in super::super) fn row(active: &str, job: Option<&str>) -> Row {
        Row {
            load: "loaded".into(),
            active: active.into(),
            sub: "running".into(),
            path: OwnedObjectPath::try_from("/org/freedesktop/systemd1/unit/a_2eservice").unwrap(),
            job: job.map(Into::into),
        }
    }

    #[test]
    fn properties_become_a_reading() {
        let all = HashMap::from([
            ("UnitFileState", Variant::from("static")),
            ("BoundBy", Variant::from(vec!["b.service"])),
            ("Requires", Variant::from(vec!["system.slice", "db.service"])),
            ("BindsTo", Variant::from(vec!["srv-data.mount"])),
            ("WantedBy", Variant::from(Vec::<&str>::new())),
            ("InvocationID", Variant::from(vec![0u8, 0xab, 0x10])),
            ("Restart", Variant::from("always")),
            ("RestartUSec", Variant::from(1_500_000u64)),
            ("TimeoutStopUSec", Variant::from(u64::MAX)),
            ("ExecMainCode", Variant::from(2i32)),
            ("ExecMainStatus", Variant::from(9i32)),
            ("MainPID", Variant::from(7u32)),
            ("ConditionResult", Variant::from(true)),
            ("ConditionTimestampMonotonic", Variant::from(5_000u64)),
            ("ActiveEnterTimestampMonotonic", Variant::from(5_000u64)),
        ]);
        let reading = fold(&row("activating", Some("start")), &Properties(all)).unwrap();
        assert_eq!((reading.active, reading.job.as_deref()), (Active::Activating, Some("start")));
        assert!(reading.wanted && !reading.disabled && reading.condition && !reading.needs_reload);
        assert_eq!((&*reading.invocation, &*reading.main_end, reading.main_pid), ("00ab10", "killed 9", Some(7)));
        assert_eq!((reading.restart_every, reading.stop_timeout), (Some(Ms(1500)), Ms::MAX));
        assert_eq!(reading.main_started, Ms::ZERO, "never started is no moment, however long the host slept");
        assert!(reading.active_since >= Ms(5));
        let needs: Vec<&str> = reading.needs.iter().map(UnitName::as_str).collect();
        assert_eq!(needs, ["system.slice", "db.service", "srv-data.mount"]);
    }

    #[test]
    fn a_unit_without_a_restart_rule_and_an_unknown_state() {
        let all = HashMap::from([("Restart", Variant::from("no")), ("RestartUSec", Variant::from(100_000u64))]);
        let reading = fold(&row("active", None), &Properties(all)).unwrap();
        assert_eq!((reading.restart_every, reading.wanted, &*reading.main_end), (None, false, ""));
        let unmet = HashMap::from([
            ("ConditionResult", Variant::from(false)),
            ("ConditionTimestampMonotonic", Variant::from(5_000u64)),
        ]);
        assert!(!fold(&row("inactive", None), &Properties(unmet)).unwrap().condition);
        let never = HashMap::from([("ConditionResult", Variant::from(false))]);
        assert!(fold(&row("inactive", None), &Properties(never)).unwrap().condition, "nobody has tried to start it");
        let odd = fold(&row("levitating", None), &Properties(HashMap::new()));
        assert_eq!(odd, Err(Fault::Unreadable("ActiveState 'levitating'".into())));
    }
}
