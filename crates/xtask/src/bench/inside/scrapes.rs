//! Scrapes, beside the least that any server could do: the same bytes, written from memory.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Scrapes before the first that counts.
const WARM_UP: usize = 20;
const PATIENCE: Duration = Duration::from_secs(5);

/// Nanoseconds of each scrape: of `address`, and of the floor.
pub(super) fn scrapes(runs: usize, address: &str) -> Result<[Vec<u64>; 2]> {
    let address: SocketAddr = address.parse().with_context(|| format!("read the address '{address}'"))?;
    let bytes = scrape(address)?.1;
    ensure!(bytes.starts_with(b"HTTP/1.1 200"), "{address} says: {}", String::from_utf8_lossy(&bytes));
    let floor = serve(bytes)?;
    let mut nanos = [Vec::with_capacity(runs), Vec::with_capacity(runs)];
    for run in 0..runs + WARM_UP {
        for (at, nanos) in [address, floor].into_iter().zip(&mut nanos) {
            let took = scrape(at)?.0;
            if run >= WARM_UP {
                nanos.push(u64::try_from(took.as_nanos())?);
            }
        }
    }
    Ok(nanos)
}

/// Connect to end of file.
fn scrape(address: SocketAddr) -> Result<(Duration, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(64 << 10);
    let started = Instant::now();
    let mut stream =
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    stream.read_to_end(&mut bytes).with_context(|| format!("read from {address}"))?;
    Ok((started.elapsed(), bytes))
}

/// Serves one connection after the other until this process ends.
fn serve(bytes: Vec<u8>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen for the floor's scrapes")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 1024];
            // A scraper that went away will say so itself.
            let _ = stream.read(&mut request).and_then(|_| stream.write_all(&bytes));
        }
    });
    Ok(address)
}
