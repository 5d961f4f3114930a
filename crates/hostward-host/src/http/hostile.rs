//! Peers that answer, and never come to an end or make no sense: each is bounded and named, whatever it sends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use hostward_core::ask::{HttpAnswer, HttpQ, HttpReading, Reading};

use super::*;

const LONG: Duration = Duration::from_secs(20);
const GIB: usize = 1024 * 1024 * 1024;

/// Says `head`, then `chunk` again and again, with a pause before each, until it has said `total` bytes or nobody listens.
/// The count is what it got rid of.
async fn serve(
    head: &'static str,
    chunk: Vec<u8>,
    total: usize,
    pause: Duration,
) -> (SocketAddr, Arc<AtomicUsize>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let said = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&said);
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request ended early");
        }
        stream.write_all(head.as_bytes()).await.unwrap();
        while count.load(Ordering::Relaxed) < total {
            tokio::time::sleep(pause).await;
            if stream.write_all(&chunk).await.is_err() {
                return;
            }
            count.fetch_add(chunk.len(), Ordering::Relaxed);
        }
    });
    (address, said, task)
}

async fn ask(address: SocketAddr, deadline: Duration, change: impl FnOnce(&mut HttpQ)) -> HttpReading {
    let mut q = HttpQ::get(format!("http://{address}/health"), Vec::new());
    change(&mut q);
    match Client::default().probe(&q, deadline).await {
        Ok(Reading::Http(reading)) => reading,
        other => panic!("{other:?}"),
    }
}

/// That something comes all the time gives it no more time.
#[tokio::test]
async fn a_peer_that_says_a_byte_now_and_then_has_timed_out_at_the_deadline() {
    let often = Duration::from_millis(20);
    for head in ["HTTP/1.1 200 ", "HTTP/1.1 200 OK\r\nX-Long: ", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"]
    {
        let (address, said, task) = serve(head, b"a".to_vec(), GIB, often).await;
        let reading = ask(address, Duration::from_millis(400), |_| {}).await;
        assert_eq!(reading, HttpReading::TimedOut(Ms(400)), "{head:?}");
        // Twenty at most, were the machine never late.
        let said = said.load(Ordering::Relaxed);
        assert!((2..200).contains(&said), "{head:?}: it was listened to for {said} bytes");
        // Nobody is left who listens: its next words fail.
        tokio::time::timeout(LONG, task).await.expect("the connection is closed").unwrap();
    }
}

/// With a length, in chunks, and until the end: no more is taken than the cap, and what sockets hold.
#[tokio::test]
async fn of_a_body_of_a_gibibyte_no_more_is_taken_than_the_cap() {
    let plain = || vec![b'1'; 64 * 1024];
    let chunked = [b"10000\r\n".to_vec(), plain(), b"\r\n".to_vec()].concat();
    let bodies = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", plain()),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunked),
        ("HTTP/1.1 200 OK\r\n\r\n", plain()),
    ];
    for (head, chunk) in bodies {
        let (address, said, task) = serve(head, chunk, GIB, Duration::ZERO).await;
        let reading = ask(address, LONG, |q| q.texts = vec!["2".into()]).await;
        let HttpReading::Answered(HttpAnswer { status, cut, texts, excerpt, .. }) = reading else {
            panic!("{head:?}: {reading:?}")
        };
        assert_eq!((status, cut, texts, excerpt.len()), (200, true, vec![false], 200), "{head:?}");
        tokio::time::timeout(LONG, task).await.expect("the connection is closed").unwrap();
        let said = said.load(Ordering::Relaxed);
        assert!(said < GIB / 32, "{head:?}: it got rid of {said} bytes");
    }
}

#[tokio::test]
async fn a_head_without_end_is_named_and_bounded() {
    let line = b"X-More: and more of it\r\n".repeat(100);
    let (address, said, task) = serve("HTTP/1.1 200 OK\r\n", line, GIB, Duration::ZERO).await;
    let HttpReading::Silent(why) = ask(address, LONG, |_| {}).await else { panic!("it was an answer") };
    assert!(why.contains("not HTTP") && why.contains("too large"), "{why}");
    tokio::time::timeout(LONG, task).await.expect("the connection is closed").unwrap();
    let said = said.load(Ordering::Relaxed);
    assert!(said < GIB / 32, "it got rid of {said} bytes");
}

/// It is no JSON, and is shown as far as it is text.
#[tokio::test]
async fn a_body_that_is_no_utf_8_is_an_answer_and_no_json() {
    let body = b"{\"ok\":true,\"name\":\"\xff\xfe\xc3\"}".to_vec();
    let length = body.len();
    let (address, _, _task) =
        serve("HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n", body, length, Duration::ZERO).await;
    let reading = ask(address, LONG, |q| {
        q.picks = vec!["/ok".into()];
        q.texts = vec!["\"ok\":true".into(), "\u{fffd}".into()];
        q.components = Some("/*".into());
    });
    let HttpReading::Answered(answer) = reading.await else { panic!("not answered") };
    assert_eq!((length, answer.json, answer.cut, answer.picked.as_slice()), (24, false, false, [vec![]].as_slice()));
    assert!(answer.components.is_empty());
    assert!(answer.excerpt.starts_with("{\"ok\":true,\"name\":\"\u{fffd}"), "{}", answer.excerpt);
    assert!(answer.texts[0]);
}
