//! A recording played again: the same decisions under the same policy, and what another would have changed.

use std::sync::Arc;

use super::policy::policy;
use super::world::World;
use crate::policy::Mode;
use crate::replay::{BadRecording, Line, Recording};
use crate::time::Ms;

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

fn begins(played: &crate::replay::Played) -> usize {
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
