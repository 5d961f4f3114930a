//! What a stop takes along: the units that systemd stops with one, which nobody starts again.
//!
//! A stop travels along RequiredBy, RequisiteOf, BoundBy, ConsistsOf (the reverse of PartOf) and PropagatesStopTo, from
//! active unit to active unit: an inactive one passes it no further (tried on systemd 252). This reads that before the
//! stop; what the stop then really took is told by [`Systemd::take_down`]. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hostward_core::ask::{Active, ClosureReading, Fault, Reading};
use hostward_core::id::UnitName;
use hostward_core::time::Ms;
use tokio::time::timeout;
use zbus::OwnedObjectPath;

use super::Systemd;
use super::call::CallError;
use super::unit::Properties;

/// What goes down with a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// The unit itself, by its own name: it may have been asked for by an alias.
    pub unit: UnitName,
    /// The active units that are stopped with it, in an order in which to start them again.
    pub members: Vec<UnitName>,
    /// Those of them that no start brings back: scopes, transient units, units that refuse a start by hand.
    pub one_way: Vec<UnitName>,
    /// Active units that start the unit, or one of its members, again while it should be down: sockets, timers and paths
    /// that trigger it, and what upholds it.
    pub wakers: Vec<UnitName>,
    /// How long the stop may take: the longest chain of stop timeouts among the unit and its members, for what is
    /// ordered is stopped one after another.
    pub stop_timeout: Ms,
}

/// Why what a stop takes along is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClosureError {
    #[error("read what is stopped with '{unit}'")]
    Read { unit: UnitName, source: Fault },
    /// More than anybody would stop for a repair: this is the unit that the system stands on.
    #[error("more than {MEMBERS_MAX} units are stopped with '{unit}'")]
    TooMany { unit: UnitName },
    #[error("what is stopped with '{unit}' was not read within {} s", CLOSURE_WITHIN.as_secs())]
    Timeout { unit: UnitName },
}

/// Units that one stop may take along.
pub const MEMBERS_MAX: usize = 256;
/// An infinite TimeoutStopSec counts as this: ten times systemd's own default.
pub const STOP_TIMEOUT_MAX: Ms = Ms::mins(15);
/// Two calls a unit, of a millisecond each.
const CLOSURE_WITHIN: Duration = Duration::from_secs(10);

/// The properties that a stop travels along (`UNIT_ATOM_PROPAGATE_STOP`, systemd's unit-dependency-atom.c).
const TAKES_ALONG: [&str; 5] = ["RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo"];

/// What starts a unit without being asked.
const WAKES: [&str; 2] = ["TriggeredBy", "UpheldBy"];

/// The deadline of a step that stops: four times the unit's TimeoutStopSec, for deadlines stretch with starvation, and
/// 10 s for systemd itself. At most an hour and 10 s.
pub fn stop_deadline(stop_timeout: Ms) -> Ms {
    stop_timeout.min(STOP_TIMEOUT_MAX) * 4 + Ms::secs(10)
}

/// One loaded unit.
struct Node {
    name: UnitName,
    active: String,
    takes: Vec<UnitName>,
    wakers: Vec<UnitName>,
    after: BTreeSet<UnitName>,
    stop_timeout: Ms,
    returns: bool,
}

impl Systemd {
    /// What a stop of `unit` takes along now. A unit that does not exist takes nothing.
    pub async fn closure(&self, unit: &UnitName) -> Result<Closure, ClosureError> {
        let walk = timeout(CLOSURE_WITHIN, self.walk(unit)).await;
        walk.map_err(|_| ClosureError::Timeout { unit: unit.clone() })?
    }

    /// The same, with whether there is anything to stop.
    pub async fn closure_reading(&self, unit: &UnitName) -> Result<ClosureReading, Fault> {
        let active = match self.unit(unit).await? {
            Reading::Unit(reading) => reading.running() || reading.active == Active::Activating,
            _ => return Err(Fault::Probe("another question's answer".into())),
        };
        let unreadable = |e: ClosureError| Fault::Unreadable(e.to_string().into());
        let closure = self.closure(unit).await.map_err(unreadable)?;
        let mut wakers = Vec::with_capacity(closure.wakers.len());
        for waker in &closure.wakers {
            let its = self.closure(waker).await.map_err(unreadable)?;
            wakers.push((waker.clone(), told(its, true, Vec::new())));
        }
        Ok(told(closure, active, wakers))
    }

    /// TimeoutStopSec, or what the unit's kind has in its place; zero for a kind that has none. At most
    /// [`STOP_TIMEOUT_MAX`].
    pub async fn stop_timeout(&self, unit: &UnitName) -> Result<Ms, ClosureError> {
        let node = self.node(unit).await;
        let node = node.map_err(|e| ClosureError::Read { unit: unit.clone(), source: e.into() })?;
        Ok(node.map_or(Ms::ZERO, |node| node.stop_timeout))
    }

    async fn walk(&self, unit: &UnitName) -> Result<Closure, ClosureError> {
        let failed = |e: CallError| ClosureError::Read { unit: unit.clone(), source: e.into() };
        let Some(root) = self.node(unit).await.map_err(failed)? else {
            return Ok(fold(unit.clone(), &BTreeMap::new(), Vec::new()));
        };
        let name = root.name.clone();
        let mut next = root.takes.clone();
        let mut found = BTreeMap::from([(name.clone(), root)]);
        // Also the inactive ones that were read, so that none is read twice.
        let mut seen = BTreeSet::from([unit.clone(), name.clone()]);
        while let Some(dependent) = next.pop() {
            if !seen.insert(dependent.clone()) {
                continue;
            }
            let Some(node) = self.node(&dependent).await.map_err(failed)? else { continue };
            // A stop of what is stopped is no job, and what it would have taken along is not stopped either.
            if is_down(&node.active) {
                continue;
            }
            next.extend(node.takes.iter().cloned());
            found.insert(node.name.clone(), node);
            if found.len() > MEMBERS_MAX + 1 {
                return Err(ClosureError::TooMany { unit: unit.clone() });
            }
        }
        let mut wakers = Vec::new();
        let named: BTreeSet<&UnitName> = found.values().flat_map(|node| &node.wakers).collect();
        // One that goes down as well wakes nobody.
        for waker in named.into_iter().filter(|waker| !found.contains_key(*waker)) {
            let node = self.node(waker).await.map_err(failed)?;
            if node.is_some_and(|node| !is_down(&node.active)) {
                wakers.push(waker.clone());
            }
        }
        Ok(fold(name, &found, wakers))
    }

    /// None: no such unit is loaded, and none can be.
    async fn node(&self, unit: &UnitName) -> Result<Option<Node>, CallError> {
        let absent = |e: CallError| if e.is_absent() { Ok(None) } else { Err(e) };
        let path: OwnedObjectPath = match self.manager("LoadUnit", &(unit.as_str(),)).await {
            Ok(path) => path,
            Err(e) => return absent(e),
        };
        let reply = match self.call(path.as_str(), "org.freedesktop.DBus.Properties", "GetAll", &("",)).await {
            Ok(reply) => reply,
            Err(e) => return absent(e),
        };
        let body = reply.body();
        let all = Properties(body.deserialize()?);
        Ok(Some(Node {
            name: UnitName::new(all.text("Id")),
            active: all.text("ActiveState").to_owned(),
            takes: TAKES_ALONG.iter().flat_map(|property| all.units(property)).collect(),
            wakers: WAKES.iter().flat_map(|property| all.units(property)).collect(),
            after: all.units("After").collect(),
            stop_timeout: stop_timeout(&all),
            returns: all.truth("CanStart") == Some(true) && all.truth("Transient") != Some(true),
        }))
    }
}

/// Services and scopes say TimeoutStopUSec; mounts, sockets and swaps have one TimeoutUSec for all.
fn stop_timeout(all: &Properties<'_>) -> Ms {
    let own = all.span("TimeoutStopUSec");
    let span = if own == Ms::ZERO { all.span("TimeoutUSec") } else { own };
    span.min(STOP_TIMEOUT_MAX)
}

fn is_down(active: &str) -> bool {
    matches!(active, "inactive" | "failed")
}

/// `found` has the unit itself, too.
fn fold(unit: UnitName, found: &BTreeMap<UnitName, Node>, wakers: Vec<UnitName>) -> Closure {
    let graph = found.iter().map(|(name, node)| (name.clone(), node.after.clone())).collect();
    let stop_timeout = longest_chain(&graph, |name| found.get(name).map_or(Ms::ZERO, |node| node.stop_timeout));
    let runs = |name: &UnitName| found.get(name).is_some_and(|node| node.active != "deactivating");
    let members = graph.into_iter().filter(|(name, _)| *name != unit && runs(name)).collect();
    let members = start_order(&members);
    let stays = |name: &&UnitName| found.get(*name).is_some_and(|node| !node.returns);
    let one_way = members.iter().filter(stays).cloned().collect();
    Closure { unit, members, one_way, wakers, stop_timeout }
}

/// Each after those of the others that it comes after; by name where that says nothing. A cycle is broken at the first
/// of its names.
fn start_order(after: &BTreeMap<UnitName, BTreeSet<UnitName>>) -> Vec<UnitName> {
    let mut waiting: BTreeSet<&UnitName> = after.keys().collect();
    let mut order = Vec::with_capacity(waiting.len());
    loop {
        let free = |name: &&UnitName| after[*name].iter().all(|before| before == *name || !waiting.contains(before));
        let looped = |name: &&UnitName| awaits_itself(name, after, &waiting);
        // When none is free, some wait for each other and others for them.
        let next = waiting.iter().copied().find(free).or_else(|| waiting.iter().copied().find(looped));
        let Some(next) = next.or_else(|| waiting.first().copied()) else { return order };
        waiting.remove(next);
        order.push(next.clone());
    }
}

/// Whether a chain of After, among those that wait, leads from a unit back to itself.
fn awaits_itself(
    name: &UnitName,
    after: &BTreeMap<UnitName, BTreeSet<UnitName>>,
    waiting: &BTreeSet<&UnitName>,
) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![name]);
    while let Some(at) = next.pop() {
        for before in after[at].iter().filter(|before| waiting.contains(before)) {
            if before == name && at != name {
                return true;
            }
            if seen.insert(before) {
                next.push(before);
            }
        }
    }
    false
}

/// The largest sum of `cost` along a chain of After.
fn longest_chain(after: &BTreeMap<UnitName, BTreeSet<UnitName>>, cost: impl Fn(&UnitName) -> Ms) -> Ms {
    let mut until: BTreeMap<UnitName, Ms> = BTreeMap::new();
    for name in start_order(after) {
        // What is not there yet is outside, or closes a cycle.
        let before = after[&name].iter().filter_map(|before| until.get(before)).max().copied();
        let sum = before.unwrap_or_default() + cost(&name);
        until.insert(name, sum);
    }
    until.into_values().max().unwrap_or_default()
}

fn told(closure: Closure, active: bool, wakers: Vec<(UnitName, ClosureReading)>) -> ClosureReading {
    let Closure { members, one_way, stop_timeout, .. } = closure;
    ClosureReading { active, members, one_way, stop_timeout, wakers }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `"b>a c"`: b comes after a; c after nothing.
    fn graph(text: &str) -> BTreeMap<UnitName, BTreeSet<UnitName>> {
        let mut graph: BTreeMap<UnitName, BTreeSet<UnitName>> = BTreeMap::new();
        for word in text.split_whitespace() {
            let (name, before) = word.split_once('>').map_or((word, None), |(name, before)| (name, Some(before)));
            graph.entry(UnitName::new(name)).or_default().extend(before.map(UnitName::new));
        }
        graph
    }

    #[test]
    fn the_order_respects_after_and_then_names() {
        let table = [
            ("", ""),
            ("c b a", "a b c"),
            ("a>b b>c c", "c b a"),
            ("a>z b>a z", "z a b"),
            ("a>outside b", "a b"),
            ("a>b b>a c>b", "a b c"),
            ("b>c c>d d>b a>d", "b d a c"),
            ("a>a b>a", "a b"),
        ];
        for (units, expected) in table {
            let order: Vec<String> = start_order(&graph(units)).iter().map(ToString::to_string).collect();
            assert_eq!(order.join(" "), expected, "{units}");
        }
    }

    #[test]
    fn chains_add_up_and_parallel_stops_do_not() {
        let table = [("", 0), ("a b c", 9), ("a b>a c", 10), ("a b>a c>b", 19), ("a>b b>a", 10), ("c a>c b>c", 18)];
        for (units, expected) in table {
            let cost = |name: &UnitName| match name.as_str() {
                "a" => Ms(1),
                _ => Ms(9),
            };
            assert_eq!(longest_chain(&graph(units), cost), Ms(expected), "{units}");
        }
    }

    #[test]
    fn the_deadline_of_a_stop_is_bounded() {
        let table = [
            (Ms::ZERO, Ms::secs(10)),
            (Ms::secs(90), Ms::secs(370)),
            (STOP_TIMEOUT_MAX, Ms::secs(3610)),
            (Ms::MAX, Ms::secs(3610)),
        ];
        for (timeout, deadline) in table {
            assert_eq!(stop_deadline(timeout), deadline, "{timeout}");
        }
    }
}
