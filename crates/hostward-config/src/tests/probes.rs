//! Probes: what the example says, as it is understood; and each refusal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hostward_core::ask::{ExecQ, Header, HttpQ, Method, Picked, Secret, TcpQ, Where, Worth};
use hostward_core::expect::Test;
use hostward_core::id::{UnitName, WatchId};
use hostward_core::policy::Policy;
use hostward_core::time::Ms;
use hostward_core::watch::Spec;
use hostward_core::watch::service::{
    self, Components, ExecProbe, HttpProbe, OnTimeout, Statuses, TcpProbe, UnitProbe,
};

use super::{bad, good, line};
use crate::load;

fn policy() -> Policy {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/probes");
    load(&dir).unwrap_or_else(|error| panic!("{error}")).policy
}

fn service(policy: &Policy, name: &str) -> service::Spec {
    match &policy.watches[&WatchId::new(name)].spec {
        Spec::Service(spec) => spec.clone(),
        Spec::Baseline(_) | Spec::Storage(_) | Spec::Job(_) => panic!("a service"),
    }
}

fn text(text: &str) -> Picked {
    Picked::Text(text.into())
}

#[test]
fn a_deep_health_body_reads_as_it_says() {
    let policy = policy();
    let token = Worth::Secret(Secret::Credential("api-token".into()));
    let deep = HttpProbe {
        question: HttpQ {
            unix: Some("/run/example-api/http.sock".into()),
            headers: vec![
                Header { name: "accept".into(), value: Worth::Plain("application/json".into()) },
                Header { name: "authorization".into(), value: token },
            ],
            body_max: Some(256 * 1024),
            texts: vec!["checks".into()],
            shown: vec!["content-type".into()],
            components: Some("/checks/*/status".into()),
            ..HttpQ::get("http://localhost/health/deep", vec![])
        },
        every: Ms::secs(10),
        timeout: Ms::secs(2),
        status: Statuses(vec![(200, 299), (503, 503)]),
        json: vec![],
        headers: vec![Test::Has("application/json".into())],
        tls_days: 14,
        components: Some(Components {
            ok: vec![text("ok"), text("up")],
            not_configured: vec![text("not_configured"), text("disabled")],
            restart_on: BTreeSet::from(["db".into()]),
            causes: BTreeMap::from([("db".into(), WatchId::new("service.postgres"))]),
        }),
    };
    assert_eq!(service(&policy, "service.api").http[0], deep);
    let needs = &policy.watches[&WatchId::new("service.api")].needs;
    assert_eq!(*needs, [WatchId::new("service.postgres")], "what a restart would rest on comes first");
}

#[test]
fn the_other_kinds_read_as_they_say() {
    let policy = policy();
    let api = service(&policy, "service.api");
    let outside = &api.http[1];
    assert_eq!((outside.question.method, outside.tls_days), (Method::Head, 21));
    assert_eq!((outside.every, outside.timeout), (Ms::secs(60), Ms::secs(10)));
    let inside = &api.http[2].question;
    assert_eq!(inside.ca.as_deref(), Some(Path::new("/etc/example/ca.pem")));
    assert_eq!(
        (inside.server_name.as_deref(), inside.body.as_deref()),
        (Some("api.internal"), Some("{\"ping\": 1}"))
    );
    assert_eq!(inside.headers[1].value, Worth::Secret(Secret::File("/etc/example/probe-token".into())));

    let run = ["/usr/bin/pg_isready", "--quiet", "--timeout=3"].map(Into::into).to_vec();
    let ready = ExecProbe {
        question: ExecQ { run, user: Some("postgres".into()), timeout: Ms::secs(5) },
        every: Ms::secs(30),
        down: vec![2],
        on_timeout: OnTimeout::Unknown,
    };
    assert_eq!(service(&policy, "service.postgres").exec, [ready]);

    let redis = service(&policy, "service.redis");
    let at = Where::Tcp { host: "127.0.0.1".into(), port: 6379 };
    let question = TcpQ { at, send: Some("PING\r\n".into()), expect: Some("+PONG".into()) };
    assert_eq!(redis.tcp, [TcpProbe { question, every: Ms::secs(10), timeout: Ms::secs(2) }]);
    assert_eq!((redis.exec[0].on_timeout, redis.exec[0].question.timeout), (OnTimeout::Down, Ms::secs(3)));

    let unit = UnitName::new("example-site-worker@1.service");
    assert_eq!(service(&policy, "service.site").units, [UnitProbe { unit, every: Ms::secs(60) }]);
}

#[test]
fn a_policy_is_the_same_after_it_was_stored() {
    let policy = policy();
    let stored = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&stored).unwrap(), policy);
}

#[test]
fn a_quick_probe_has_a_timeout_within_its_pace() {
    let policy =
        good("[service.a]\nunit = \"a.service\"\nprobe.http = [{ url = \"http://h/\", every = \"1s\" }]").policy;
    assert_eq!(service(&policy, "service.a").http[0].timeout, Ms::secs(1));
}

/// The only error of each probe, at its line below four that are well.
fn check(kind: &str, cases: &[(&str, &str)]) {
    for (extra, want) in cases {
        let text = format!("[service.a]\nunit = \"a.service\"\n\n[[service.a.probe.{kind}]]\n{extra}");
        let said: Vec<String> = bad(&text).errors.iter().map(line).collect();
        assert_eq!(said, [*want], "{extra}");
    }
}

#[test]
fn what_an_http_probe_cannot_ask() {
    check(
        "http",
        &[
            (
                "url = \"127.0.0.1:80/x\"",
                "5:7 `127.0.0.1:80/x` cannot be probed | write it as http://127.0.0.1:8001/path",
            ),
            (
                "url = \"http://h/?token=x\"",
                "5:7 a secret does not belong into the configuration | send it in a header: headers = { authorization = { credential = \"NAME\" } }",
            ),
            (
                "url = \"http://h/\"\nevery = \"5s\"\ntimeout = \"10s\"",
                "7:11 the timeout (10s) is longer than `every` (5s) | a probe is asked again when its time is over: shorten it, or raise `every`",
            ),
            (
                "url = \"http://h/\"\nmethod = \"get\"",
                "6:10 `get` is no method | known are: GET, HEAD, POST, PUT, OPTIONS",
            ),
            (
                "url = \"http://h/\"\nmethod = \"HEAD\"\nexpect.text = \"x\"",
                "6:10 the answer to HEAD has no body, and this probe expects something of it | use GET, or expect a status and headers alone",
            ),
            (
                "url = \"http://h/\"\nunix = \"x.sock\"",
                "6:8 `x.sock` is not an absolute path | write the whole path, beginning with /: /.../x.sock",
            ),
            (
                "url = \"http://h/\"\nca = \"/ca.pem\"",
                "6:6 `ca` means something over https alone | write the URL with https://, or leave it out",
            ),
            (
                "url = \"http://h/\"\nexpect.tls_days = 7",
                "6:19 `tls_days` means something over https alone | write the URL with https://, or leave it out",
            ),
            ("url = \"https://h/\"\nexpect.tls_days = 999", "6:19 `tls_days` is out of range: `999` | from 0 to 398"),
            ("url = \"http://h/\"\nbody_max = \"2MiB\"", "6:12 `body_max` is out of range | from 1KiB to 1MiB"),
            (
                "url = \"http://h/\"\nexpect.status = \"6xx\"",
                "6:17 `6xx` is no class of statuses | write 204, \"2xx\", or [\"2xx\", 401]",
            ),
            (
                "url = \"http://h/\"\nexpect.header = { age = { lt = 3 } }",
                "6:25 a header is text | write \"VALUE\", { has = \"PART\" }, { ne = .. } or { exists = true }",
            ),
        ],
    );
}

#[test]
fn a_secret_stands_in_no_configuration() {
    check(
        "http",
        &[
            (
                "url = \"http://h/\"\nheaders = { Authorization = \"Bearer x\" }",
                "6:29 `Authorization` is a secret, which does not belong into the configuration | write Authorization = { credential = \"NAME\" }, or { file = \"/path\" }",
            ),
            (
                "url = \"http://h/\"\nheaders = { x-token = { credentials = \"a\" } }",
                "6:39 unknown key `credentials` | did you mean `credential`?",
            ),
            (
                "url = \"http://h/\"\nheaders = { x-token = { credential = \"../a\" } }",
                "6:38 this is no credential's name | as LoadCredential= in hostward.service names it: letters, digits and _.-",
            ),
            (
                "url = \"http://h/\"\nheaders = { x-token = { file = \"a\" } }",
                "6:32 `a` is not an absolute path | write the whole path, beginning with /: /.../a",
            ),
            (
                "url = \"http://h/\"\nheaders = { connection = \"close\" }",
                "6:26 `connection` is set by the connection itself | leave it out",
            ),
        ],
    );
}

#[test]
fn components_are_named_by_one_wildcard_and_caused_by_watches() {
    let with = |components: &str| format!("url = \"http://h/\"\ncomponents = {components}");
    let cases = [
        ("{}", "6:1 [service.a.probe.http.components] has no `at` | add at = \"/checks/*/status\""),
        (
            "{ at = \"/checks/db/status\" }",
            "6:21 `/checks/db/status` has 0 wildcards | one segment stands for the component's name: /checks/*/status",
        ),
        ("{ at = \"checks/*\" }", "6:21 `checks/*` is not a JSON pointer | begin it with /: \"/checks/*\""),
        (
            "{ at = \"/*\", ok = [\"a\"], not_configured = [\"a\"] }",
            "6:1 \"a\" is both `ok` and `not_configured` | a state is one or the other",
        ),
        (
            "{ at = \"/*\", restart_on = [\"a b\"] }",
            "6:41 `a b` cannot be a component's name | as the body has it: at most 64 letters, digits and _.-",
        ),
        (
            "{ at = \"/*\", causes = { db = \"service.db\" } }",
            "6:43 there is no [service.db] | did you mean `service.a`?",
        ),
        (
            "{ at = \"/*\", causes = { db = \"service.a\" } }",
            "6:43 [service.a] cannot be the cause of its own component | name the watch of what the component rests on, or leave it out",
        ),
    ];
    for (components, want) in cases {
        check("http", &[(&with(components), want)]);
    }
}

#[test]
fn two_services_may_not_wait_for_each_others_components() {
    let of = |name: &str, other: &str| {
        format!(
            "[service.{name}]\nunit = \"{name}.service\"\n[[service.{name}.probe.http]]\nurl = \"http://h/\"\n\
             components = {{ at = \"/*\", restart_on = [\"x\"], causes = {{ x = \"service.{other}\" }} }}\n"
        )
    };
    let said: Vec<String> = bad(&(of("a", "b") + &of("b", "a"))).errors.iter().map(line).collect();
    assert!(said[0].contains("[service.a] needs itself, by way of [service.b]"), "{said:?}");
}

#[test]
fn what_the_other_kinds_cannot_ask() {
    check(
        "tcp",
        &[
            (
                "",
                "4:1 [service.a.probe.tcp] needs one of `connect` and `unix` | add connect = \"127.0.0.1:5432\", or unix = \"/run/x.sock\"",
            ),
            (
                "connect = \"5432\"",
                "5:11 `5432` is not a host with a port | write it as 127.0.0.1:5432, [::1]:5432 or db.example.org:5432",
            ),
            (
                "connect = \"::1:5432\"",
                "5:11 `::1:5432` is not a host with a port | write it as 127.0.0.1:5432, [::1]:5432 or db.example.org:5432",
            ),
            ("connect = \"h:1\"\nexpect = \"\"", "6:10 this cannot be expected | from 1 to 1024 bytes of text"),
        ],
    );
    check(
        "exec",
        &[
            ("", "4:1 [service.a.probe.exec] has no `run` | add run = [\"/usr/bin/pg_isready\", \"-q\"]"),
            (
                "run = [\"pg_isready\"]",
                "5:8 `pg_isready` is not an absolute path | checks run without a shell or PATH: write the program's whole path",
            ),
            (
                "run = [\"/bin/true\"]\nevery = \"2s\"\ntimeout = \"3s\"",
                "7:11 the timeout (3s) is longer than `every` (2s) | a probe is asked again when its time is over: shorten it, or raise `every`",
            ),
            ("run = [\"/bin/true\"]\non_timeout = \"up\"", "6:14 `up` is no verdict | known are: unknown, down"),
        ],
    );
    check(
        "unit",
        &[(
            "unit = \"a.service\"",
            "5:8 `a.service` is the service's own unit | it is looked at anyway; name the unit that does the work",
        )],
    );
}
