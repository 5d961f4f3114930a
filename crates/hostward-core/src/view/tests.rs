//! What is shown of a watch.

use super::*;
use crate::ask::{Fault, GateReading};
use crate::fixture::{self, at, falls, plan, target, watch};
use crate::ledger::Origin;

const NOW: Ms = Ms::hours(100);

type Judged<'a> = &'a [(&'a str, Verdict)];

fn judged(verdicts: Judged) -> WatchView {
    let mut world = fixture::world(at(NOW), &["s"]);
    for (key, verdict) in verdicts {
        let judged = Target { verdict: verdict.clone(), ..Target::new(at(NOW)) };
        let live = world.live.get_mut(&watch("s")).expect("it is watched");
        live.targets.insert((*key).into(), judged);
    }
    View::of(&world).watch(&watch("s")).expect("it is shown").clone()
}

/// The worst of what it keeps; its parts are told of by themselves.
#[test]
fn a_watch_is_up_when_all_that_it_keeps_is() {
    let down = || Verdict::Down(Reason::new(crate::judge::Code::Failed, "it"));
    let (unit, unknown) = ("s.service", Verdict::Unknown(Fault::Timeout));
    let table: [(Judged, Option<bool>, bool); 6] = [
        (&[], None, false),
        (&[(unit, Verdict::Up)], Some(true), false),
        (&[(unit, down())], Some(false), false),
        (&[(unit, Verdict::Pending)], None, false),
        (&[(unit, unknown.clone())], None, true),
        (&[(unit, Verdict::Up), ("component/db", down()), ("component/s3", unknown)], Some(true), false),
    ];
    for (verdicts, up, unknown) in table {
        let shown = judged(verdicts);
        assert_eq!((shown.up(), shown.unknown()), (up, unknown), "{verdicts:?}");
    }
}

#[test]
fn what_holds_and_what_goes_on_is_shown_of_its_own_watch() {
    let mut world = fixture::world(at(NOW), &["a", "b"]);
    let shown = |world: &World, name: &str| View::of(world).watch(&watch(name)).expect("it is shown").clone();
    falls(&mut world, &target("a"), at(NOW));
    assert_eq!(["a", "b"].map(|name| shown(&world, name).holds(Hold::Settling)), [true, false]);
    assert!(!shown(&world, "a").holds(Hold::Pressure));
    let sentinels = |world: &mut World, sentinels: Vec<SentinelState>| {
        let gate = GateReading { sentinels, ..GateReading::default() };
        world.live.get_mut(&watch("a")).expect("it is watched").gate = Some((at(NOW), Ok(Reading::Gate(gate))));
        shown(world, "a").enabled
    };
    assert_eq!(shown(&world, "a").enabled, None);
    assert_eq!(sentinels(&mut world, vec![SentinelState::Present]), Some(true));
    assert_eq!(sentinels(&mut world, vec![SentinelState::Present, SentinelState::NotRoots]), Some(false));
    let frozen = |watch| Stuck { run: RunId(1), watch, touches: Vec::new(), why: "it".into(), at: at(NOW) };
    assert!(!shown(&world, "a").stuck);
    world.state.stuck.push(frozen(watch("b")));
    assert_eq!(["a", "b"].map(|name| shown(&world, name).stuck), [false, true]);
    let pause = |secs| Pause { watch: Some(watch("a")), at: at(NOW), span: Ms::secs(secs), reason: "it".into() };
    world.state.pauses = vec![pause(0), pause(9)];
    assert_eq!(View::of(&world).pauses, [pause(9)], "what is over is not shown");
    assert_eq!(["a", "b"].map(|name| shown(&world, name).paused), [true, false]);
}

/// A unit that a run has stopped is shown by its watch, and a person's holds come first.
#[test]
fn what_we_stopped_is_shown_until_it_is_back() {
    use crate::plan::{Act, Back, Stop, When};
    let mut world = fixture::world(at(NOW), &["a", "b"]);
    let mut stops = plan("a");
    let (unit, step) = (UnitName::new("worker.service"), &mut stops.steps[0]);
    step.act = Some(Act::Stop(Stop { unit: unit.clone(), closure: Vec::new(), wakes: None }));
    let proof = step.proof.clone().expect("it is proved");
    let act = Act::Start(vec![unit.clone()]);
    step.back = Some(Back { when: When::Last, act, deadline: Ms::secs(90), proof, tries: 0, unless: None });
    let mut run = OpenRun::new(stops, Origin::Daemon, at(NOW));
    run.began(0, false, at(NOW)).expect("it begins");
    world.state.runs.insert(RunId(1), run);
    let stopped = |name: &str| View::of(&world).watch(&watch(name)).expect("it is shown").stopped_by_us.clone();
    assert_eq!(["a", "b"].map(stopped), [vec![unit], vec![]]);
    world.rejected = Some("line 3".into());
    falls(&mut world, &target("b"), at(NOW));
    let view = View::of(&world);
    let holds = &view.watch(&watch("b")).expect("it is shown").targets[0].holds;
    assert!(holds.len() > 1 && matches!(holds[0].lift, Lift::Operator(_)), "{holds:?}");
}
