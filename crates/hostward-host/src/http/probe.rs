//! The HTTP question of a service, asked: a response, or its absence, as a reading.

use std::time::{Duration, Instant};

use hostward_core::ask::{self, Answer, Fault, HttpQ, HttpReading, Reading, Worth};
use hostward_core::time::Ms;
use hyper::body::Bytes;

use super::body;
use super::{Client, Failure, Method, Request, Verify};
use crate::secret;
use crate::veil::Veil;

impl Client {
    /// Asks, and answers within `deadline`.
    ///
    /// Cancel-safe: dropped, it closes its connection.
    pub async fn probe(&self, q: &HttpQ, deadline: Duration) -> Answer {
        let began = Instant::now();
        let (request, veil) = match tokio::time::timeout(deadline, request(q)).await {
            Ok(made) => made?,
            Err(_) => return Err(Fault::Timeout),
        };
        let reading = match self.send(&request, deadline.saturating_sub(began.elapsed())).await {
            Ok(response) => HttpReading::Answered(body::answer(q, &response, &veil)),
            Err(Failure::Silent(why)) => HttpReading::Silent(why),
            Err(Failure::TimedOut(_)) => {
                HttpReading::TimedOut(Ms(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)))
            }
            Err(Failure::Untrusted(why)) => HttpReading::Untrusted(why),
            Err(Failure::Unresolved(why)) => HttpReading::Unresolved(why),
            Err(Failure::Ours(fault)) => return Err(fault),
        };
        Ok(Reading::Http(reading))
    }
}

async fn request(q: &HttpQ) -> Result<(Request, Veil), Fault> {
    // A service whose certificate has expired still serves; a secret is told only to who proves who he is.
    let verify = if q.tells_secrets() { Verify::Require } else { Verify::Note };
    let mut request = Request { verify, ..Request::new(method(q.method), q.url.clone()) };
    request.unix.clone_from(&q.unix);
    request.ca.clone_from(&q.ca);
    request.server_name.clone_from(&q.server_name);
    request.body = q.body.as_ref().map_or_else(Bytes::new, |body| Bytes::copy_from_slice(body.as_bytes()));
    if let Some(max) = q.body_max {
        request.body_max = usize::try_from(max).unwrap_or(usize::MAX);
    }
    let mut veil = Veil::default();
    for header in &q.headers {
        match &header.value {
            Worth::Plain(value) => request.header(&header.name, value)?,
            Worth::Secret(kept) => {
                let value = secret::look(kept).await?;
                request.secret(&header.name, &value)?;
                veil.over(&value);
            }
        }
    }
    Ok((request, veil))
}

fn method(method: ask::Method) -> Method {
    match method {
        ask::Method::Get => Method::GET,
        ask::Method::Head => Method::HEAD,
        ask::Method::Post => Method::POST,
        ask::Method::Put => Method::PUT,
        ask::Method::Options => Method::OPTIONS,
    }
}
