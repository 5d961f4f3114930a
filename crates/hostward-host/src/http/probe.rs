//! The HTTP question of a service, asked: a response, or its absence, as a reading.

use std::time::Duration;

use hostward_core::ask::{Answer, Fault, HttpQ, HttpReading, Reading};

use super::{Client, Failure, Method, Request, Verify, body};

impl Client {
    /// Asks, and answers within `deadline`.
    ///
    /// Cancel-safe: dropped, it closes its connection.
    pub async fn probe(&self, q: &HttpQ, deadline: Duration) -> Answer {
        let request = Request { verify: Verify::Note, ..Request::new(Method::GET, q.url.clone()) };
        match self.send(&request, deadline).await {
            Ok(response) => Ok(Reading::Http(body::reading(response.status, &response.body, &q.picks))),
            Err(Failure::Silent(why)) => Ok(Reading::Http(HttpReading::Silent(why))),
            Err(Failure::TimedOut(after)) => Ok(Reading::Http(HttpReading::TimedOut(after))),
            Err(Failure::Untrusted(why) | Failure::Unresolved(why)) => Err(Fault::Probe(why)),
            Err(Failure::Ours(fault)) => Err(fault),
        }
    }
}
