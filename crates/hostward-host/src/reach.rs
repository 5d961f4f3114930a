//! Reach: whether what a remedy cannot do without answers at all. A connection is made and closed; nothing is sent.

use std::time::Duration;

use hostward_core::ask::Fault;
use hostward_core::id::Str;
use tokio::time::timeout;

use crate::http::{Failure, connect};

/// A mirror on the other side of the world answers within a second; this must stay below the gate's own deadline.
const WITHIN: Duration = Duration::from_secs(3);

/// Why `tcp:HOST:PORT` does not answer; none: it does, or nothing is declared.
pub async fn look(reach: Option<&str>) -> Result<Option<Str>, Fault> {
    let Some(reach) = reach else { return Ok(None) };
    let Some(address) = reach.strip_prefix("tcp:") else {
        return Err(Fault::Unreadable(format!("reach '{reach}' is not tcp:HOST:PORT").into()));
    };
    let Some((host, port)) = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)))
    else {
        return Err(Fault::Unreadable(format!("reach '{reach}' is not tcp:HOST:PORT").into()));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let made = async { connect::tcp(&connect::resolve(host, port).await?).await };
    Ok(match timeout(WITHIN, made).await {
        Ok(Ok(_)) => None,
        Ok(Err(Failure::Ours(fault))) => return Err(fault),
        Ok(Err(why)) => Some(format!("{address}: {why}").into()),
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
