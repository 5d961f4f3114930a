//! What answers say, of the service and of its parts.

use super::*;
use crate::ask::{Method, Picked, Secret, Worth};

fn text(text: &str) -> Picked {
    Picked::Text(text.into())
}

fn http(url: &str) -> HttpProbe {
    HttpProbe::new(HttpQ::get(url, Vec::new()))
}

fn answered(status: u16) -> HttpAnswer {
    HttpAnswer { status, excerpt: "said".into(), json: true, ..HttpAnswer::default() }
}

/// `up`, `down CODE: DETAIL`, `unknown LABEL: WHY`, for the service and then for each part.
fn shown(judged: &Judged) -> Vec<String> {
    let seen = |seen: &Seen| match seen {
        Seen::Up => "up".to_owned(),
        Seen::Down(reason) => format!("down {}: {}", reason.code.label(), reason.detail),
        Seen::Unknown(fault) => format!("unknown {}: {fault}", fault.label()),
    };
    let service = judged.service.as_ref().map_or_else(|| "nothing".to_owned(), seen);
    std::iter::once(service).chain(judged.parts.iter().map(|(key, part)| format!("{key} {}", seen(part)))).collect()
}

fn read(probe: &HttpProbe, reading: HttpReading) -> Vec<String> {
    let asked = Now { wall: Ms::days(100), ..Now::default() };
    shown(&Declared::Http(probe).judge(asked, &Ok(Reading::Http(reading))))
}

#[test]
fn a_status_may_be_one_of_many() {
    let mut probe = http("http://127.0.0.1/");
    probe.status = Statuses(vec![(200, 299), (401, 401)]);
    for (status, says) in [
        (204, "up"),
        (401, "up"),
        (302, "down probe_status: http://127.0.0.1/ answers 302, expected 200 to 299, 401"),
        (300, "down probe_status: http://127.0.0.1/ answers 300, expected 200 to 299, 401"),
    ] {
        assert_eq!(read(&probe, HttpReading::Answered(answered(status))), [says]);
    }
}

#[test]
fn one_status_reads_as_it_was_stored_when_there_could_be_but_one() {
    assert_eq!(serde_json::from_str::<Statuses>("204").unwrap(), Statuses::one(204));
    let many = Statuses(vec![(200, 299), (401, 401)]);
    let stored = serde_json::to_string(&many).unwrap();
    assert_eq!(serde_json::from_str::<Statuses>(&stored).unwrap(), many);
}

#[test]
fn a_text_that_is_missing_from_a_whole_body_is_down() {
    let mut probe = http("http://127.0.0.1/");
    probe.question.texts = vec!["pong".into()];
    let with = |found, cut| HttpReading::Answered(HttpAnswer { texts: vec![found], cut, ..answered(200) });
    assert_eq!(read(&probe, with(true, false)), ["up"]);
    assert_eq!(read(&probe, with(false, false)), ["down probe_body: http://127.0.0.1/ does not say \"pong\": said"]);
    let cut = "unknown config: a mistake in what was declared: the body of http://127.0.0.1/ is longer than is read of \
               it: raise `body_max`";
    assert_eq!(read(&probe, with(false, true)), [cut], "what was not read is not missing");
    let json = |cut| HttpReading::Answered(HttpAnswer { json: false, cut, ..answered(200) });
    let mut probe = http("http://127.0.0.1/");
    probe.question.picks = vec!["/ok".into()];
    probe.json = vec![Test::Exists(true)];
    assert_eq!(read(&probe, json(true)), [cut]);
    assert_eq!(read(&probe, json(false)), ["down probe_body: http://127.0.0.1/ answers no JSON: said"]);
    let lost = "down probe_body: http://127.0.0.1/deep answers no JSON, in which `restart_on` is to be read: said";
    for (restart_on, says) in [(&["db"][..], lost), (&[], "up")] {
        assert_eq!(read(&deep(restart_on, &[]), json(false))[0], says);
    }
}

#[test]
fn what_is_our_own_doing_is_unknown_and_never_down() {
    let probe = http("https://api.example.org/");
    let unresolved = read(&probe, HttpReading::Unresolved("resolve 'api.example.org': no address".into()));
    assert_eq!(
        unresolved,
        [
            "unknown probe: the probe itself failed: resolve 'api.example.org': no address",
            "name/api.example.org down name_unresolved: resolve 'api.example.org': no address",
            "certificate/api.example.org unknown unreadable: unreadable: no certificate was shown",
        ]
    );
    let untrusted = read(&probe, HttpReading::Untrusted("it has expired".into()));
    assert!(untrusted[0].starts_with("unknown probe: "), "{untrusted:?}");
    assert_eq!(untrusted[2], "certificate/api.example.org down certificate_untrusted: it has expired");
    let fault = Declared::Http(&probe).judge(Now::default(), &Err(Fault::Config("no credential TOKEN".into())));
    assert_eq!(shown(&fault), ["unknown config: a mistake in what was declared: no credential TOKEN"]);
}

#[test]
fn a_certificate_is_told_of_beside_the_service_and_by_its_days() {
    let probe = http("https://127.0.0.1:8443/");
    let with = |not_after, distrust: Option<&str>| {
        let tls = TlsReading { not_after, distrust: distrust.map(Into::into) };
        read(&probe, HttpReading::Answered(HttpAnswer { tls: Some(tls), ..answered(200) })).split_off(1)
    };
    let key = "certificate/127.0.0.1:8443";
    assert_eq!(with(Some(Ms::days(114)), None), [format!("{key} up")]);
    let soon = format!("{key} down certificate_expiring: the certificate ends in 13d23h, expected 14 days");
    assert_eq!(with(Some(Ms(Ms::days(114).0 - 1)), None), [soon]);
    let past = format!("{key} down certificate_expiring: the certificate ends in 0ms, expected 14 days");
    assert_eq!(with(Some(Ms::days(99)), None), [past]);
    let other = format!("{key} down certificate_untrusted: it is for another name");
    assert_eq!(with(Some(Ms::days(999)), Some("it is for another name")), [other]);
    assert_eq!(with(None, None), [format!("{key} unknown unreadable: unreadable: its end cannot be read")]);
}

#[test]
fn headers_are_a_part_of_their_own() {
    let mut probe = http("http://[::1]:8000/x");
    probe.question.shown = vec!["content-type".into(), "strict-transport-security".into()];
    probe.headers = vec![Test::Has("json".into()), Test::Exists(true)];
    let with = |shown: Vec<Option<Str>>| read(&probe, HttpReading::Answered(HttpAnswer { shown, ..answered(200) }));
    let json = Some("application/json; charset=utf-8".into());
    assert_eq!(with(vec![json.clone(), Some("max-age=1".into())]), ["up", "headers/[::1]:8000 up"]);
    let missing = "headers/[::1]:8000 down probe_header: strict-transport-security is nothing, expected to exist";
    assert_eq!(with(vec![json, None]), ["up", missing]);
}

fn deep(restart_on: &[&str], causes: &[(&str, &str)]) -> HttpProbe {
    let mut probe = http("http://127.0.0.1/deep");
    probe.components = Some(Components {
        ok: vec![text("ok"), Picked::Bool(true)],
        not_configured: vec![text("not_configured")],
        restart_on: restart_on.iter().map(|name| Str::from(*name)).collect(),
        causes: causes.iter().map(|(name, watch)| (Str::from(*name), crate::id::WatchId::new(*watch))).collect(),
    });
    probe
}

fn body(components: &[(&str, Picked)]) -> HttpAnswer {
    let components = components.iter().map(|(name, state)| (Str::from(*name), state.clone())).collect();
    HttpAnswer { components, ..answered(200) }
}

#[test]
fn a_component_that_is_not_well_is_told_of_and_leaves_the_service_up() {
    let body = body(&[
        ("db", text("ok")),
        ("cache", Picked::Bool(true)),
        ("s3", text("degraded")),
        ("mail", text("not_configured")),
        ("odd", Picked::Null),
    ]);
    assert_eq!(
        read(&deep(&[], &[("search", "service.search")]), HttpReading::Answered(body.clone())),
        [
            "up",
            "component/db up",
            "component/cache up",
            "component/s3 down component: component s3 is \"degraded\"",
            "component/mail down config: component mail is \"not_configured\"",
            "component/odd down component: component odd is null",
            "component/search unknown unreadable: unreadable: the body does not name it",
        ]
    );
    let needed = read(&deep(&["s3", "mail"], &[]), HttpReading::Answered(body.clone()));
    assert_eq!(needed[0], "down component: component s3 is \"degraded\"");
    let unset = read(&deep(&["mail"], &[]), HttpReading::Answered(body));
    assert_eq!(unset[0], "up", "no restart sets up what never was");
}

#[test]
fn components_of_a_bad_status_count_as_well() {
    let answer = HttpAnswer { status: 503, ..body(&[("db", text("down"))]) };
    let says = read(&deep(&[], &[]), HttpReading::Answered(answer));
    assert!(says[0].starts_with("down probe_status"), "{says:?}");
    assert_eq!(says[1], "component/db down component: component db is \"down\"");
}

#[test]
fn a_body_without_components_and_those_beyond_the_bound_are_said() {
    let none = read(&deep(&["db"], &[]), HttpReading::Answered(answered(200)));
    let says = "component/* unknown config: a mistake in what was declared: the body names no component";
    assert_eq!(none, ["up", says]);
    let many = HttpAnswer { components_left: 6, ..body(&[("db", text("ok"))]) };
    let many = read(&deep(&[], &[]), HttpReading::Answered(many));
    assert!(many[2].starts_with("component/* unknown unreadable: ") && many[2].contains("6 more"), "{many:?}");
}

#[test]
fn tcp() {
    let at = Where::Tcp { host: "db.example.org".into(), port: 5432 };
    let question = TcpQ { at, send: None, expect: Some("+PONG".into()) };
    let probe = TcpProbe { question, every: Ms::secs(10), timeout: Ms::secs(2) };
    let cases = [
        (TcpReading::Accepted { found: true, excerpt: "+PONG".into() }, "up"),
        (
            TcpReading::Accepted { found: false, excerpt: "-ERR".into() },
            "down probe_body: db.example.org:5432 says \"-ERR\", expected \"+PONG\"",
        ),
        (
            TcpReading::Silent("connection refused".into()),
            "down probe_silent: db.example.org:5432: connection refused",
        ),
        (TcpReading::TimedOut(Ms::secs(2)), "down probe_silent: db.example.org:5432: no answer in 2s"),
    ];
    for (reading, says) in cases {
        let judged = Declared::Tcp(&probe).judge(Now::default(), &Ok(Reading::Tcp(reading)));
        assert_eq!(shown(&judged), [says, "name/db.example.org up"]);
    }
    let unresolved = Ok(Reading::Tcp(TcpReading::Unresolved("no address".into())));
    let judged = Declared::Tcp(&probe).judge(Now::default(), &unresolved);
    let says = [
        "unknown probe: the probe itself failed: no address",
        "name/db.example.org down name_unresolved: no address",
    ];
    assert_eq!(shown(&judged), says);
}

#[test]
fn exec() {
    let question = ExecQ { run: vec!["/usr/bin/pg_isready".into(), "-q".into()], user: None, timeout: Ms::secs(5) };
    let probe =
        |on_timeout| ExecProbe { question: question.clone(), every: Ms::secs(30), down: vec![1, 4], on_timeout };
    let exited = |code, excerpt: &str| ExecReading::Exited { code, excerpt: excerpt.into() };
    let hung = || ExecReading::TimedOut { after: Ms::secs(5), excerpt: "".into() };
    let cases = [
        (OnTimeout::Unknown, exited(0, "ok"), "up"),
        (OnTimeout::Unknown, exited(1, "no"), "down probe_exec: /usr/bin/pg_isready: no"),
        (OnTimeout::Unknown, exited(4, "ill"), "down probe_exec: /usr/bin/pg_isready: ill"),
        (OnTimeout::Unknown, exited(1, ""), "down probe_exec: /usr/bin/pg_isready: exit status 1"),
        (
            OnTimeout::Unknown,
            exited(127, "no such file"),
            "unknown config: a mistake in what was declared: /usr/bin/pg_isready: no such file",
        ),
        (OnTimeout::Down, hung(), "down probe_exec: /usr/bin/pg_isready did not end in 5s"),
    ];
    for (on_timeout, reading, says) in cases {
        let judged = Declared::Exec(&probe(on_timeout)).judge(Now::default(), &Ok(Reading::Exec(reading)));
        assert_eq!(shown(&judged), [says]);
    }
    let neither = [exited(2, ""), exited(3, ""), hung(), ExecReading::Killed { signal: 11, excerpt: "".into() }];
    for reading in neither {
        let probe = probe(OnTimeout::Unknown);
        let judged = Declared::Exec(&probe).judge(Now::default(), &Ok(Reading::Exec(reading.clone())));
        assert!(shown(&judged)[0].starts_with("unknown probe: "), "{reading:?}: {judged:?}");
    }
}

#[test]
fn a_header_that_is_a_secret_makes_a_question_secret_and_stands_nowhere_in_it() {
    let mut question = HttpQ::get("https://127.0.0.1/", Vec::new());
    assert!(!question.tells_secrets());
    let value = Worth::Secret(Secret::Credential("api-token".into()));
    question.headers.push(crate::ask::Header { name: "Authorization".into(), value });
    assert!(question.tells_secrets());
    assert_eq!(question.method, Method::Get);
}

/// What ran out of time may be the host's own fault: how long it waited is told beside what it means.
#[test]
fn only_a_time_out_has_waited() {
    let tcp = TcpProbe {
        question: TcpQ { at: Where::Tcp { host: "127.0.0.1".into(), port: 1 }, send: None, expect: None },
        every: Ms::secs(10),
        timeout: Ms::secs(2),
    };
    let question = ExecQ { run: vec!["/bin/true".into()], user: None, timeout: Ms::secs(5) };
    let exec = ExecProbe { question, every: Ms::secs(30), down: vec![1], on_timeout: OnTimeout::Unknown };
    let http = http("http://127.0.0.1/");
    let exited = ExecReading::Exited { code: 0, excerpt: "ok".into() };
    let two = Some(Ms::secs(2));
    let table = [
        (Declared::Tcp(&tcp), Reading::Tcp(TcpReading::TimedOut(Ms::secs(2))), two, None),
        (Declared::Tcp(&tcp), Reading::Tcp(TcpReading::Silent("refused".into())), None, None),
        (
            Declared::Tcp(&tcp),
            Reading::Tcp(TcpReading::Accepted { found: true, excerpt: "hello".into() }),
            None,
            Some("hello"),
        ),
        (Declared::Tcp(&tcp), Reading::Tcp(TcpReading::Accepted { found: true, excerpt: "".into() }), None, None),
        (
            Declared::Exec(&exec),
            Reading::Exec(ExecReading::TimedOut { after: Ms::secs(2), excerpt: "so far".into() }),
            two,
            Some("so far"),
        ),
        (Declared::Exec(&exec), Reading::Exec(exited), None, Some("ok")),
        (Declared::Http(&http), Reading::Http(HttpReading::TimedOut(Ms::secs(2))), two, None),
        (Declared::Http(&http), Reading::Http(HttpReading::Silent("refused".into())), None, None),
    ];
    for (probe, reading, waited, excerpt) in table {
        let judged = probe.judge(Now::default(), &Ok(reading.clone()));
        assert_eq!((judged.waited, judged.excerpt.as_deref()), (waited, excerpt), "{reading:?}");
    }
}

/// Another unit that must run. That it does not exist or may not start is no failure of it.
#[test]
fn another_unit() {
    let probe = UnitProbe { unit: UnitName::new("db.service"), every: Ms::secs(60) };
    let unit = |load, active, job: Option<&str>| UnitReading {
        job: job.map(Into::into),
        load,
        active,
        ..crate::fixture::runs(Ms::ZERO)
    };
    let table = [
        (unit(Load::Loaded, Active::Active, None), "up"),
        (unit(Load::Loaded, Active::Reloading, None), "up"),
        (unit(Load::Loaded, Active::Active, Some("restart")), "nothing"),
        (unit(Load::Loaded, Active::Activating, None), "nothing"),
        (unit(Load::Loaded, Active::Failed, None), "down probe_unit: db.service has failed (success)"),
        (unit(Load::Loaded, Active::Inactive, None), "down probe_unit: db.service is not running (success)"),
        (
            unit(Load::Masked, Active::Inactive, None),
            "unknown config: a mistake in what was declared: db.service is masked",
        ),
    ];
    for (reading, says) in table {
        let judged = Declared::Unit(&probe).judge(Now::default(), &Ok(Reading::Unit(Box::new(reading.clone()))));
        assert_eq!(shown(&judged), [says], "{reading:?}");
    }
    let other = Declared::Unit(&probe).judge(Now::default(), &Ok(Reading::Mount(None)));
    assert!(shown(&other)[0].starts_with("unknown probe"), "another question's answer");
    let fault = Declared::Unit(&probe).judge(Now::default(), &Err(Fault::Timeout));
    assert!(shown(&fault)[0].starts_with("unknown timeout"));
    assert!(!Declared::Unit(&probe).shows_service() && Declared::Http(&http("http://127.0.0.1/")).shows_service());
}
