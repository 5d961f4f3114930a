//! The draining task: signals in, coalesced hints out.
//!
//! A hint says that a unit is worth a look, never what it is. Signals are taken only from the owner of systemd's name,
//! for the bus lets anybody send us one. All matches share the connection's one queue, so that their order is kept;
//! this task does nothing that can wait while the queue fills.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use hostward_core::id::{Str, UnitName};
use tokio::sync::{broadcast, mpsc};
use tokio::task::{AbortHandle, JoinHandle};
use zbus::message::Type;
use zbus::{Connection, MessageStream, ObjectPath};

use super::call::{self, BUS, CallError, MANAGER, MANAGER_PATH};
use super::readings::Readings;
use super::{BusError, path};

/// What the caller learns from the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusEvent {
    /// This unit changed.
    Hint(UnitName),
    /// Anything may have changed: ask for everything that matters. Why: `daemon-reload`, ...
    Resync(Str),
    /// The bus is gone: nothing comes after this. Connect again.
    Gone(Str),
}

/// What those who wait inside this folder learn.
#[derive(Clone, Debug)]
pub(super) enum Signal {
    JobRemoved { job: String, result: Str },
    Unit(UnitName),
}

/// Units that changed and are not told yet; beyond it looking at everything is cheaper.
const DIRTY_LIMIT: usize = 1024;
/// Events that the caller has not taken. Small: what waits in the set of dirty units is coalesced, what is in the
/// channel is not.
const CHANNEL: usize = 16;
/// Signals that a waiter may be behind; it looks for itself when it missed some.
const SIGNALS: usize = 1024;
const RESUBSCRIBE_EVERY: Duration = Duration::from_secs(1);

const DBUS: &str = "org.freedesktop.DBus";

type Started = (AbortHandle, broadcast::WeakSender<Signal>, mpsc::Receiver<BusEvent>);

/// Match, subscribe, and start to drain.
pub(super) async fn start(
    conn: Connection,
    control: Connection,
    readings: Arc<Readings>,
) -> Result<Started, BusError> {
    // Before the first match, so that no signal falls between.
    let stream = MessageStream::from(&conn);
    for rule in rules() {
        let added = conn.call_method(Some(DBUS), "/org/freedesktop/DBus", Some(DBUS), "AddMatch", &(rule,)).await;
        added.map_err(|e| BusError::Subscribe(CallError::from(e).text().into()))?;
    }
    subscribe(&conn).await.map_err(|e| BusError::Subscribe(e.text().into()))?;
    let owner = conn.call_method(Some(DBUS), "/org/freedesktop/DBus", Some(DBUS), "GetNameOwner", &(BUS,)).await;
    let owner = owner.and_then(|reply| reply.body().deserialize::<String>());
    let owner = owner.map_err(|e| BusError::Subscribe(CallError::from(e).text().into()))?;
    let (signals, _) = broadcast::channel(SIGNALS);
    let (tell, receiver) = mpsc::channel(CHANNEL);
    let weak = signals.downgrade();
    let drain = Drain { conn, stream, owner, signals, readings, pending: Pending::default(), resubscribe: None };
    let task = tokio::spawn(drain.run(control, tell));
    Ok((task.abort_handle(), weak, receiver))
}

fn rules() -> [String; 4] {
    let manager = format!("type='signal',sender='{BUS}',path='{MANAGER_PATH}',interface='{MANAGER}'");
    [
        format!(
            "type='signal',sender='{BUS}',interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',\
             path_namespace='{}'",
            path::UNITS
        ),
        format!("{manager},member='JobRemoved'"),
        format!("{manager},member='Reloading'"),
        format!("type='signal',sender='{DBUS}',interface='{DBUS}',member='NameOwnerChanged',arg0='{BUS}'"),
    ]
}

/// Without it systemd sends nothing. Having subscribed already is success.
async fn subscribe(conn: &Connection) -> Result<(), CallError> {
    match call::call(conn, MANAGER_PATH, MANAGER, "Subscribe", &()).await {
        Err(CallError::Refused { name, .. }) if &*name == "org.freedesktop.systemd1.AlreadySubscribed" => Ok(()),
        done => done.map(drop),
    }
}

/// A new systemd knows no subscribers.
async fn resubscribe(conn: Connection) {
    while let Err(e) = subscribe(&conn).await {
        if conn.is_closed() || matches!(e, CallError::Denied(_)) {
            return;
        }
        tokio::time::sleep(RESUBSCRIBE_EVERY).await;
    }
}

/// What is to be told, at most one of each.
#[derive(Debug, Default)]
struct Pending {
    resync: Option<Str>,
    dirty: BTreeSet<UnitName>,
}

impl Pending {
    fn resync(&mut self, why: &str) {
        // Looking at everything covers every unit.
        self.dirty.clear();
        self.resync = Some(why.into());
    }

    fn hint(&mut self, unit: UnitName) {
        // Even beside a resync: what is told later is looked at later.
        self.dirty.insert(unit);
        if self.dirty.len() > DIRTY_LIMIT {
            self.resync("too many units changed");
        }
    }

    fn is_empty(&self) -> bool {
        self.resync.is_none() && self.dirty.is_empty()
    }

    fn next(&mut self) -> Option<BusEvent> {
        match self.resync.take() {
            Some(why) => Some(BusEvent::Resync(why)),
            None => self.dirty.pop_first().map(BusEvent::Hint),
        }
    }
}

struct Drain {
    conn: Connection,
    stream: MessageStream,
    /// The unique name that systemd has on this bus; empty while it has none.
    owner: String,
    signals: broadcast::Sender<Signal>,
    readings: Arc<Readings>,
    pending: Pending,
    resubscribe: Option<JoinHandle<()>>,
}

impl Drain {
    async fn run(mut self, control: Connection, tell: mpsc::Sender<BusEvent>) {
        let why = loop {
            tokio::select! {
                // Cancel-safe: a poll takes a message or leaves it.
                message = poll_fn(|cx| Pin::new(&mut self.stream).poll_next(cx)) => match message {
                    Some(Ok(message)) => self.take(&message),
                    Some(Err(e)) => break e.to_string(),
                    None => break "the events connection closed".to_owned(),
                },
                // Cancel-safe: it only waits for a flag.
                () = control.closed() => break "the control connection closed".to_owned(),
                // Cancel-safe: the handle stays until it is done.
                () = done(&mut self.resubscribe) => {
                    self.resubscribe = None;
                    self.resync("systemd came back");
                }
                // Cancel-safe: a place that was not got was not taken.
                place = tell.reserve(), if !self.pending.is_empty() => match (place, self.pending.next()) {
                    (Ok(place), Some(event)) => place.send(event),
                    (Ok(_), None) => {}
                    // Nobody listens any more: whoever waits for a job still does.
                    (Err(_), _) => self.pending = Pending::default(),
                },
            }
        };
        // Waiters first: dropping the sender tells each of them that its answer will not come.
        drop(self);
        let _ = tell.send(BusEvent::Gone(why.into())).await;
    }

    fn take(&mut self, message: &zbus::Message) {
        let header = message.header();
        if message.message_type() != Type::Signal {
            return;
        }
        let (Some(sender), Some(member)) = (header.sender(), header.member()) else { return };
        match member.as_str() {
            "NameOwnerChanged" if sender.as_str() == DBUS => {
                let body = message.body();
                if let Ok((BUS, _, new)) = body.deserialize::<(&str, &str, &str)>() {
                    self.owner_changed(new);
                }
            }
            _ if sender.as_str() != self.owner => {}
            "PropertiesChanged" => {
                if let Some(unit) = header.path().and_then(|path| path::unit_of(path.as_str())) {
                    self.readings.changed(&unit);
                    self.pending.hint(unit.clone());
                    // Nobody waiting is the usual case.
                    let _ = self.signals.send(Signal::Unit(unit));
                }
            }
            "JobRemoved" => {
                let body = message.body();
                if let Ok((_, job, _, result)) = body.deserialize::<(u32, ObjectPath<'_>, &str, &str)>() {
                    let signal = Signal::JobRemoved { job: job.as_str().to_owned(), result: result.into() };
                    let _ = self.signals.send(signal);
                }
            }
            // True comes before, when nothing can be asked yet.
            "Reloading" if message.body().deserialize::<bool>() == Ok(false) => self.resync("daemon-reload"),
            _ => {}
        }
    }

    fn resync(&mut self, why: &str) {
        self.readings.forget();
        self.pending.resync(why);
    }

    fn owner_changed(&mut self, new: &str) {
        new.clone_into(&mut self.owner);
        if let Some(task) = self.resubscribe.take() {
            task.abort();
        }
        if new.is_empty() {
            self.resync("systemd left the bus");
        } else {
            // A task of its own: its reply must not wait for us, who empty the queue.
            self.resubscribe = Some(tokio::spawn(resubscribe(self.conn.clone())));
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        if let Some(task) = self.resubscribe.take() {
            task.abort();
        }
    }
}

/// Ends with the task; never, while there is none.
async fn done(task: &mut Option<JoinHandle<()>>) {
    match task {
        Some(task) => drop(task.await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_coalesced_and_too_many_become_a_resync() {
        let mut pending = Pending::default();
        for _ in 0..3 {
            pending.hint(UnitName::new("a.service"));
            pending.hint(UnitName::new("b.service"));
        }
        let told: Vec<BusEvent> = std::iter::from_fn(|| pending.next()).collect();
        assert_eq!(told, ["a.service", "b.service"].map(|name| BusEvent::Hint(UnitName::new(name))));

        for n in 0..=DIRTY_LIMIT {
            assert_eq!(pending.resync, None, "after {n}");
            pending.hint(UnitName::new(format!("u{n}.service")));
        }
        pending.hint(UnitName::new("later.service"));
        let told: Vec<BusEvent> = std::iter::from_fn(|| pending.next()).collect();
        let later = BusEvent::Hint(UnitName::new("later.service"));
        assert_eq!(told, [BusEvent::Resync("too many units changed".into()), later]);
        assert!(pending.is_empty());
    }
}
