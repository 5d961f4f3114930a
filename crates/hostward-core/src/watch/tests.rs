//! What the kinds have in common.

use super::*;
use crate::fixture::{self, baseline};

fn service(interval: Ms) -> Spec {
    let Spec::Service(spec) = fixture::service("s").spec else { unreachable!() };
    Spec::Service(service::Spec { interval, ..spec })
}

#[test]
fn a_verdict_is_held_for_two_looks_and_a_services_for_two_minutes() {
    let table = [(service(Ms::secs(10)), 120), (service(Ms::secs(90)), 180), (baseline(), 600)];
    for (spec, secs) in table {
        assert_eq!(spec.stale_after(), Ms::secs(secs), "{spec:?}");
    }
}

#[test]
fn a_kind_says_what_it_may_do_what_it_rests_on_and_where_hands_are_kept_off() {
    let (service, baseline) = (service(Ms::secs(60)), baseline());
    assert_eq!((service.rungs(), baseline.rungs()), (vec![Rung::new("restart")], vec![Rung::new("reconcile")]));
    assert_eq!((service.rests_on(), baseline.rests_on()), (None, Some(0)));
    assert_eq!((service.trees(), baseline.trees()), (vec![], vec![PathBuf::from("/srv/venv")]));
}
