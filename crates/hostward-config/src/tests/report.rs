//! How errors are shown: all at once, each where it is.

use super::{bad, line};
use crate::parse;

const WRONG: &str = r#"[host]
mode = "actt"
budget = "lots"

[metric]
listen = "127.0.0.1:9469"

[service.api]
app = "exmaple"
unit = "example-api"
intervall = "5s"
brakes = { per_hour = 0 }

[[service.api.probe.http]]
url = "ftp://127.0.0.1/health"
expect.status = "200"

[service.api.remedy]
ladder = ["restart", "reconcile:ap", "notify"]

[app.example]

[baseline.app]
app = "example"
interval = 300
[baseline.app.python]
venv = ".venv"
lock = "/opt/example/requirements.lock"
[baseline.app.reconcile]
run = [["/usr/bin/git", "pull"]]
"#;

#[test]
fn one_run_finds_every_error() {
    let said: Vec<String> = bad(WRONG).errors.iter().map(line).collect();
    assert_eq!(
        said,
        [
            "2:8 `actt` is no mode | did you mean `act`?",
            "3:10 `lots` is not a rate | write it as 12 per 1h",
            "5:2 unknown key `metric` | did you mean `metrics`?",
            "9:7 there is no [app.exmaple] | did you mean `example`?",
            "10:8 `example-api` is not a unit's name | did you mean `example-api.service`?",
            "11:1 unknown key `intervall` in [service.api] | did you mean `interval`?",
            "12:23 `per_hour` is out of range: `0` | from 1 to 64",
            "15:7 `ftp://127.0.0.1/health` cannot be probed | only http:// and https:// can be probed; \
             [[service.NAME.probe.tcp]] asks anything else",
            "16:17 `200` is no class of statuses | write 204, \"2xx\", or [\"2xx\", 401]",
            "19:22 there is no [baseline.ap] | did you mean `reconcile:app`?",
            "25:12 `interval` must be a span of time, not a number | for example interval = \"90s\"",
            "27:8 `.venv` is not an absolute path | write the whole path, beginning with /: /.../.venv",
            "30:9 `git pull` changes the revision | a reconcile rebuilds what is deployed; pulling and migrating \
             belong to a deploy",
        ]
    );
}

#[test]
fn it_reads_as_rustc_prints_it() {
    let rejected = bad("[baseline.app]\npython = { venv = \"/v\", required = [\"a\"] }\nintervall = \"5min\"\n");
    let want = "\
error: unknown key `intervall` in [baseline.app]
 --> hostward.toml:3:1
  |
3 | intervall = \"5min\"
  | ^^^^^^^^^
  |
  = help: did you mean `interval`?
";
    assert_eq!(rejected.render(false), want);
    assert!(rejected.render(true).contains("\u{1b}["));
    let json = serde_json::to_value(&rejected).unwrap();
    let error = serde_json::json!({
        "file": "hostward.toml",
        "line": 3,
        "column": 1,
        "message": "unknown key `intervall` in [baseline.app]",
        "help": "did you mean `interval`?",
        "related": null,
    });
    assert_eq!(json, serde_json::json!({ "errors": [error] }));
}

#[test]
fn two_places_are_both_shown() {
    let text = "[service.api]\nunit = \"a.service\"\n";
    let rejected = parse(&[("hostward.toml", text), ("conf.d/more.toml", text)]).unwrap_err();
    let want = "\
error: [service.api] is declared twice
 --> conf.d/more.toml:1:10
  |
1 | [service.api]
  |          ^^^
  |
 ::: hostward.toml:1:10
  |
1 | [service.api]
  |          --- first declared here
  |
  = help: keep one of them
";
    assert_eq!(rejected.render(false), want);
}

#[test]
fn several_syntax_errors_show_at_once() {
    let said: Vec<String> = bad("[host]\nmode = act\n[app\nx = { y = \n[host]\n").errors.iter().map(line).collect();
    assert_eq!(
        said,
        [
            "2:8 string values must be quoted, expected literal string | write \"..\" around it",
            "3:5 unclosed table, expected `]` | -",
            "5:7 unclosed inline table, expected `}` | -",
        ]
    );
}

#[test]
fn hostile_text_breaks_neither_the_report_nor_the_terminal() {
    let long = "x".repeat(100_000);
    let deep = format!("a = {}", "[".repeat(10_000));
    let cases = [
        "\u{feff}[host]\nmoed = \"act\"\r\n".to_owned(),
        "\"\\u001b[31mred\" = 1\n".to_owned(),
        "\"é\u{301}日本\" = 1 # \u{1b}[31m\n".to_owned(),
        format!("[host]\nmode = \"{long}\"\n"),
        format!("{long} = 1"),
        deep,
        "\0".to_owned(),
        "\t\tx = 1".to_owned(),
        "[host]\nmode = \"\"\"\n\nact\"\"\"".to_owned(),
    ];
    for text in cases {
        let rejected = bad(&text);
        let rendered = rejected.render(false);
        assert!(!rendered.contains('\u{1b}') && rendered.len() < 20_000, "{rendered}");
        let error = &rejected.errors[0];
        assert!(error.line >= 1 && error.column >= 1, "{error:?}");
    }
}
