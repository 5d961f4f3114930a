//! systemd over the system bus: what units are, that they changed, and the few acts on them.
//!
//! Two connections: signals come in on one, where a task drains them; calls go over the other, so that a storm of
//! signals can never stop a reply. Everything that knows zbus is in this folder; what it says to others are the core's
//! own types. It never decides, never retries an act, and never reconnects: after [`BusEvent::Gone`] the caller drops
//! the handle and connects again.

mod call;
mod closure;
mod escape;
mod events;
mod fence;
mod jobs;
mod launch;
mod listing;
mod mount;
mod path;
mod readings;
mod resume;
mod shown;
mod steps;
mod undo;
mod unit;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

pub use closure::{Closure, ClosureError, MEMBERS_MAX, STOP_TIMEOUT_MAX, stop_deadline};
pub use events::BusEvent;
pub use fence::{FenceError, SOURCE as FENCE_SOURCE};
use hostward_core::ask::{Fault, SystemState};
use hostward_core::id::{Str, UnitName};
pub use mount::MountError;
pub use resume::TakenDown;
pub use shown::shown;
use tokio::sync::{Semaphore, broadcast, mpsc};
pub use undo::{Undo, UndoError, UndoState};
use zbus::Connection;

use call::CallError;
use events::Signal;
use listing::Listing;
use readings::Readings;

/// A call that systemd has not answered by then will not be: PID 1 answers in milliseconds or hangs.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Four hundred calls at once gave `LimitsExceeded` for half of them.
const CALLS_IN_FLIGHT: usize = 32;
/// Of messages; zbus's default of 64 is five restarts' worth, and a full queue stops all reception.
const QUEUE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// No connection to systemd.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("connect to the system bus")]
    Connect(#[source] zbus::Error),
    #[error("the system bus did not let us in within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    #[error("subscribe to systemd's signals: {0}")]
    Subscribe(Str),
}

/// A handle; clones share its connections. When the last one is dropped, both are closed.
#[derive(Clone)]
pub struct Systemd {
    inner: Arc<Inner>,
}

/// A connection's own Debug is a page long.
impl fmt::Debug for Systemd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Systemd").field("control", &self.inner.control.unique_name()).finish_non_exhaustive()
    }
}

struct Inner {
    control: Connection,
    in_flight: Semaphore,
    listing: Listing,
    readings: Arc<Readings>,
    /// What the draining task saw, for those who wait for a job or a unit. It closes when the bus is gone.
    signals: broadcast::WeakSender<Signal>,
    drain: tokio::task::AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.drain.abort();
    }
}

impl Systemd {
    /// Connect to the bus of `DBUS_SYSTEM_BUS_ADDRESS`, or the system's own, and have systemd send its signals.
    pub async fn connect() -> Result<(Systemd, mpsc::Receiver<BusEvent>), BusError> {
        let both = async { Ok((open().await?, open().await?)) };
        let (events, control) = tokio::time::timeout(CALL_TIMEOUT, both).await.map_err(|_| BusError::Timeout)??;
        let readings = Arc::new(Readings::default());
        let (drain, signals, receiver) = events::start(events, control.clone(), Arc::clone(&readings)).await?;
        let (in_flight, listing) = (Semaphore::new(CALLS_IN_FLIGHT), Listing::default());
        let inner = Inner { control, in_flight, listing, readings, signals, drain };
        Ok((Systemd { inner: Arc::new(inner) }, receiver))
    }

    /// What the whole system is doing.
    pub async fn system_state(&self) -> Result<SystemState, Fault> {
        let state: String = self.property(call::MANAGER_PATH, call::MANAGER, "SystemState").await?;
        match state.as_str() {
            "initializing" | "starting" => Ok(SystemState::Starting),
            "running" | "degraded" => Ok(SystemState::Running),
            "maintenance" => Ok(SystemState::Maintenance),
            "stopping" => Ok(SystemState::Stopping),
            other => Err(Fault::Unreadable(format!("SystemState '{other}'").into())),
        }
    }

    /// Those of `names` that are active, activating or enabled: actors that we replace and that still act. A name that
    /// does not exist is none.
    pub async fn old_actors(&self, names: &[UnitName]) -> Result<Vec<UnitName>, Fault> {
        let mut actors = Vec::new();
        for name in names {
            let active = match self.listed(name).await {
                Ok(row) => {
                    row.is_some_and(|row| matches!(row.active.as_str(), "active" | "activating" | "reloading"))
                }
                // A template (`name@.service`) cannot be loaded, yet its file may be enabled.
                Err(CallError::Refused { .. }) => false,
                Err(e) => return Err(e.into()),
            };
            if active || self.enabled(name).await? {
                actors.push(name.clone());
            }
        }
        Ok(actors)
    }

    async fn enabled(&self, name: &UnitName) -> Result<bool, CallError> {
        match self.manager::<_, String>("GetUnitFileState", &(name.as_str(),)).await {
            Ok(state) => Ok(matches!(state.as_str(), "enabled" | "enabled-runtime")),
            Err(CallError::Refused { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

async fn open() -> Result<Connection, BusError> {
    let builder = zbus::connection::Builder::system().method_timeout(CALL_TIMEOUT).max_queued(QUEUE);
    builder.build().await.map_err(BusError::Connect)
}
