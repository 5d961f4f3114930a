//! The schema that is published says what the parser takes: as much of JSON Schema as it uses, evaluated here.

use std::fs;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use super::read;

struct Schema(Value);

impl Schema {
    fn published() -> Schema {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema/jobs.schema.json");
        Schema(serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
    }

    fn takes(&self, value: &Value) -> bool {
        self.fits(&self.0, value)
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        schema.as_object().unwrap().iter().all(|(keyword, rule)| self.holds(schema, keyword, rule, value))
    }

    /// As the specification has it, a keyword for another type holds.
    fn holds(&self, schema: &Value, keyword: &str, rule: &Value, value: &Value) -> bool {
        let chars = || value.as_str().map(|text| text.chars().count());
        let rules = || rule.as_array().unwrap().iter();
        match keyword {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => self.fits(self.0.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap()).unwrap(), value),
            "anyOf" => rules().any(|schema| self.fits(schema, value)),
            "not" => !self.fits(rule, value),
            "enum" => rules().any(|one| one == value),
            "type" => is_of(rule.as_str().unwrap(), value),
            "required" => {
                value.as_object().is_none_or(|o| rules().all(|name| o.contains_key(name.as_str().unwrap())))
            }
            "properties" => value.as_object().is_none_or(|object| {
                rule.as_object()
                    .unwrap()
                    .iter()
                    .all(|(name, schema)| object.get(name).is_none_or(|value| self.fits(schema, value)))
            }),
            "additionalProperties" => {
                assert!(schema.get("properties").is_none(), "beside others it means only the rest");
                value.as_object().is_none_or(|object| object.values().all(|value| self.fits(rule, value)))
            }
            "propertyNames" => value
                .as_object()
                .is_none_or(|object| object.keys().all(|name| self.fits(rule, &Value::from(name.as_str())))),
            "maxProperties" => value.as_object().is_none_or(|o| o.len() as u64 <= rule.as_u64().unwrap()),
            "items" => value.as_array().is_none_or(|items| items.iter().all(|item| self.fits(rule, item))),
            "minLength" => chars().is_none_or(|n| n as u64 >= rule.as_u64().unwrap()),
            "maxLength" => chars().is_none_or(|n| n as u64 <= rule.as_u64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)),
            "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
            "exclusiveMaximum" => value.as_f64().is_none_or(|n| n < rule.as_f64().unwrap()),
            other => panic!("no test knows the keyword {other}"),
        }
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no test knows the type {other}"),
    }
}

#[test]
fn the_parser_takes_what_the_schema_takes() {
    let schema = Schema::published();
    let long = |n: usize| format!(r#"{{"jobs": [{{"id": "{}", "state": "running"}}]}}"#, "é".repeat(n));
    let job = |members: &str| format!(r#"[{{"id": "a", "state": "running", {members}}}]"#);
    let numbers = |n: usize| {
        let all: Vec<String> = (0..n).map(|n| format!(r#""n{n}": {n}"#)).collect();
        job(&format!(r#""numbers": {{{}}}"#, all.join(",")))
    };
    let table = [
        ("[]".to_owned(), true),
        (r#"{"jobs": [], "more": 1}"#.to_owned(), true),
        (r#"{"job": []}"#.to_owned(), false),
        ("7".to_owned(), false),
        ("null".to_owned(), false),
        (r#"{"jobs": {}}"#.to_owned(), false),
        ("[7]".to_owned(), false),
        (r#"[{"id": "a"}]"#.to_owned(), false),
        (r#"[{"state": "running"}]"#.to_owned(), false),
        (r#"[{"id": "a", "state": ""}]"#.to_owned(), false),
        (r#"[{"id": "a", "state": 7}]"#.to_owned(), false),
        (r#"[{"id": "a", "state": null}]"#.to_owned(), false),
        (r#"[{"id": null, "state": "running"}]"#.to_owned(), false),
        (long(100), true),
        (long(101), false),
        (job(r#""group": "g""#), true),
        (job(r#""group": "g/h""#), false),
        (job(r#""group": null, "pid": null, "lock": null, "unit": null, "progress": null"#), true),
        (job(r#""started_at": 0"#), true),
        (job(r#""started_at": -1"#), false),
        (job(r#""started_at": 1700000000.25"#), true),
        (job(r#""started_at": "2026-01-02T03:04:05Z""#), true),
        (job(r#""started_at": "2026-01-02 03:04:05.123456+02:00""#), true),
        (job(r#""started_at": "2026-01-02T03:04:05""#), false),
        (job(r#""started_at": "2026-01-02T03:04Z""#), false),
        (job(r#""started_at": "20260102T030405Z""#), false),
        (job(r#""started_at": "2026-01-02T03:04:05+02""#), false),
        (job(r#""started_at": "2026-01-02T03:04:05+02:00[Europe/Berlin]""#), false),
        (job(r#""started_at": "yesterday""#), false),
        (job(r#""started_at": true"#), false),
        (job(r#""output": "/srv/a""#), true),
        (job(r#""output": "/srv/..a/b..""#), true),
        (job(r#""output": "/srv/..""#), false),
        (job(r#""output": "srv/a""#), false),
        (job(r#""output": "/srv/\u0007""#), false),
        (job(r#""output": 7"#), false),
        (job(r#""lock": "/../a""#), false),
        (job(r#""unit": "crawl@a.service""#), true),
        (job(r#""unit": "crawl""#), false),
        (job(r#""unit": ".service""#), false),
        (job(r#""unit": "a b.service""#), false),
        (job(r#""pid": 1"#), true),
        (job(r#""pid": 0"#), false),
        (job(r#""pid": -4"#), false),
        (job(r#""pid": 2147483648"#), false),
        (job(r#""pid": "1""#), false),
        (job(r#""progress": 0"#), true),
        (job(r#""progress": 0.5"#), true),
        (job(r#""progress": -0.5"#), false),
        (job(r#""progress": 1e30"#), false),
        (job(r#""progress": "1""#), false),
        (job(r#""numbers": {"a.b-c_d": -1.5}"#), true),
        (job(r#""numbers": {"a b": 1}"#), false),
        (job(r#""numbers": {"a": "1"}"#), false),
        (job(r#""numbers": [1]"#), false),
        (numbers(32), true),
        (numbers(33), false),
    ];
    for (text, expected) in &table {
        let value = serde_json::from_str(text).unwrap();
        let parsed = read(text).is_ok_and(|listed| listed.refused_total == 0);
        assert_eq!((schema.takes(&value), parsed), (*expected, *expected), "schema, parser: {text}");
    }
    for id in
        ["a", "7", "ä", "a-b", "-a", "", ".", "..", "...", "a/b", "a{", "}", "a b", "a\u{a0}b", "\u{85}", "a\tb"]
    {
        let text = serde_json::json!([{"id": id, "state": "running"}]);
        let parsed = read(&text.to_string()).unwrap().refused_total == 0;
        assert_eq!(schema.takes(&text), parsed, "id {id:?}");
    }
}
