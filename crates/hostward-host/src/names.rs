//! From a name to its addresses.
//!
//! getaddrinfo blocks a thread for as long as its servers are silent, ten seconds and more, and cannot be cancelled: one
//! look a name at a time, and few at once. Rule: dependencies.md, "DNS".

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock};

use hostward_core::ask::Fault;
use hostward_core::id::Str;

use crate::flight::Flights;

/// Looks at once: a domain whose servers are dead must not keep the names of others from being found.
pub(crate) const PLACES: usize = 4;

/// The process's: so are its threads.
pub(crate) static NAMES: LazyLock<Names> = LazyLock::new(|| Names::by(getaddrinfo));

type Found = Result<Vec<IpAddr>, Str>;

/// Addresses of names, by one way to find them.
pub(crate) struct Names {
    flights: Flights<Str, Found>,
    look: Arc<dyn Fn(&str) -> Found + Send + Sync>,
}

impl Names {
    fn by(look: impl Fn(&str) -> Found + Send + Sync + 'static) -> Names {
        Names { flights: Flights::new(PLACES), look: Arc::new(look) }
    }

    /// The addresses of one name, or why there are none. A fault is our own. There is no deadline here.
    ///
    /// Cancel-safe.
    pub(crate) async fn find(&self, name: &str) -> Result<Found, Fault> {
        let (name, look) = (Str::from(name), Arc::clone(&self.look));
        self.flights.ask(&name.clone(), move || look(&name)).await
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.flights.fmt(f)
    }
}

fn getaddrinfo(name: &str) -> Found {
    let found = (name, 0).to_socket_addrs().map_err(|e: io::Error| Str::from(e.to_string()))?;
    Ok(found.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::flight::tests::Hang;

    #[tokio::test]
    async fn a_dead_domain_costs_one_thread_a_name_and_others_are_found_beside_it() {
        let (hang, release) = Hang::new();
        let dead = hang.clone();
        let names = Names::by(move |name| {
            if name.starts_with("dead") {
                dead.look();
            }
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        });
        for _ in 0..20 {
            for name in ["dead-a", "dead-b", "dead-c"] {
                let waited = tokio::time::timeout(Duration::from_millis(5), names.find(name)).await;
                assert!(waited.is_err(), "{waited:?}");
            }
        }
        let found = tokio::time::timeout(Duration::from_secs(20), names.find("alive")).await;
        assert_eq!(found.expect("a place is left"), Ok(Ok(vec![Ipv4Addr::LOCALHOST.into()])));
        assert_eq!(hang.begun(), 3, "threads");
        drop(release);
    }

    #[tokio::test]
    async fn the_hosts_own_file_is_asked_and_a_name_that_nobody_has_is_no_fault() {
        let found = NAMES.find("localhost").await.unwrap().unwrap();
        assert!(found.iter().any(IpAddr::is_loopback), "{found:?}");
        // Longer than a label may be, so no server is asked.
        assert!(NAMES.find(&"a".repeat(64)).await.unwrap().is_err());
    }
}
