//! What the looks themselves still lack.

use super::*;
use crate::ask::Fault;
use crate::fixture::{self, at, falls, plan, target, watch};
use crate::judge::Verdict;

const NOW: Ms = Ms::hours(100);

/// It fell so long ago; `change` is what else is known of it.
fn held(fell: Ms, change: impl Fn(&mut Target)) -> Vec<Hold> {
    let mut world = fixture::world(at(NOW), &["s"]);
    falls(&mut world, &target("s"), at(NOW.saturating_sub(fell)));
    let live = world.live.get_mut(&watch("s")).expect("it is watched");
    live.targets.values_mut().for_each(change);
    let looks = [Hold::Recovering, Hold::Confirming, Hold::Settling];
    begin(&world, &target("s"), &plan("s")).iter().map(|held| held.hold).filter(|hold| looks.contains(hold)).collect()
}

fn aspect(target: &mut Target, change: impl Fn(&mut crate::judge::Aspect)) {
    target.aspects.values_mut().for_each(change);
}

#[test]
fn nothing_is_begun_on_what_is_old_unsure_or_a_moment_old() {
    let hour = Ms::hours(1);
    assert_eq!(held(hour, |_| ()), []);
    assert_eq!(held(Ms(999), |_| ()), [Hold::Settling], "`settle` is a second");
    assert_eq!(held(Ms::secs(1), |_| ()), []);
    let touched = |since: Ms| move |target: &mut Target| target.touched = Some(at(NOW.saturating_sub(since)));
    assert_eq!(held(hour, touched(Ms::mins(1))), [Hold::Recovering], "not looked at since our own act");
    assert_eq!(held(hour, touched(hour)), [], "looked at in the same moment");
    let once_more = |target: &mut Target| aspect(target, |aspect| aspect.confirm.runs = 2);
    assert_eq!(held(hour, once_more), [Hold::Confirming], "seen once");
    assert_eq!(held(hour, |target| target.verdict = Verdict::Pending), [Hold::Confirming], "not judged yet");
    let neither = |target: &mut Target| {
        once_more(target);
        target.verdict = Verdict::Pending;
    };
    assert_eq!(held(hour, neither), [Hold::Confirming], "said once");
    let faulty = |target: &mut Target| aspect(target, |aspect| aspect.fault = Some(Fault::Timeout));
    assert_eq!(held(hour, faulty), [Hold::Confirming], "what is known of it is old");
    // One question that lacks nothing is enough.
    let either = |target: &mut Target| {
        let sure = target.aspects[&0].clone();
        faulty(target);
        target.aspects.insert(1, sure);
    };
    assert_eq!(held(hour, either), []);
}

#[test]
fn a_gate_is_fresh_for_six_seconds() {
    let answer = Err(Fault::Timeout);
    let stale = |ago: Ms| stale_gate(at(NOW), Some((at(NOW.saturating_sub(ago)), &answer)));
    assert_eq!([Ms::ZERO, Ms::secs(6), Ms(6001)].map(stale), [false, false, true]);
    assert!(stale_gate(at(NOW), None));
}
