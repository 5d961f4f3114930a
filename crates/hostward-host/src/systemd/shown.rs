//! The last resort: what `systemctl show` says of a unit while there is no bus. It asks PID 1 over a socket that is
//! systemd's own. Facts alone: nothing is acted on without a bus, since what may forbid it is asked there, too.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use hostward_core::ask::{Answer, Fault, Reading, UnitReading};
use hostward_core::id::UnitName;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use zbus::{OwnedObjectPath, Variant};

use super::unit::{Properties, Row, fold};

/// Some twenty-five properties; the lists of names are the long ones.
const OUTPUT_MAX: u64 = 256 * 1024;

/// What `systemctl` writes as text, and D-Bus has as this.
#[derive(Clone, Copy, Debug)]
enum As {
    Text,
    Truth,
    Word,
    Int,
    Micros,
    /// `1min 30s`
    Span,
    Hex,
    Names,
}

const PROPERTIES: [(&str, As); 27] = [
    ("LoadState", As::Text),
    ("ActiveState", As::Text),
    ("SubState", As::Text),
    ("Job", As::Text),
    ("Result", As::Text),
    ("NRestarts", As::Word),
    ("InvocationID", As::Hex),
    ("UnitFileState", As::Text),
    ("WantedBy", As::Names),
    ("RequiredBy", As::Names),
    ("BoundBy", As::Names),
    ("ConditionResult", As::Truth),
    ("ConditionTimestampMonotonic", As::Micros),
    ("NeedDaemonReload", As::Truth),
    ("Restart", As::Text),
    ("RestartUSec", As::Span),
    ("TimeoutStopUSec", As::Span),
    ("MainPID", As::Word),
    ("ExecMainStartTimestampMonotonic", As::Micros),
    ("ExecMainExitTimestampMonotonic", As::Micros),
    ("ExecMainCode", As::Int),
    ("ExecMainStatus", As::Int),
    ("ActiveEnterTimestampMonotonic", As::Micros),
    ("InactiveExitTimestampMonotonic", As::Micros),
    ("Requires", As::Names),
    ("Requisite", As::Names),
    ("BindsTo", As::Names),
];

/// What a unit is now; the child is killed at the deadline.
pub async fn shown(unit: &UnitName, deadline: Duration) -> Answer {
    let text = tokio::time::timeout(deadline, show(unit)).await.map_err(|_| Fault::Timeout)??;
    Ok(Reading::Unit(Box::new(read(&text)?)))
}

async fn show(unit: &UnitName) -> Result<String, Fault> {
    let away = |what: &str, e: &dyn std::fmt::Display| Fault::BusAway(format!("{what} systemctl: {e}").into());
    let names: Vec<&str> = PROPERTIES.iter().map(|(name, _)| *name).collect();
    let mut command = Command::new("systemctl");
    command.args(["show", "--no-pager", &format!("--property={}", names.join(",")), "--", unit.as_str()]);
    command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|e| away("start", &e))?;
    let mut text = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(OUTPUT_MAX).read_to_string(&mut text).await.map_err(|e| away("read", &e))?;
    }
    let status = child.wait().await.map_err(|e| away("wait for", &e))?;
    if status.success() { Ok(text) } else { Err(away("no bus, and", &status)) }
}

fn read(text: &str) -> Result<UnitReading, Fault> {
    let said: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let state = |name| said.get(name).copied().unwrap_or_default().to_owned();
    // Its number alone is told, not whether it is a start or a stop.
    let job = said.get("Job").filter(|job| !job.is_empty()).map(|_| "queued".to_owned());
    let path = OwnedObjectPath::default();
    let row = Row { load: state("LoadState"), active: state("ActiveState"), sub: state("SubState"), path, job };
    let values = PROPERTIES.iter().filter_map(|(name, kind)| Some((*name, value(said.get(name)?, *kind)?)));
    fold(&row, &Properties(values.collect()))
}

/// None: `[not set]`, or nothing that we know.
fn value(text: &str, kind: As) -> Option<Variant<'_>> {
    Some(match kind {
        As::Text => text.into(),
        As::Truth => (text == "yes").into(),
        As::Word => text.parse::<u32>().ok()?.into(),
        As::Int => text.parse::<i32>().ok()?.into(),
        As::Micros => text.parse::<u64>().ok()?.into(),
        As::Span => micros(text)?.into(),
        As::Hex => {
            let digits = (0..text.len() / 2).map(|n| u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok());
            digits.collect::<Option<Vec<u8>>>()?.into()
        }
        As::Names => text.split_whitespace().collect::<Vec<_>>().into(),
    })
}

/// `1min 30s`, `1.500s`, `infinity`: as systemd writes a span.
fn micros(text: &str) -> Option<u64> {
    if text == "infinity" {
        return Some(u64::MAX);
    }
    text.split_whitespace().map(part).try_fold(0u64, |sum, part| sum.checked_add(part?))
}

fn part(text: &str) -> Option<u64> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let of: u64 = match unit {
        "us" => 1,
        "ms" => 1_000,
        "" | "s" => 1_000_000,
        "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 24 * 3_600_000_000,
        "w" => 7 * 24 * 3_600_000_000,
        // systemd's month and year: 30.44 and 365.25 days.
        "month" => 2_629_800_000_000,
        "y" => 31_557_600_000_000,
        _ => return None,
    };
    let fraction = match u32::try_from(fraction.len()).ok()? {
        0 => 0,
        digits => of.checked_mul(fraction.parse().ok()?)? / 10u64.checked_pow(digits)?,
    };
    of.checked_mul(whole.parse().ok()?)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostward_core::ask::{Active, Load};
    use hostward_core::time::Ms;

    #[test]
    fn what_it_writes_is_what_the_bus_says() {
        let text = "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nJob=812\nResult=exit-code\n\
                    NRestarts=3\nInvocationID=00ab10\nUnitFileState=disabled\nBoundBy=b.service\nWantedBy=\n\
                    ConditionResult=yes\nConditionTimestampMonotonic=5000\nNeedDaemonReload=no\nRestart=always\n\
                    RestartUSec=1.500s\nTimeoutStopUSec=infinity\nMainPID=0\nExecMainCode=2\nExecMainStatus=9\n\
                    ActiveEnterTimestampMonotonic=0\nRequires=system.slice db.service\nBindsTo=srv-data.mount\n";
        let reading = read(text).unwrap();
        assert_eq!(
            (reading.load, reading.active, reading.job.as_deref()),
            (Load::Loaded, Active::Activating, Some("queued"))
        );
        assert!(reading.wanted && reading.disabled && reading.condition && !reading.needs_reload);
        assert_eq!((&*reading.invocation, &*reading.main_end, reading.main_pid), ("00ab10", "killed 9", None));
        assert_eq!((reading.restarts, &*reading.result), (3, "exit-code"));
        assert_eq!((reading.restart_every, reading.stop_timeout), (Some(Ms(1500)), Ms::MAX));
        let needs: Vec<&str> = reading.needs.iter().map(UnitName::as_str).collect();
        assert_eq!(needs, ["system.slice", "db.service", "srv-data.mount"]);
    }

    #[test]
    fn what_is_cut_short_is_unreadable_and_never_a_state() {
        assert!(matches!(read(""), Err(Fault::Unreadable(_))));
        assert!(matches!(read("LoadState=loaded\nActive"), Err(Fault::Unreadable(_))));
    }

    #[test]
    fn spans() {
        let cases = [
            ("0", Some(0)),
            ("100ms", Some(100_000)),
            ("1min 30s", Some(90_000_000)),
            ("1.500s", Some(1_500_000)),
            ("1h 2min 3.004s", Some(3_723_004_000)),
            ("15us", Some(15)),
            ("infinity", Some(u64::MAX)),
            ("1 fortnight", None),
            ("s", None),
            ("99999999999999999y", None),
        ];
        for (text, want) in cases {
            assert_eq!(micros(text), want, "{text}");
        }
    }
}
