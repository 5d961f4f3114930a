//! Spans of time and rates, as people write them.

use hostward_core::policy::Budget;
use hostward_core::time::Ms;

use crate::finding::shown;
use crate::scalar::{Complaint, split};

const UNITS_OF_TIME: [(&str, u64); 8] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("min", 60_000),
    ("m", 60_000),
    ("sec", 1000),
    ("s", 1000),
    ("ms", 1),
    ("msec", 1),
];
/// Longer than any pace that makes sense: what is beyond it is a slip of the hand.
const LONGEST: Ms = Ms::hours(24 * 366);
/// A watch that looks more often than this is itself a load.
const SHORTEST: Ms = Ms(100);

/// A span of time as the configuration writes it, for a command line; the error says what to write instead.
pub fn span(text: &str) -> Result<Ms, String> {
    duration(text).map_err(|complaint| format!("{}; {}", complaint.message, complaint.help))
}

/// `90s`, `5min`, `1h30m`, `1h 30min`, `100ms`: units from large to small, each once.
pub(crate) fn duration(text: &str) -> Result<Ms, Complaint> {
    let help = "write it as 90s, 5min, 1h30m, 100ms";
    let bad = || Complaint::new(format!("{} is not a span of time", shown(text)), help);
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad());
    }
    let (mut total, mut last) = (Ms::ZERO, u64::MAX);
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit());
        let (unit, after) = split(after.trim_start(), char::is_alphabetic);
        let number: u64 = number.parse().map_err(|_| bad())?;
        if unit.is_empty() {
            let unitless = format!("{} has no unit", shown(text));
            return Err(Complaint::new(unitless, format!("write {number}s, or {number}min, or {number}h")));
        }
        let Some((_, factor)) = UNITS_OF_TIME.iter().find(|(name, _)| *name == unit) else {
            return Err(Complaint::new(format!("{} is no unit of time", shown(unit)), "known are: d, h, min, s, ms"));
        };
        if *factor >= last {
            return Err(bad());
        }
        last = *factor;
        total = total + Ms(number.saturating_mul(*factor));
        rest = after.trim_start();
    }
    if total > LONGEST {
        return Err(Complaint::new(format!("{} is longer than a year", shown(text)), help));
    }
    Ok(total)
}

pub(crate) fn period(text: &str) -> Result<Ms, Complaint> {
    let span = duration(text)?;
    if span < SHORTEST {
        return Err(Complaint::new(format!("{} is too short", shown(text)), format!("at least {SHORTEST}")));
    }
    Ok(span)
}

/// `12 per 1h`
pub(crate) fn budget(text: &str) -> Result<Budget, Complaint> {
    let bad = || Complaint::new(format!("{} is not a rate", shown(text)), "write it as 12 per 1h");
    let (cost, per) = text.split_once(" per ").ok_or_else(bad)?;
    let cost: u32 = cost.trim().parse().map_err(|_| bad())?;
    let per = period(per)?;
    if cost == 0 {
        let help = "to forbid every act, write mode = \"observe\"";
        return Err(Complaint::new("a budget of nothing", help));
    }
    Ok(Budget { cost, per })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T>(result: Result<T, Complaint>) -> Result<T, String> {
        result.map_err(|complaint| format!("{}; {}", complaint.message, complaint.help))
    }

    #[test]
    fn spans_of_time() {
        let ms = |text| message(duration(text)).map(|ms| ms.0);
        let good: [(&str, u64); 11] = [
            ("90s", 90_000),
            ("5min", 300_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30min", 5_400_000),
            (" 2 h ", 7_200_000),
            ("100ms", 100),
            ("1s500ms", 1500),
            ("1d", 86_400_000),
            ("0s", 0),
            ("366d", 366 * 86_400_000),
        ];
        for (text, want) in good {
            assert_eq!(ms(text), Ok(want), "{text}");
        }
        let bad = [
            ("", "`` is not a span of time; write it as 90s, 5min, 1h30m, 100ms"),
            ("s", "`s` is not a span of time; write it as 90s, 5min, 1h30m, 100ms"),
            ("-5s", "`-5s` is not a span of time; write it as 90s, 5min, 1h30m, 100ms"),
            ("1.5h", "`1.5h` has no unit; write 1s, or 1min, or 1h"),
            ("90", "`90` has no unit; write 90s, or 90min, or 90h"),
            ("5 minutes", "`minutes` is no unit of time; known are: d, h, min, s, ms"),
            ("5µs", "`µs` is no unit of time; known are: d, h, min, s, ms"),
            ("30m1h", "`30m1h` is not a span of time; write it as 90s, 5min, 1h30m, 100ms"),
            ("1h1h", "`1h1h` is not a span of time; write it as 90s, 5min, 1h30m, 100ms"),
            ("367d", "`367d` is longer than a year; write it as 90s, 5min, 1h30m, 100ms"),
            (
                "18446744073709551615d",
                "`18446744073709551615d` is longer than a year; write it as 90s, 5min, 1h30m, 100ms",
            ),
            (
                "99999999999999999999s",
                "`99999999999999999999s` is not a span of time; write it as 90s, 5min, 1h30m, 100ms",
            ),
        ];
        for (text, want) in bad {
            assert_eq!(ms(text), Err(want.to_owned()), "{text}");
        }
        assert_eq!(message(period("99ms")), Err("`99ms` is too short; at least 100ms".to_owned()));
    }

    #[test]
    fn rates() {
        assert_eq!(message(budget("12 per 1h")), Ok(Budget { cost: 12, per: Ms::hours(1) }));
        assert_eq!(message(budget("3 per 30min")), Ok(Budget { cost: 3, per: Ms::mins(30) }));
        let bad = [
            ("12", "`12` is not a rate; write it as 12 per 1h"),
            ("12/h", "`12/h` is not a rate; write it as 12 per 1h"),
            ("-1 per 1h", "`-1 per 1h` is not a rate; write it as 12 per 1h"),
            ("many per 1h", "`many per 1h` is not a rate; write it as 12 per 1h"),
            ("3 per 0s", "`0s` is too short; at least 100ms"),
            ("0 per 1h", "a budget of nothing; to forbid every act, write mode = \"observe\""),
        ];
        for (text, want) in bad {
            assert_eq!(message(budget(text)), Err(want.to_owned()), "{text}");
        }
    }
}
