//! What probes are pointed at: a server that answers and counts, and holes that never do.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use anyhow::{Context, Result};

/// Connections of one hole that stay open: more than anybody waits at.
const HELD: usize = 16;

/// Answers 200 to whoever asks, one connection after the other, and to `/count` with how many others it answered.
pub(super) fn server(port: u16) -> Result<()> {
    let listener = listen(port)?;
    let mut count: u64 = 0;
    for stream in listener.incoming() {
        let mut stream = stream.context("accept")?;
        let mut request = [0; 2048];
        let Ok(read) = stream.read(&mut request) else { continue };
        let body = if request[..read].starts_with(b"GET /count ") {
            count.to_string()
        } else {
            count += 1;
            "ok".to_owned()
        };
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        // Whoever went away will say so itself.
        let _ = stream.write_all((head + &body).as_bytes());
    }
    Ok(())
}

/// Half of them accept and never answer; the other half never accept, so that the kernel at first completes connections
/// for them, and drops what comes once their backlog is full.
pub(super) fn holes(count: u16, first: u16) -> Result<()> {
    let mut threads = Vec::new();
    for n in 0..count {
        let listener = listen(first + n)?;
        threads.push(thread::spawn(move || {
            if n % 2 == 1 {
                loop {
                    thread::park();
                }
            }
            let mut held = VecDeque::new();
            for stream in listener.incoming().flatten() {
                held.push_back(stream);
                if held.len() > HELD {
                    held.pop_front();
                }
            }
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("listen at port {port}"))
}
