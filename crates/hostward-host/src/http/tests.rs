//! Against real listeners on the loopback.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use hostward_core::ask::{Answer, HttpQ, HttpReading, Picked, Reading};

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
    let q = HttpQ { url: url.into(), picks: picks.iter().map(|p| (*p).into()).collect() };
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
    assert!(matches!(answer, Ok(Reading::Http(HttpReading::Answered { status: 204, .. }))), "{answer:?}");
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
        let excerpt = "no json ".into();
        assert_eq!(reading, HttpReading::Answered { status: number, picked: vec![vec![]], json: false, excerpt });
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
    let HttpReading::Answered { status, json, excerpt, .. } = asked(Peer::Says(endless), &[], LONG).await else {
        panic!("not answered")
    };
    assert_eq!((status, json, excerpt.chars().count()), (200, false, 200));
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
    let HttpReading::Answered { picked, json, .. } = asked(response("200 OK", &body), &picks, LONG).await else {
        panic!("not answered")
    };
    assert!(json);
    for ((pick, wanted), found) in cases.iter().zip(&picked) {
        assert_eq!(found, wanted, "{pick}");
    }
    let many = format!("[{}0]", "0,".repeat(500));
    let HttpReading::Answered { picked, .. } = asked(response("200 OK", &many), &["/*"], LONG).await else {
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
