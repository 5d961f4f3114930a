//! What people are told of real incidents: the engine's own records and holds, read by the desk.

use super::host::Cure;
use super::policy::{HOST_SENTINEL, api, drift};
use super::world::World;
use crate::ask::SentinelState;
use crate::hold::Hold;
use crate::ledger::Settlement;
use crate::notify::{Came, Delivered, Desk, Event, Message, Rule};
use crate::time::Ms;

struct Told {
    desk: Desk,
    messages: Vec<Message>,
}

impl Told {
    fn new() -> Told {
        let mut desk = Desk::default();
        desk.declare(&[("ops".into(), Rule::default())].into());
        Told { desk, messages: Vec::new() }
    }

    /// The daemon's way: a look after each turn, and every message arrives.
    fn run(&mut self, world: &mut World, span: Ms) {
        let end = world.now.plus(span);
        while world.now.up < end.up {
            world.run_for(Ms(500));
            let Some(engine) = &world.engine else { continue };
            self.desk.look(engine.world());
            for (name, message) in self.desk.letters(world.now) {
                self.desk.ended(world.now, &name, Delivered::Sent);
                self.messages.push(message);
            }
        }
    }

    fn events(&self) -> Vec<Event> {
        self.messages.iter().map(|message| message.event).collect()
    }
}

fn broken() -> World {
    let mut world = World::well(Ms::secs(5));
    world.host.pull_without_install();
    world
}

#[test]
fn a_remedy_that_works_is_named_in_the_end_and_its_cause_once() {
    let (mut told, mut world) = (Told::new(), broken());
    told.run(&mut world, Ms::mins(20));
    assert!(world.is_up(&api()) && world.is_up(&drift()));
    assert_eq!(told.events(), [Event::Down, Event::Cleared]);
    let cleared = &told.messages[1];
    assert_eq!(cleared.watch, Some(drift().watch), "the cause, though its dependent fell first");
    assert_eq!(cleared.dependents, [api().watch]);
    assert!(cleared.title("h1").ends_with("cleared by reconcile"), "{}", cleared.title("h1"));
    assert_eq!(cleared.did.len(), 1, "{:?}", cleared.did);
    assert!(cleared.text().contains("Because of it: service.api."), "{}", cleared.text());
}

#[test]
fn what_only_a_person_lifts_is_told_first_and_once() {
    let (mut told, mut world) = (Told::new(), broken());
    world.host.sentinels.insert(HOST_SENTINEL.into(), SentinelState::Absent);
    told.run(&mut world, Ms::hours(2));
    assert_eq!(told.events(), [Event::Held]);
    let held = &told.messages[0];
    assert_eq!(held.held.first().map(|held| held.hold), Some(Hold::NoSentinel));
    assert!(held.text().contains("hostward enable"), "{}", held.text());
    assert!(held.text().contains("Next: hostward explain"), "{}", held.text());
    world.host.sentinels.insert(HOST_SENTINEL.into(), SentinelState::Present);
    told.run(&mut world, Ms::mins(20));
    assert_eq!(told.events(), [Event::Held, Event::Cleared]);
}

#[test]
fn a_remedy_that_does_not_clear_it_makes_it_worse_once() {
    let (mut told, mut world) = (Told::new(), broken());
    world.host.cure = Cure::Fails(Ms::secs(3));
    told.run(&mut world, Ms::hours(12));
    assert_eq!(told.events(), [Event::Down, Event::NotCleared], "and not once more for each attempt");
    let worse = &told.messages[1];
    assert!(worse.did.iter().any(|tried| tried.came_to == Came::To(Settlement::NotCleared)), "{:?}", worse.did);
}
