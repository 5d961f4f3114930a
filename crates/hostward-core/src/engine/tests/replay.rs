//! A recording played again: the same decisions under the same policy, and what another would have changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::host::Cure;
use super::policy::{SOAK, WATCH_SENTINEL, api, drift, policy};
use super::world::World;
use crate::ask::{Answer, AskKey, Fault, SentinelState};
use crate::command::Command;
use crate::engine::{Begin, Event, Hint};
use crate::id::RunId;
use crate::policy::Mode;
use crate::replay::{BadRecording, Line, Played, Recorder, Recording, VERSION};
use crate::time::{Ms, Now};

/// S1, healed; as its recording reads from a file.
fn healed() -> Vec<Line> {
    let mut world = World::new(Ms::secs(5));
    world.boot();
    world.run_for(Ms::mins(1));
    world.host.pull_without_install();
    assert!(world.run_until(Ms::mins(10), |w| !w.closings().is_empty()));
    world.run_for(Ms::mins(2));
    let text: Vec<String> = world.lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
    text.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn begins(played: &Played) -> usize {
    played.decisions.iter().filter(|decision| decision.says.contains(" begins ")).count()
}

#[test]
fn the_same_in_is_the_same_out() {
    let lines = healed();
    let recording = Recording::of(lines.clone()).unwrap();
    let played = recording.play();
    assert_eq!(begins(&played), 1, "{:#?}", played.decisions);
    assert!(played.decisions.iter().any(|d| d.says == "a run ends: Proved"), "{:#?}", played.decisions);
    assert_eq!(Recording::of(lines).unwrap().play(), played);
}

#[test]
fn another_policy_decides_otherwise() {
    let recording = Recording::of(healed()).unwrap();
    let mut other = policy();
    other.host.mode = Mode::Observe;
    let would = recording.play_under(Arc::new(other));
    assert_eq!(begins(&would), 0, "{:#?}", would.decisions);
    let held = |says: &str| says.contains("is held") && says.contains("observe_only");
    assert!(would.decisions.iter().any(|d| held(&d.says)), "{:#?}", would.decisions);
    assert_eq!(would.ends, None);
}

#[test]
fn what_was_begun_in_the_middle_plays_too() {
    let mut lines = healed();
    if let Some(Line::Begin { start, .. }) = lines.first_mut() {
        *start = false;
    }
    let played = Recording::of(lines).unwrap().play();
    assert!(begins(&played) <= 1);
    assert!(played.decisions.iter().any(|d| d.says.contains("is down")), "{:#?}", played.decisions);
}

#[test]
fn half_a_recording_is_played_as_far_as_it_goes() {
    let lines = healed();
    for cut in [1, lines.len() / 2, lines.len() - 1] {
        let half = Recording::of(lines[..cut].to_vec()).unwrap();
        assert_eq!(half.len(), cut - 1);
        let whole = Recording::of(lines.clone()).unwrap().play().decisions;
        assert!(whole.starts_with(&half.play().decisions), "cut at {cut}");
    }
    assert_eq!(Recording::of([]).err(), Some(BadRecording::Empty));
    assert_eq!(Recording::of(lines[1..].to_vec()).err(), Some(BadRecording::NoBegin));
}

/// A recording that was begun at line `n`, when the engine was as `begin` says.
fn from_there(lines: &[Line], n: usize, begin: Begin) -> Vec<Line> {
    let mut last: BTreeMap<AskKey, Answer> = BTreeMap::new();
    let mut recorder = Recorder::default();
    let mut cut = vec![recorder.begin(begin, false)];
    for (at, line) in lines.iter().enumerate() {
        let (now, event) = match line {
            Line::Begin { .. } => continue,
            Line::Event { now, event } => (*now, (**event).clone()),
            Line::Same { now, key, asked } => {
                let (key, asked, answer) = (key.clone(), *asked, last[key].clone());
                (*now, Event::Answered { key, asked, answer })
            }
        };
        if let Event::Answered { key, answer, .. } = &event {
            last.insert(key.clone(), answer.clone());
        }
        if at >= n {
            cut.push(recorder.event(now, &event));
        }
    }
    cut
}

/// What became of each run that was begun at `since` or later.
fn story(played: &Played, since: Now) -> Vec<(Ms, &str)> {
    let told = |says: &str| [" begins ", "a run ends", " is settled"].iter().any(|of| says.contains(of));
    let later = played.decisions.iter().filter(|decision| decision.at.not_before(since) && told(&decision.says));
    later.map(|decision| (decision.at.up, &*decision.says)).collect()
}

/// A drift that is known and held; then its recording begins; then it may be mended, at the second try.
#[test]
fn a_recording_from_the_middle_tells_the_same_story() {
    let mut world = World::well(Ms::secs(5));
    world.host.set_sentinel(WATCH_SENTINEL, SentinelState::Absent);
    world.host.pull_without_install();
    assert!(world.run_until(Ms::mins(10), |w| w.is_down(&drift())));
    world.run_for(Ms::mins(2));
    let (n, begin) = (world.lines.len(), world.engine.as_ref().expect("it runs").begin_here());
    let since = world.now;
    world.run_for(Ms::secs(10));
    world.host.set_sentinel(WATCH_SENTINEL, SentinelState::Present);
    world.tell(Event::Hint(Hint::Gates));
    world.host.cure = Cure::Fails(Ms::secs(3));
    assert!(world.run_until(Ms::mins(10), |w| w.closings().len() == 1), "{:?}", world.holds(&drift()));
    world.host.cure = Cure::Cures(Ms::secs(5));
    assert!(world.run_until(Ms::hours(1), |w| w.closings().len() == 2), "{:?}", world.holds(&drift()));
    world.run_for(SOAK + Ms::mins(2));
    let whole = Recording::of(world.lines.clone()).unwrap().play();
    let middle = Recording::of(from_there(&world.lines, n, begin)).unwrap().play();
    assert_eq!(middle.ends, None);
    let (want, got) = (story(&whole, since), story(&middle, since));
    let says = |story: &[(Ms, &str)]| story.iter().map(|(_, says)| (*says).to_owned()).collect::<Vec<_>>();
    assert_eq!(says(&got), says(&want));
    for ((was, says), (is, _)) in want.iter().zip(&got) {
        assert!(Ms(is.0.abs_diff(was.0)) < Ms::secs(1), "{says}: {is} for {was}");
    }
    let last = got.last().map(|(_, says)| *says);
    assert_eq!((got.len(), last), (5, Some("baseline.app#python is settled: cleared")));
}

/// What an operator says comes again; a policy that was read meanwhile is not the one that is asked about.
#[test]
fn orders_are_given_again_and_reloads_are_not() {
    let recorded = |say: fn(&mut World)| {
        let mut world = World::well(Ms::secs(5));
        say(&mut world);
        world.host.pull_without_install();
        world.run_for(Ms::mins(3));
        Recording::of(world.lines).unwrap()
    };
    let mut other = policy();
    other.host.budget.cost += 1;
    let paused =
        recorded(|w| w.order(1, Command::Pause { watch: None, span: Ms::hours(1), reason: "I am on it".into() }));
    let held =
        |played: &Played, by: &str| played.decisions.iter().any(|d| d.says.contains("held") && d.says.contains(by));
    let played = paused.play_under(Arc::new(other.clone()));
    assert!(held(&played, "maintenance"), "{:#?}", played.decisions);

    other.host.mode = Mode::Observe;
    let reloaded = recorded(|w| w.tell(Event::Policy(Arc::new(policy()))));
    assert_eq!(begins(&reloaded.play()), 1);
    let played = reloaded.play_under(Arc::new(other));
    assert_eq!((begins(&played), held(&played, "observe_only")), (0, true), "{:#?}", played.decisions);
}

/// Recorded while nobody was let act: what an act would have come to is nowhere.
#[test]
fn where_it_would_act_and_the_recording_did_not_it_ends() {
    let mut observes = policy();
    observes.host.mode = Mode::Observe;
    let mut world = World::new(Ms::secs(5));
    world.policy = Arc::new(observes);
    world.boot();
    world.run_for(Ms::mins(1));
    world.host.pull_without_install();
    world.run_for(Ms::mins(5));
    let recording = Recording::of(world.lines).unwrap();
    assert_eq!(recording.play().ends, None);
    let played = recording.play_under(Arc::new(policy()));
    assert_eq!(begins(&played), 1, "{:#?}", played.decisions);
    let ends = "it would run `/srv/example/venv/bin/uv sync --frozen` as example; what came of that was not recorded";
    assert_eq!(played.ends.as_deref(), Some(ends));
}

/// Nothing goes in a circle there: the bound grows with what was recorded.
#[test]
fn a_long_recording_is_played_to_its_end() {
    let mut world = World::well(Ms::secs(5));
    let (n, begin) = (world.lines.len(), world.engine.as_ref().expect("it runs").begin_here());
    world.run_for(Ms::hours(12));
    let recording = Recording::of(from_there(&world.lines, n, begin)).unwrap();
    assert!(recording.len() > 12_000, "{}", recording.len());
    assert_eq!(recording.play().ends, None);
}

/// A probe's answer is often what it was; a proof's question is of one run only, and is not remembered.
#[test]
fn an_answer_that_is_the_same_is_a_short_line() {
    let answered =
        |key: &AskKey| Event::Answered { key: key.clone(), asked: Now::default(), answer: Err(Fault::Timeout) };
    let mut recorder = Recorder::default();
    let mut short = |key: &AskKey| matches!(recorder.event(Now::default(), &answered(key)), Line::Same { .. });
    let (probe, other) = (AskKey::Probe(api().watch, 0), AskKey::Probe(api().watch, 1));
    let (gate, proof) = (AskKey::Gate(api().watch), AskKey::Proof(RunId(7), 0));
    for (key, again) in [(&probe, true), (&other, true), (&gate, true), (&proof, false)] {
        assert_eq!((short(key), short(key)), (false, again), "{key:?}");
    }
}

#[test]
fn a_recording_says_what_it_is_and_where_it_is_broken() {
    let lines = healed();
    let recording = Recording::of(lines[..3].to_vec()).unwrap();
    assert_eq!((recording.len(), recording.is_empty()), (2, false));
    assert!(Recording::of(lines[..1].to_vec()).unwrap().is_empty());
    assert_eq!(*recording.policy(), policy());
    let same = Line::Same { now: Now::default(), key: AskKey::Proof(RunId(7), 0), asked: Now::default() };
    for at in [1, 2, 3] {
        let broken = [&lines[..at], std::slice::from_ref(&same)].concat();
        assert_eq!(Recording::of(broken).err(), Some(BadRecording::NothingToRepeat(at + 1)), "as an editor counts");
    }
    let Line::Begin { start, begin, .. } = lines[0].clone() else { panic!("it begins") };
    let newer = Line::Begin { version: VERSION + 1, start, begin };
    assert_eq!(Recording::of([newer]).err(), Some(BadRecording::Version(VERSION + 1)));
}
