//! Assertions on a JSON body: what a pointer must name.

use serde::{Deserialize, Serialize};

use crate::ask::Picked;
use crate::id::Str;

/// What a JSON pointer must name. Without a wildcard a pointer names one value or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// `= VALUE`: names exactly this. With a wildcard: some value is named, and all are this.
    Eq(Picked),
    Ne(Picked),
    Lt(f64),
    Gt(f64),
    Exists(bool),
    /// At least one is named and all are this.
    All(Picked),
    /// At least one is this.
    Any(Picked),
    /// Text that has this in it.
    Has(Str),
    /// An array or object of this many, or text of this many characters.
    Len(u64),
}

/// Why the assertion at `pointer` does not hold; none when it does.
pub fn unmet(pointer: &str, test: &Test, picked: &[Picked]) -> Option<Str> {
    let holds = match test {
        Test::Eq(want) | Test::All(want) => !picked.is_empty() && picked.iter().all(|got| equal(got, want)),
        Test::Ne(want) => !picked.is_empty() && picked.iter().all(|got| !equal(got, want)),
        Test::Lt(want) => !picked.is_empty() && picked.iter().all(|got| number(got).is_some_and(|n| n < *want)),
        Test::Gt(want) => !picked.is_empty() && picked.iter().all(|got| number(got).is_some_and(|n| n > *want)),
        Test::Exists(want) => picked.is_empty() != *want,
        Test::Any(want) => picked.iter().any(|got| equal(got, want)),
        Test::Has(want) => {
            let has = |got: &Picked| matches!(got, Picked::Text(said) if said.contains(&**want));
            !picked.is_empty() && picked.iter().all(has)
        }
        Test::Len(want) => !picked.is_empty() && picked.iter().all(|got| len(got) == Some(*want)),
    };
    if holds {
        return None;
    }
    let got = match picked {
        [] => "nothing".to_owned(),
        [one] => one.to_string(),
        many => many.iter().take(4).map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    Some(format!("{pointer} is {got}, expected {}", wanted(test)).into())
}

fn wanted(test: &Test) -> String {
    match test {
        Test::Eq(want) => want.to_string(),
        Test::Ne(want) => format!("anything but {want}"),
        Test::Lt(want) => format!("less than {want}"),
        Test::Gt(want) => format!("more than {want}"),
        Test::Exists(true) => "to exist".into(),
        Test::Exists(false) => "not to exist".into(),
        Test::All(want) => format!("all {want}"),
        Test::Any(want) => format!("some {want}"),
        Test::Has(want) => format!("text with {want:?}"),
        Test::Len(want) => format!("a length of {want}"),
    }
}

/// `1` and `1.0` are the same number.
pub(crate) fn equal(got: &Picked, want: &Picked) -> bool {
    match (number(got), number(want)) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => got == want,
    }
}

fn number(picked: &Picked) -> Option<f64> {
    match picked {
        Picked::Number(n) => n.parse().ok(),
        _ => None,
    }
}

fn len(picked: &Picked) -> Option<u64> {
    match picked {
        Picked::Array(n) | Picked::Object(n) => u64::try_from(*n).ok(),
        Picked::Text(t) => u64::try_from(t.chars().count()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assertions_hold_or_say_why_not() {
        let text = |t: &str| Picked::Text(t.into());
        let num = |n: &str| Picked::Number(n.into());
        let cases: Vec<(Test, Vec<Picked>, Option<&str>)> = vec![
            (Test::Eq(Picked::Bool(true)), vec![Picked::Bool(true)], None),
            (Test::Eq(Picked::Bool(true)), vec![Picked::Bool(false)], Some("/x is false, expected true")),
            (Test::Eq(Picked::Bool(true)), vec![], Some("/x is nothing, expected true")),
            (Test::Eq(num("1")), vec![num("1.0")], None),
            (Test::Ne(text("down")), vec![text("ok")], None),
            (Test::Ne(text("down")), vec![], Some("/x is nothing, expected anything but \"down\"")),
            (Test::Lt(3.0), vec![num("2")], None),
            (Test::Lt(3.0), vec![num("3")], Some("/x is 3, expected less than 3")),
            (Test::Lt(3.0), vec![], Some("/x is nothing, expected less than 3")),
            (Test::Gt(3.0), vec![num("4")], None),
            (Test::Gt(3.0), vec![], Some("/x is nothing, expected more than 3")),
            (Test::Gt(3.0), vec![num("3")], Some("/x is 3, expected more than 3")),
            (Test::Gt(3.0), vec![text("4")], Some("/x is \"4\", expected more than 3")),
            (
                Test::All(text("ok")),
                vec![text("ok"), text("degraded")],
                Some("/x is \"ok\", \"degraded\", expected all \"ok\""),
            ),
            (Test::All(text("ok")), vec![], Some("/x is nothing, expected all \"ok\"")),
            (Test::Any(text("ok")), vec![text("ok"), text("degraded")], None),
            (Test::Exists(false), vec![], None),
            (Test::Exists(true), vec![], Some("/x is nothing, expected to exist")),
            (Test::Has("json".into()), vec![text("application/json; x")], None),
            (
                Test::Has("json".into()),
                vec![text("text/html")],
                Some("/x is \"text/html\", expected text with \"json\""),
            ),
            (Test::Has("1".into()), vec![num("1")], Some("/x is 1, expected text with \"1\"")),
            (Test::Has("a".into()), vec![], Some("/x is nothing, expected text with \"a\"")),
            (Test::Len(2), vec![Picked::Array(2)], None),
            (Test::Len(2), vec![text("ab")], None),
            (Test::Len(2), vec![Picked::Null], Some("/x is null, expected a length of 2")),
        ];
        for (test, picked, want) in cases {
            assert_eq!(unmet("/x", &test, &picked).as_deref(), want, "{test:?} on {picked:?}");
        }
    }
}
