//! A monitor that polls, the peer of `cargo xtask bench quiet-bus`: one GetAll of each unit named, each SECONDS, for ever,
//! over one connection. `poller SECONDS UNIT...`
//!
//! Of the unit's own interface alone, which is the least that tells a state.

use std::time::Duration;

use zbus::{Connection, OwnedObjectPath};

const SYSTEMD: Option<&str> = Some("org.freedesktop.systemd1");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let every = Duration::from_secs(arguments.next().ok_or("say how many seconds")?.parse()?);
    let bus = Connection::system().await?;
    let mut paths = Vec::new();
    for unit in arguments {
        let manager = Some("org.freedesktop.systemd1.Manager");
        let reply = bus.call_method(SYSTEMD, "/org/freedesktop/systemd1", manager, "LoadUnit", &(unit,)).await?;
        paths.push(reply.body().deserialize::<OwnedObjectPath>()?);
    }
    let properties = Some("org.freedesktop.DBus.Properties");
    let mut round = tokio::time::interval(every);
    loop {
        round.tick().await;
        for path in &paths {
            bus.call_method(SYSTEMD, path, properties, "GetAll", &("org.freedesktop.systemd1.Unit",)).await?;
        }
    }
}
