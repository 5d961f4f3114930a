//! Against real listeners on the loopback.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use hostward_core::ask::{Answer, Header, HttpAnswer, HttpQ, HttpReading, Picked, Reading, Secret, Worth};

use super::connect::Target;
use super::*;

const LONG: Duration = Duration::from_secs(20);

/// What the peer does after it has read the request.
enum Peer {
    Says(Vec<u8>),
    /// Says this, then keeps the connection open for ever.
    Hangs(&'static str),
}

/// Serves one connection; answers with its address, and the request once it was made.
async fn serve(peer: Peer) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request ended early");
        }
        match peer {
            // The prober may hang up before it has taken everything.
            Peer::Says(bytes) => drop(stream.write_all(&bytes).await),
            Peer::Hangs(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                std::future::pending::<()>().await;
            }
        }
        String::from_utf8(request).unwrap()
    });
    (address, task)
}

async fn ask(url: String, picks: &[&str], deadline: Duration) -> Answer {
    let q = HttpQ::get(url, picks.iter().map(|p| (*p).into()).collect());
    Client::default().probe(&q, deadline).await
}

async fn asked(peer: Peer, picks: &[&str], deadline: Duration) -> HttpReading {
    let (address, _task) = serve(peer).await;
    match ask(format!("http://{address}/health"), picks, deadline).await {
        Ok(Reading::Http(reading)) => reading,
        other => panic!("{other:?}"),
    }
}

fn response(status: &str, body: &str) -> Peer {
    Peer::Says(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

fn silent(text: &str) -> HttpReading {
    HttpReading::Silent(text.into())
}

#[tokio::test]
async fn the_request_is_what_a_service_expects_of_a_probe() {
    let (address, task) = serve(response("204 No Content", "")).await;
    let answer = ask(format!("http://{address}/a%20b?c=d#e"), &[], LONG).await;
    assert!(matches!(answer, Ok(Reading::Http(HttpReading::Answered(HttpAnswer { status: 204, .. })))), "{answer:?}");
    let request = task.await.unwrap().to_lowercase();
    let mut lines: Vec<&str> = request.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "get /a%20b?c=d http/1.1");
    lines.sort_unstable();
    let (host, agent) = (format!("host: {address}"), format!("user-agent: hostward/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(lines, ["accept: */*", "connection: close", &host, &agent]);
}

#[tokio::test]
async fn any_status_is_an_answer_and_a_redirect_is_not_followed() {
    for (status, number) in [("200 OK", 200), ("302 Found\r\nLocation: http://127.0.0.1:1/", 302), ("503 No", 503)] {
        let reading = asked(response(status, "no\tjson\u{7}"), &["/a"], LONG).await;
        let excerpt = "no json".into();
        let picked = vec![vec![]];
        let answer = HttpAnswer { status: number, picked, excerpt, ..HttpAnswer::default() };
        assert_eq!(reading, HttpReading::Answered(answer));
    }
}

#[tokio::test]
async fn nobody_there_is_silence_with_its_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for host in ["127.0.0.1", "localhost"] {
        let answer = ask(format!("http://{host}:{}/", address.port()), &[], LONG).await;
        assert_eq!(answer, Ok(Reading::Http(silent("connection refused"))), "{host}");
    }
}

#[tokio::test]
async fn a_peer_that_waits_has_timed_out_at_the_deadline_also_in_the_middle() {
    let soon = Duration::from_millis(300);
    for text in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"] {
        assert_eq!(asked(Peer::Hangs(text), &[], soon).await, HttpReading::TimedOut(Ms(300)), "{text:?}");
    }
}

#[tokio::test]
async fn what_ends_early_or_is_not_http_is_silence() {
    let says = |text: &str| Peer::Says(text.as_bytes().to_vec());
    for text in ["", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"] {
        let HttpReading::Silent(why) = asked(says(text), &[], LONG).await else { panic!("{text:?} was an answer") };
        assert!(why.contains("closed before") || why.contains("reset"), "{text:?}: {why}");
    }
    let HttpReading::Silent(why) = asked(says("SSH-2.0-OpenSSH_9.2\r\n\r\n"), &[], LONG).await else { panic!() };
    assert!(why.contains("not HTTP"), "{why}");
}

#[tokio::test]
async fn a_body_is_cut_at_its_cap_and_the_rest_is_not_waited_for() {
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n[".to_vec();
    endless.resize(MAX_BODY * 4, b'1');
    let HttpReading::Answered(HttpAnswer { status, json, excerpt, cut, .. }) =
        asked(Peer::Says(endless), &[], LONG).await
    else {
        panic!("not answered")
    };
    assert_eq!((status, json, excerpt.chars().count(), cut), (200, false, 200, true));
}

#[tokio::test]
async fn pointers_pick_scalars_and_a_star_picks_every_member() {
    let body = r#"{"checks":{"db":{"status":"ok","ms":1.5},"s3":{"status":"down"}},"n":[10,20,30],
        "a/b":{"~":true},"*":null,"deep":{"list":[[1,2],[3]]},"long":"LONG"}"#
        .replace("LONG", &"ä".repeat(500));
    let text = |t: &str| Picked::Text(t.into());
    let number = |n: &str| Picked::Number(n.into());
    let cases: [(&str, Vec<Picked>); 15] = [
        ("/checks/db/status", vec![text("ok")]),
        ("/checks/*/status", vec![text("ok"), text("down")]),
        ("/checks/*/ms", vec![number("1.5")]),
        ("/checks/db", vec![Picked::Object(2)]),
        ("/n", vec![Picked::Array(3)]),
        ("/n/1", vec![number("20")]),
        ("/n/01", vec![]),
        ("/n/3", vec![]),
        ("/n/*", vec![number("10"), number("20"), number("30")]),
        ("/a~1b/~0", vec![Picked::Bool(true)]),
        ("/deep/list/*/*", vec![number("1"), number("2"), number("3")]),
        ("/nothing/here", vec![]),
        ("", vec![Picked::Object(6)]),
        ("no-slash", vec![]),
        ("/long", vec![text(&"ä".repeat(200))]),
    ];
    let picks: Vec<&str> = cases.iter().map(|(pick, _)| *pick).collect();
    let HttpReading::Answered(HttpAnswer { picked, json, .. }) = asked(response("200 OK", &body), &picks, LONG).await
    else {
        panic!("not answered")
    };
    assert!(json);
    for ((pick, wanted), found) in cases.iter().zip(&picked) {
        assert_eq!(found, wanted, "{pick}");
    }
    let many = format!("[{}0]", "0,".repeat(500));
    let HttpReading::Answered(HttpAnswer { picked, .. }) = asked(response("200 OK", &many), &["/*"], LONG).await
    else {
        panic!()
    };
    assert_eq!(picked[0].len(), 64);
}

#[tokio::test]
async fn a_url_that_we_cannot_ask_is_a_fault() {
    for url in ["ftp://127.0.0.1/", "/health", "http://", "http://user:pw@127.0.0.1/", "http://127.0.0.1:x/", "a b"] {
        let answer = ask(url.into(), &[], LONG).await;
        assert!(matches!(answer, Err(Fault::Unreadable(_))), "{url}: {answer:?}");
        assert!(!format!("{answer:?}").contains("pw"), "{answer:?}");
    }
}

#[test]
fn a_url_is_taken_apart() {
    let cases = [
        ("http://127.0.0.1:8000/health", ("127.0.0.1", 8000, "/health")),
        ("http://[::1]:81?q=1", ("::1", 81, "/?q=1")),
        ("http://example.org", ("example.org", 80, "/")),
    ];
    for (url, (host, port, path)) in cases {
        let target = Target::parse(url).unwrap();
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), (host, port, path), "{url}");
        let secure = Target::parse(&url.replacen("http", "https", 1)).unwrap();
        assert_eq!((secure.scheme, secure.port), (Scheme::Https, if port == 80 { 443 } else { port }), "{url}");
    }
}

async fn answered(peer: Peer, change: impl FnOnce(&mut HttpQ)) -> HttpAnswer {
    let (address, _task) = serve(peer).await;
    let mut q = HttpQ::get(format!("http://{address}/health"), Vec::new());
    change(&mut q);
    match Client::default().probe(&q, LONG).await {
        Ok(Reading::Http(HttpReading::Answered(answer))) => answer,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn texts_and_headers_are_looked_for() {
    let head = "200 OK\r\nContent-Type: application/json; charset=utf-8\r\nX-Odd: \u{fffd}";
    let answer = answered(response(head, "all is well"), |q| {
        q.texts = vec!["is well".into(), "is ill".into()];
        q.shown = ["content-type", "x-odd", "etag"].map(Into::into).to_vec();
    });
    let answer = answer.await;
    assert_eq!(answer.texts, [true, false]);
    let shown = [Some("application/json; charset=utf-8".into()), Some("\u{fffd}".into()), None];
    assert_eq!(answer.shown, shown);
}

#[tokio::test]
async fn components_are_named_by_the_wildcards_member_and_bounded() {
    let body = r#"{"checks":{"db":{"status":"ok"},"s3.eu-1":{"status":"degraded"},"b\nd":{"status":"ok"},"x":{}}}"#;
    let answer = answered(response("503 No", body), |q| q.components = Some("/checks/*/status".into())).await;
    let text = |text: &str| Picked::Text(text.into());
    assert_eq!(answer.components, [("db".into(), text("ok")), ("s3.eu-1".into(), text("degraded"))]);
    assert_eq!((answer.status, answer.components_left), (503, 1), "one has no name that can be shown");
    let members: Vec<String> = (0..100).map(|n| format!("\"c{n:03}\":true")).collect();
    let many = response("200 OK", &format!("{{{}}}", members.join(",")));
    let answer = answered(many, |q| q.components = Some("/*".into())).await;
    assert_eq!((answer.components.len(), answer.components_left), (64, 36));
    assert_eq!(answer.components.last(), Some(&("c063".into(), Picked::Bool(true))));
}

#[tokio::test]
async fn a_secret_goes_out_and_comes_back_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(options.create(true).write(true), 0o600);
    std::io::Write::write_all(&mut options.open(&file).unwrap(), b"Bearer sesame\n").unwrap();
    let body = r#"{"you said":"sesame","a":"Bearer sesame"}"#;
    let echo = response("401 No\r\nX-Echo: got sesame", body);
    let (address, task) = serve(echo).await;
    let mut q = HttpQ::get(format!("http://{address}/"), vec!["/a".into()]);
    q.headers = vec![Header { name: "authorization".into(), value: Worth::Secret(Secret::File(file)) }];
    q.shown = vec!["x-echo".into()];
    let answer = Client::default().probe(&q, LONG).await;
    assert!(task.await.unwrap().contains("authorization: Bearer sesame\r\n"));
    let shown = format!("{answer:?} {}", serde_json::to_string(&answer.clone().unwrap()).unwrap());
    assert!(shown.contains("got ***") && !shown.contains("sesame"), "{shown}");
    assert!(!serde_json::to_string(&q).unwrap().contains("sesame"));
}

#[tokio::test]
async fn a_secret_that_is_missing_is_a_mistake_in_what_was_declared_and_nothing_is_asked() {
    let mut q = HttpQ::get("http://127.0.0.1:1/", Vec::new());
    let missing = Worth::Secret(Secret::File("/nonexistent/secret".into()));
    q.headers = vec![Header { name: "authorization".into(), value: missing }];
    let answer = Client::default().probe(&q, LONG).await;
    assert!(matches!(&answer, Err(Fault::Config(why)) if why.contains("/nonexistent/secret")), "{answer:?}");
}

#[tokio::test]
async fn thirty_two_black_holes_never_delay_who_answers() {
    let client = Client::default();
    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", hole.local_addr().unwrap());
    let held: Vec<_> = (0..32)
        .map(|_| {
            let (client, q) = (client.clone(), HttpQ::get(url.clone(), Vec::new()));
            tokio::spawn(async move { client.probe(&q, LONG).await })
        })
        .collect();
    // Each of them is connected.
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(hole.accept().await.unwrap());
    }
    let answer = answered(response("200 OK", "well"), |_| {}).await;
    assert_eq!(answer.status, 200);
    assert!(held.iter().all(|probe| !probe.is_finished()), "the answer came while all of them were waited for");
    for probe in held {
        probe.abort();
    }
}
