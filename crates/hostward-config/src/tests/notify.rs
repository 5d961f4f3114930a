//! `[notify]`: what is read, what is refused and how, and that no secret is ever shown.

use hostward_core::ask::Secret;
use hostward_core::notify::{Pattern, Rule, Severity};
use hostward_core::policy::Budget;
use hostward_core::time::Ms;

use super::{bad, good, line};
use crate::{Deadman, Notifier, Way};

const WATCHES: &str = "[service.api]\nunit = \"api.service\"\n[service.db]\nunit = \"db.service\"\n";

#[test]
fn every_way_is_read() {
    let text = format!(
        "{WATCHES}
        [notify.ops]
        watches  = [\"service.*\"]
        severity = \"critical\"
        after    = \"2min\"
        remind   = \"4h\"
        limit    = \"5 per 10min\"
        webhook  = {{ url = {{ credential = \"ops.url\" }}, token = {{ file = \"/etc/hostward/ops.token\" }} }}
        [notify.phone.ntfy]
        url  = {{ file = \"/etc/hostward/ntfy.url\" }}
        tags = [\"rotating_light\", \"+1\"]
        [notify.mail]
        sendmail = {{ to = [\"root\", \"ops@example.org\"], from = \"hostward@example.org\" }}
        [notify.checks.healthchecks]
        url   = {{ credential = \"hc\" }}
        every = \"5min\"
        [notify.deadman]
        url   = {{ credential = \"deadman\" }}
        every = \"30s\""
    );
    let notify = good(&text).export.notify;
    let credential = |name: &str| Secret::Credential(name.into());
    let rule = Rule {
        watches: vec![Pattern::new("service.*")],
        severity: Severity::Critical,
        after: Ms::mins(2),
        remind: Some(Ms::hours(4)),
        limit: Budget { cost: 5, per: Ms::mins(10) },
    };
    let token = Some(Secret::File("/etc/hostward/ops.token".into()));
    let plain = |way: Way| Notifier { rule: Rule::default(), way };
    let ntfy = Way::Ntfy {
        url: Secret::File("/etc/hostward/ntfy.url".into()),
        token: None,
        tags: vec!["rotating_light".into(), "+1".into()],
    };
    let mail = Way::Sendmail {
        to: vec!["root".into(), "ops@example.org".into()],
        from: Some("hostward@example.org".into()),
        program: "/usr/sbin/sendmail".into(),
    };
    let checks = Way::Healthchecks { url: credential("hc"), every: Some(Ms::mins(5)) };
    let want = [
        ("ops", Notifier { rule, way: Way::Webhook { url: credential("ops.url"), token } }),
        ("phone", plain(ntfy)),
        ("mail", plain(mail)),
        ("checks", plain(checks)),
    ];
    assert_eq!(notify.notifiers, want.into_iter().map(|(name, of)| (name.into(), of)).collect());
    assert_eq!(notify.deadman, Some(Deadman { url: credential("deadman"), every: Ms::secs(30) }));
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_to_write() {
    let url = "url = { credential = \"c\" }";
    let cases = [
        ("[notify.a]", "1:9 [notify.a] says no way | add webhook, healthchecks, ntfy or sendmail".to_owned()),
        (
            &format!("[notify.a]\nwebhook = {{ {url} }}\nntfy = {{ {url} }}"),
            "1:9 [notify.a] says more than one way | give each a [notify.NAME] of its own".to_owned(),
        ),
        (
            &format!("[notify.a]\nwebhok = {{ {url} }}\nntfy = {{ {url} }}"),
            "2:1 unknown key `webhok` in [notify.a] | did you mean `webhook`?".to_owned(),
        ),
        (
            &format!("[notify.a]\nseverity = \"critcal\"\nwebhook = {{ {url} }}"),
            "2:12 `critcal` is no severity | did you mean `critical`?".to_owned(),
        ),
        (
            &format!("[notify.a]\nwatches = [\"servce.*\"]\nwebhook = {{ {url} }}"),
            "2:12 no watch is meant by `servce.*` | did you mean `service.*`?".to_owned(),
        ),
        (
            &format!("[notify.a]\nwatches = [\"service.api\", \"service.apo\"]\nwebhook = {{ {url} }}"),
            "2:27 no watch is meant by `service.apo` | did you mean `service.api`?".to_owned(),
        ),
        (
            &format!("[notify.a]\nremind = \"5s\"\nwebhook = {{ {url} }}"),
            "2:10 `5s` is too short | at least 1m".to_owned(),
        ),
        (
            &format!("[notify.a]\nlimit = \"0 per 1h\"\nwebhook = {{ {url} }}"),
            "2:9 a limit of nothing | take the notifier out instead".to_owned(),
        ),
        ("[notify.a]\nsendmail = {}", "2:1 [notify.a.sendmail] has no `to` | add to = [\"root\"]".to_owned()),
        (
            "[notify.a]\nsendmail.to = [\"root\\nBcc: eve@example.org\"]",
            "2:16 this is no address | letters, digits and ._%+-=@".to_owned(),
        ),
        (&format!("[notify.deadman]\nevery = \"1s\"\n{url}"), "2:9 `1s` is too short | at least 15s".to_owned()),
        (
            "[notify.deadman]\nurl = { credential = \"a\", file = \"/b\" }",
            "2:1 `url` is kept in one place | write url = { credential = \"NAME\" } (LoadCredential=), or { file = \
             \"/etc/hostward/NAME\" } of mode 0600"
                .to_owned(),
        ),
        (
            "[notify.deadman]\nurl = { file = \"/tmp/url\" }",
            "2:16 a secret in /tmp | keep it in /etc/hostward, root's, mode 0600".to_owned(),
        ),
    ];
    for (text, want) in cases {
        let said: Vec<String> = bad(&format!("{text}\n{WATCHES}")).errors.iter().map(line).collect();
        assert_eq!(said, [want], "{text}");
    }
}

#[test]
fn a_secret_is_refused_and_never_shown() {
    let texts = [
        "[notify.a]\nwebhook.url = \"https://hooks.example.org/HUNTER2\"",
        "[notify.a]\nwebhook = \"https://hooks.example.org/HUNTER2\"",
        "[notify.a]\nwebhook = { url = \"https://hooks.example.org/HUNTER2\", tokn = 1 }",
        "[notify.a]\nntfy = { url = { credential = \"c\" }, token = \"HUNTER2\" }",
        "[notify.a]\nwebhook.url = { file = \"https://hooks.example.org/HUNTER2\" }",
        "[notify.a]\nwebhook.url = { credential = \"https://hooks.example.org/HUNTER2\" }",
        "[notify.deadman]\nurl = \"https://hc.example.org/HUNTER2\"",
        "[notify.deadman]\nurl = https://hc.example.org/HUNTER2",
        "[notify.deadman]\nurl = \"https://hc.example.org/HUNTER2",
        "notify.deadman.url = 'https://hc.example.org/HUNTER2",
        "[notify.a]\nextra = [\"HUNTER2\"]\nwebhook.url = { credential = \"c\" }",
    ];
    for text in texts {
        let rejected = bad(text);
        for shown in [rejected.render(false), rejected.to_string(), format!("{:?}", rejected.errors)] {
            assert!(!shown.contains("HUNTER2"), "{text}\n{shown}");
        }
    }
}
