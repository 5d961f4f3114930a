use super::*;
use crate::fixture::plan;

#[test]
fn a_plan_is_known_by_twelve_digits_of_all_that_it_says() {
    // `printf '"it"' | sha256sum`
    assert_eq!(&*short_digest(&"it"), "ff56f7d96c89");
    let mut other = plan("s");
    other.steps[0].deadline = Ms::secs(91);
    assert_ne!(plan("s").hash(), other.hash());
    assert_eq!(plan("s").hash(), plan("s").hash());
    assert_eq!(plan("s").hash().0.len(), 12);
}

/// A plan that is stored says no more than what is not so by itself.
#[test]
fn a_step_that_unwinds_is_stored_without_saying_so() {
    let mut step = plan("s").steps.remove(0);
    let stored = |step: &Step| serde_json::to_string(step).expect("it serialises");
    assert!(!stored(&step).contains("fail"));
    step.fail = OnFail::GoOn;
    let read: Step = serde_json::from_str(&stored(&step)).expect("it reads back");
    assert_eq!(read, step);
}

#[test]
fn an_act_names_all_that_it_starts_and_stops() {
    let [a, b] = ["a", "b"].map(|name| UnitName::new(format!("{name}.service")));
    let stop = Act::Stop(Stop { unit: a.clone(), closure: vec![b.clone()], wakes: None });
    let said = [stop, Act::Start(vec![b, a])].map(|act| act.to_string());
    assert_eq!(said, ["stop a.service, b.service", "start b.service, a.service"]);
}
