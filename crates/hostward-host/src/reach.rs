//! Reach: whether what a remedy cannot do without answers at all. A connection is made and closed; nothing is sent.

use std::time::Duration;

use hostward_core::ask::Fault;
use hostward_core::id::Str;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::files;

/// A mirror on the other side of the world answers within a second; this must stay below the gate's own deadline.
const WITHIN: Duration = Duration::from_secs(3);

/// Why `tcp:HOST:PORT` does not answer; none: it does, or nothing is declared.
pub async fn look(reach: Option<&str>) -> Result<Option<Str>, Fault> {
    let Some(reach) = reach else { return Ok(None) };
    let Some(address) = reach.strip_prefix("tcp:") else {
        return Err(Fault::Unreadable(format!("reach '{reach}' is not tcp:HOST:PORT").into()));
    };
    Ok(match timeout(WITHIN, TcpStream::connect(address)).await {
        Ok(Ok(_)) => None,
        Ok(Err(e)) if rustix::io::Errno::from_io_error(&e).is_some_and(files::is_exhaustion) => {
            return Err(Fault::Probe(format!("connect to {address}: {e}").into()));
        }
        Ok(Err(e)) => Some(format!("{address}: {e}").into()),
        Err(_) => Some(format!("{address}: no answer in {} s", WITHIN.as_secs()).into()),
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_listens_is_reached_and_who_does_not_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp:{}", listener.local_addr().unwrap());
        assert_eq!(look(Some(&address)).await, Ok(None));
        assert_eq!(look(None).await, Ok(None));
        drop(listener);
        let refused = look(Some(&address)).await.unwrap().unwrap();
        assert!(refused.starts_with("127.0.0.1:") && refused.contains("refused"), "{refused}");
        assert!(look(Some("udp:127.0.0.1:1")).await.is_err());
    }
}
