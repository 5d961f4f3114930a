//! Each refusal, with its place and what it says to do instead.

use super::{bad, good, line};
use crate::parse;

/// A service and a baseline that are well but for `service` and `baseline`.
fn with(service: &str, reconcile: &str) -> String {
    format!(
        "[service.api]\nunit = \"api.service\"\n{service}\n\
         [baseline.app]\npython = {{ venv = \"/v\", lock = \"/o/req.lock\" }}\n[baseline.app.reconcile]\n{reconcile}\n"
    )
}

/// The only error of each text.
fn check(cases: &[(&str, &str)]) {
    for (text, want) in cases {
        let said: Vec<String> = bad(text).errors.iter().map(line).collect();
        assert_eq!(said, [*want], "{text}");
    }
}

const RUN: &str = "run = [[\"/v/bin/pip\", \"install\", \"-r\", \"/o/req.lock\"]]";

#[test]
fn the_frame_of_these_tests_is_well() {
    assert!(good(&with("", RUN)).warnings.is_empty());
}

#[test]
fn host_app_and_metrics() {
    check(&[
        (
            "[host]\nsentinel = \"enabled\"",
            "2:12 `enabled` is not an absolute path | write the whole path, beginning with /: /.../enabled",
        ),
        ("[host]\nsentinel = \"/etc/../tmp/x\"", "2:12 `/etc/../tmp/x` contains .. | write the path without .."),
        (
            "[host]\nsentinel = \"/tmp/enabled\"",
            "2:12 a sentinel in /tmp | anybody could create it there; keep it in /etc",
        ),
        ("[host]\nmode = \"obzerve\"", "2:8 `obzerve` is no mode | did you mean `observe`?"),
        ("[host]\nmode = true", "2:8 `mode` must be a mode, not true or false | for example mode = \"observe\""),
        ("[host]\nbudget = \"12 per 0s\"", "2:10 `0s` is too short | at least 100ms"),
        ("[host]\nsettle = 1", "2:10 `settle` must be a span of time, not a number | for example settle = \"90s\""),
        ("host = 1", "1:8 `host` must be a table, not a number | write it as [host]"),
        ("[hosts]", "1:2 unknown key `hosts` | did you mean `host`?"),
        (
            "[deploy.x]",
            "1:2 unknown key `deploy` | known are: host, metrics, app, service, baseline, storage, job, notify",
        ),
        (
            "[metrics]\nlisten = \"9469\"",
            "2:10 `9469` is not an address with a port | write it as 127.0.0.1:9469 or [::1]:9469",
        ),
        (
            "[metrics]\ntextfile = \"/var/lib/x/hostward\"",
            "2:12 `/var/lib/x/hostward` does not end in .prom | node_exporter reads only files whose names end in .prom",
        ),
        (
            "[app.x]\nlock = \"/tmp/x.lock\"\n[service.a]\napp = \"x\"\nunit = \"a.service\"",
            "2:8 `lock` must be a table, not text | write it as [app.x.lock]",
        ),
        (
            "[app.x]\nreplaces = []\n[service.a]\napp = \"x\"\nunit = \"a.service\"",
            "2:12 `replaces` is empty | leave it out, or name a unit's name",
        ),
        (
            "[service.\"a.b\"]\nunit = \"a.service\"",
            "1:10 `a.b` cannot be a name here | begin with a letter or digit; at most 64 letters, digits, - and _",
        ),
    ]);
}

#[test]
fn services() {
    let cases = [
        ("interval = \"0s\"", "3:12 `0s` is too short | at least 100ms"),
        ("intervall = \"5s\"", "3:1 unknown key `intervall` in [service.api] | did you mean `interval`?"),
        ("app = \"example\"", "3:7 there is no [app.example] | add a table [app.example]"),
        ("confirm = { runs = 0 }", "3:20 `runs` is out of range: `0` | from 1 to 100"),
        (
            "metrics.compat = \"healtharchive\"",
            "3:18 `healtharchive` is no family that Hostward can fill | write healtharchive_drift_auto_reconcile, for \
             storage healtharchive_storage_hotpath_auto_recover, for jobs healtharchive_crawl_auto_recover",
        ),
        (
            "metrics.compat = \"x_storage_hotpath_auto_recover\"",
            "3:18 `x_storage_hotpath_auto_recover` is no family of service.api | this watch fills \
             PREFIX_drift_auto_reconcile",
        ),
        ("brakes = { per_hour = 0 }", "3:23 `per_hour` is out of range: `0` | from 1 to 64"),
        (
            "brakes = { cooldown = \"1h\" }",
            "3:1 the plateau (30m) is shorter than the cooldown (1h) | the cooldown doubles up to the plateau: set the plateau as well",
        ),
        ("remedy.ladder = []", "3:17 `ladder` is empty | leave it out, or name a rung"),
        ("remedy.ladder = [\"resart\"]", "3:18 `resart` is no rung | did you mean `restart`?"),
        (
            "remedy.ladder = [\"reboot:now\"]",
            "3:18 `reboot:now` is no rung | known are: restart, reconcile:BASELINE, notify",
        ),
        (
            "remedy.ladder = [\"rollback:api\"]",
            "3:18 this version cannot roll `api` back | it knows no releases yet: take the rung off the ladder",
        ),
        ("remedy.ladder = [\"reconcile:ap\"]", "3:18 there is no [baseline.ap] | did you mean `reconcile:app`?"),
        (
            "remedy.ladder = [\"notify\", \"restart\"]",
            "3:28 this rung is never reached | notify is the end of a ladder",
        ),
        (
            "remedy.ladder = [\"restart\", \"restart\"]",
            "3:29 this rung is on the ladder twice | a rung is tried as often as the brakes allow: name it once",
        ),
        ("probe.http = []", "3:14 `http` is empty | leave it out, or add [[service.api.probe.http]]"),
        (
            "[service.api.probe.http]\nurl = \"http://h/\"",
            "3:1 `http` must be an array of tables, not a table | write [[service.api.probe.http]]",
        ),
        (
            "probe.http = [{}]",
            "3:15 [service.api.probe.http] has no `url` | add url = \"http://127.0.0.1:8001/api/health\"",
        ),
    ];
    for (extra, want) in cases {
        check(&[(&with(extra, RUN), want)]);
    }
    let twice = "[service.a]\nunit = \"x.service\"\n[service.b]\nunit = \"x.service\"";
    check(&[(
        twice,
        "4:8 `x.service` belongs to [service.a] already | give both sets of probes to one watch: two would restart it twice",
    )]);
    check(&[("[service.api]", "1:10 [service.api] has no `unit` | add unit = \"example-api.service\"")]);
}

#[test]
fn probes() {
    let cases = [
        (
            "url = \"ftp://h/\"",
            "4:7 `ftp://h/` cannot be probed | only http:// and https:// can be probed; [[service.NAME.probe.tcp]] asks anything else",
        ),
        ("every = \"0s\"", "5:9 `0s` is too short | at least 100ms"),
        ("timeout = \"0ms\"", "5:11 `0ms` is too short | at least 100ms"),
        ("expect.status = 600", "5:17 `status` is out of range: `600` | from 100 to 599"),
        ("expect.status = \"200\"", "5:17 `200` is no class of statuses | write 204, \"2xx\", or [\"2xx\", 401]"),
        ("expect.json = {}", "5:8 `json` is empty | leave it out, or name what must hold"),
        ("expect.json = { ok = true }", "5:17 `ok` is not a JSON pointer | begin it with /: \"/ok\""),
        (
            "expect.json = { \"/a~b\" = true }",
            "5:17 `/a~b` is not a JSON pointer | write ~ as ~0, and / within a name as ~1",
        ),
        ("expect.json = { \"/n\" = { gte = 3 } }", "5:32 unknown operator `gte` | did you mean `gt`?"),
        (
            "expect.json = { \"/n\" = { gt = 3, lt = 5 } }",
            "5:24 an assertion has one operator, and this has 2 | write { gt = 3 }, or { all = \"ok\" }",
        ),
        (
            "expect.json = { \"/n\" = { gt = \"3\" } }",
            "5:31 `gt` must be a finite number, not text | write { gt = 3 }",
        ),
        (
            "expect.json = { \"/n\" = [1] }",
            "5:24 `/n` must be text, a number, true or false, not a list | name each member by a pointer of its own",
        ),
        ("expect.json = { \"/n\" = inf }", "5:24 `/n` must be a finite number, not a number | write { gt = 3 }"),
    ];
    for (extra, want) in cases {
        let url = if extra.starts_with("url") { "" } else { "url = \"http://h/\"\n" };
        check(&[(&format!("[service.api]\nunit = \"api.service\"\n[[service.api.probe.http]]\n{url}{extra}"), want)]);
    }
}

#[test]
fn baselines() {
    check(&[
        (
            "[baseline.a]",
            "1:11 [baseline.a] has no [baseline.a.python] | add [baseline.a.python] with `venv` and `lock`",
        ),
        (
            "[baseline.a.python]\nvenv = \"/v\"",
            "1:13 [baseline.a.python] says of nothing that it must be installed | add lock = \"/.../requirements.lock\", or required = [\"fastapi\"]",
        ),
        (
            "[baseline.a.python]\nvenv = \"/v\"\nrequired = []",
            "3:12 `required` is empty | leave it out, or name a requirement",
        ),
        (
            "[baseline.a.python]\nvenv = \"/v\"\nrequired = [\"a b\"]",
            "3:13 `a b` is not a requirement | write it as pip does: fastapi, fastapi>=0.115, uvicorn[standard]==0.30.1",
        ),
        (
            "[baseline.a.python]\nvenv = \"v\"\nrequired = [\"a\"]",
            "2:8 `v` is not an absolute path | write the whole path, beginning with /: /.../v",
        ),
        (
            "[baseline.a]\nurgent_quiet = \"2min\"\npython = { venv = \"/v\", required = [\"a\"] }",
            "2:16 urgent_quiet (2m) is longer than quiet (1m) | it is the shorter wait, while a unit of the app is down",
        ),
        (
            "[baseline.a]\npython = { venv = \"/v\", required = [\"a\"] }\n[baseline.b]\npython = { venv = \"/v/\", required = [\"b\"] }",
            "4:19 `/v` belongs to [baseline.a] already | one baseline may have both `lock` and `required`",
        ),
        (
            "[baseline.a]\nmetrics.compat = \"x_drift_auto_reconcile\"\npython = { venv = \"/v\", required = [\"a\"] }\n[service.b]\nunit = \"b.service\"\nmetrics.compat = \"x_drift_auto_reconcile\"",
            "2:18 `x_drift_auto_reconcile` belongs to [service.b] already | two watches would overwrite each other's numbers",
        ),
        (
            "[baseline.a]\npython = { venv = \"/v\", required = [\"a\"] }\nreconcile.run = [[\"/v/bin/pip\", \"install\", \"a\"]]",
            "3:1 a reconcile without a lock file has nothing to rebuild from | declare `lock` beside `required`, or leave the reconcile out",
        ),
        (
            "[service.s]\nunit = \"s.service\"\nremedy.ladder = [\"reconcile:a\"]\n[baseline.a]\npython = { venv = \"/v\", required = [\"a\"] }",
            "3:18 [baseline.a] has no reconcile | add [baseline.a.reconcile] with `run`",
        ),
    ]);
}

#[test]
fn reconciles() {
    let how = "name it among the arguments: -r /o/req.lock";
    let deploy = "a reconcile rebuilds what is deployed; pulling and migrating belong to a deploy";
    let cases = [
        ("", "6:15 [baseline.app.reconcile] has no `run` | add run = [[\"/.../bin/pip\", \"install\", \"-r\", \"/.../requirements.lock\"]]".to_owned()),
        ("run = []", "7:7 `run` is empty | leave it out, or name commands, each a list of its own".to_owned()),
        ("run = [[]]", "7:8 `run` is empty | leave it out, or name the program and its arguments".to_owned()),
        ("run = [\"/o/rebuild /o/req.lock\"]", "7:8 `run` must be a list, not text | write [..] with the program and its arguments in it".to_owned()),
        ("run = [[\"pip\", \"install\", \"-r\", \"/o/req.lock\"]]", "7:9 `pip` is not an absolute path | commands run without a shell or PATH: write the program's whole path".to_owned()),
        ("run = [[\"/o/rebuild\"]]", format!("7:7 no command uses the lock `/o/req.lock` | {how}")),
        ("run = [[\"/v/bin/pip\", \"install\", \"-r\", \"/o/other.lock\"]]", format!("7:9 this installs without the lock `/o/req.lock` | {how}")),
        ("run = [[\"/v/bin/pip\", \"install\", \"-r\", \"/o/req.lock\"], [\"/v/bin/python\", \"-m\", \"pip\", \"install\", \"x\"]]", format!("7:57 this installs without the lock `/o/req.lock` | {how}")),
        ("run = [[\"/usr/bin/git\", \"-C\", \"/o\", \"pull\"]]", format!("7:9 `git pull` changes the revision | {deploy}")),
        ("run = [[\"/usr/bin/env\", \"X=1\", \"git\", \"reset\", \"--hard\"]]", format!("7:9 `git reset` changes the revision | {deploy}")),
        ("run = [[\"/bin/sh\", \"-c\", \"cd /o && git fetch; pip install -r /o/req.lock\"]]", format!("7:9 `git fetch` changes the revision | {deploy}")),
        ("run = [[\"/v/bin/alembic\", \"-c\", \"/o/a.ini\", \"upgrade\", \"head\"]]", format!("7:9 `alembic upgrade` migrates the database | {deploy}")),
        ("run = [[\"/v/bin/python\", \"-m\", \"alembic\", \"current\"]]", format!("7:9 `alembic` migrates the database | {deploy}")),
        ("run = [[\"/v/bin/python\", \"/o/manage.py\", \"migrate\"]]", format!("7:9 `manage.py migrate` migrates the database | {deploy}")),
    ];
    for (reconcile, want) in cases {
        check(&[(&with("", reconcile), &want)]);
    }
    let then = [
        ("then = { restart = [] }", "8:20 `restart` is empty | leave it out, or name a unit's name"),
        ("then = { prove = \"service.apy\" }", "8:18 there is no watch `service.apy` | did you mean `service.api`?"),
        ("then = { prove = \"api\" }", "8:18 there is no watch `api` | did you mean `service.api`?"),
        (
            "then = { prove = \"baseline.app\" }",
            "8:18 `baseline.app` is not a service | name the service that shows that [baseline.app] is well: service.NAME",
        ),
        ("then = { prove = \"service.api\", within = \"0s\" }", "8:42 `0s` is too short | at least 100ms"),
        ("when = \"unit_down\"", "8:8 `unit_down` is no condition | did you mean `unit-down`?"),
        (
            "user = \"root:root\"",
            "8:8 `root:root` is not a user's name | a name of at most 31 letters, digits and _-.",
        ),
        ("dir = \"opt\"", "8:7 `opt` is not an absolute path | write the whole path, beginning with /: /.../opt"),
    ];
    for (extra, want) in then {
        check(&[(&with("", &format!("{RUN}\n{extra}")), want)]);
    }
}

#[test]
fn ways_to_use_a_lock() {
    let baseline = |lock: &str, rest: &str| {
        format!(
            "[baseline.a]\npython = {{ venv = \"/o/.venv\", lock = \"/o/{lock}\" }}\n[baseline.a.reconcile]\n{rest}\n"
        )
    };
    let fine = [
        ("req.lock", "run = [[\"/o/rebuild.sh\", \"/o/req.lock\"]]"),
        ("req.lock", "run = [[\"/o/pip\", \"install\", \"--requirement=/o/req.lock\"]]"),
        ("req.lock", "dir = \"/o\"\nrun = [[\"/o/pip\", \"install\", \"-r\", \"./req.lock\"]]"),
        ("req.lock", "run = [[\"/bin/sh\", \"-c\", \"pip install -r /o/req.lock && true\"]]"),
        (
            "req.lock",
            "run = [[\"/usr/bin/python3\", \"-m\", \"venv\", \"/o/.venv\"], [\"/o/.venv/bin/pip\", \"install\", \"-r/o/req.lock\"]]",
        ),
        (
            "req.lock",
            "run = [[\"/o/pip\", \"install\", \"-r\", \"/o/req.lock\"], [\"/o/pip\", \"install\", \"--no-deps\", \"-e\", \"/o\"]]",
        ),
        ("uv.lock", "run = [[\"/usr/bin/uv\", \"sync\", \"--frozen\", \"--project\", \"/o\"]]"),
        ("uv.lock", "run = [[\"/usr/bin/uv\", \"sync\", \"--locked\", \"--directory=/o\"]]"),
        ("uv.lock", "dir = \"/o\"\nrun = [[\"/usr/bin/uv\", \"sync\", \"--frozen\"]]"),
        ("pyproject.toml", "run = [[\"/o/pip\", \"install\", \"-e\", \"/o[prod]\"]]"),
        ("pyproject.toml", "run = [[\"/usr/bin/uv\", \"sync\", \"--frozen\", \"--project\", \"/o\"]]"),
    ];
    for (lock, rest) in fine {
        good(&baseline(lock, rest));
    }
    let refused = [
        (
            "uv.lock",
            "run = [[\"/usr/bin/uv\", \"sync\", \"--project\", \"/o\"]]",
            "`uv sync` without --frozen may change the lock",
        ),
        (
            "uv.lock",
            "run = [[\"/usr/bin/uv\", \"sync\", \"--frozen\"]]",
            "this installs without the lock `/o/uv.lock`",
        ),
        (
            "uv.lock",
            "dir = \"/o\"\nrun = [[\"/usr/bin/uv\", \"sync\", \"--frozen\", \"--project\", \"/p\"]]",
            "this installs without the lock `/o/uv.lock`",
        ),
        (
            "req.lock",
            "dir = \"/p\"\nrun = [[\"/o/pip\", \"install\", \"-r\", \"req.lock\"]]",
            "this installs without the lock `/o/req.lock`",
        ),
    ];
    for (lock, rest, want) in refused {
        let said: Vec<String> = bad(&baseline(lock, rest)).errors.into_iter().map(|error| error.message).collect();
        assert_eq!(said, [want], "{rest}");
    }
}

#[test]
fn limits() {
    let watch = |n| format!("[service.s{n}]\nunit = \"s{n}.service\"\n");
    let watches = (0..1001).map(watch).collect::<Vec<_>>().concat();
    check(&[(&watches, "2001:10 1001 watches are more than the limit of 1000 | remove some of them")]);
    let probe = "[[service.s.probe.http]]\nurl = \"http://h/\"\n";
    let probes = format!("[service.s]\nunit = \"s.service\"\n{}", probe.repeat(65));
    check(&[(&probes, "3:1 65 are more than the limit of 64 [[service.s.probe.http]] | split the watch")]);
    let large = format!("#{}", " ".repeat(1 << 20));
    check(&[(&large, "0:0 larger than 1 MiB | split it into files in conf.d")]);
    let many = (0..1000).map(|n| format!("k{n} = 1\n")).collect::<Vec<_>>().concat();
    assert_eq!(bad(&many).errors.len(), 100, "the first hundred are enough");
}

#[test]
fn what_is_doubtful_is_a_warning() {
    let cases = [
        (
            "[metrics]\nlisten = \"0.0.0.0:9469\"",
            "2:10 the metrics can be read by other hosts | listen on 127.0.0.1, unless a firewall stands before it",
        ),
        ("[app.x]", "1:6 no watch belongs to [app.x] | add app = \"x\" to its watches"),
        (
            "[host]\nmode = \"observe\"\n[service.a]\nunit = \"a.service\"\nmode = \"act\"",
            "5:8 this watch will not act: the host's mode is observe | the lesser of both counts; [host] mode = \"act\" would allow it",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(good(text).warnings.iter().map(line).collect::<Vec<_>>(), [want]);
    }
    let system = with("", "run = [[\"/usr/bin/pip\", \"install\", \"-r\", \"/o/req.lock\"]]");
    let said: Vec<String> = good(&system).warnings.iter().map(line).collect();
    assert_eq!(
        said,
        ["7:9 this may install into another environment than /v | name it: /v/bin/pip, --python /v, or \
          UV_PROJECT_ENVIRONMENT=/v"]
    );
    let python =
        with("", "run = [[\"/usr/bin/uv\", \"pip\", \"install\", \"--python\", \"/v\", \"-r\", \"/o/req.lock\"]]");
    assert!(good(&python).warnings.is_empty());
    let budget = format!("{}[host]\nbudget = \"3 per 1h\"", with("", RUN));
    let said: Vec<String> = good(&budget).warnings.iter().map(line).collect();
    assert_eq!(
        said,
        ["9:10 this budget never pays for the reconcile of [baseline.app] | a reconcile costs 5, a restart 1"]
    );
}

#[test]
fn a_torn_file_hides_nothing_in_the_others_and_blames_them_for_nothing() {
    let torn = "[app.x]\nlock = {";
    let other = "[service.a]\napp = \"x\"\nunit = \"a\"\n";
    let rejected = parse(&[("hostward.toml", torn), ("conf.d/a.toml", other)]).unwrap_err();
    let files: Vec<String> = rejected.errors.iter().map(|e| format!("{}:{}", e.file.display(), e.line)).collect();
    assert_eq!(files, ["hostward.toml:2", "conf.d/a.toml:3"]);
}
