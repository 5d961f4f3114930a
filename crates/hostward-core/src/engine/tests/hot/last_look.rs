//! What the last look before a plan shows beside the path itself: a base that has only just died, a cold folder that lies
//! on something else than was declared.

use std::path::Path;

use super::host::{A, B, BOX, Host, Mounted, Server, lost, spec};
use crate::hold::Hold;
use crate::time::Ms;

/// A base that dies at the last look before a plan is not steady yet, and its dead mount must go all the same.
#[test]
fn a_base_that_dies_at_the_last_look_is_taken_off_as_well() {
    let mut restarted = 0;
    for after in 60..200 {
        let mut host = lost(Server::Serves);
        host.stacks.remove(Path::new(A));
        host.run_until(Ms::secs(after), |_| false);
        host.servers.insert(1, Server::Dead);
        let planned = host.planned();
        let restarts = planned.contains(&"restart box.service".to_owned());
        assert!(!restarts || planned.contains(&"unmount /srv/box".to_owned()), "{after}: {planned:#?}");
        restarted += u32::from(restarts);
    }
    assert!(restarted > 0, "it died before the plan in some of them");
}

/// To bind it would put the writers there.
#[test]
fn a_cold_folder_on_something_else_than_was_declared_is_not_bound() {
    for (source, fstype) in [(Some("box:/"), None), (None, Some("fuse.sshfs"))] {
        let mut spec = spec();
        spec.paths.remove(0);
        spec.paths[0].expected.source = source.map(Into::into);
        spec.paths[0].expected.fstype = fstype.map(Into::into);
        let mut host = Host::with(spec);
        host.run_until(Ms::mins(3), |_| false);
        host.stack(BOX, Mounted::Other);
        host.stacks.remove(Path::new(A));
        assert!(!host.run_until(Ms::mins(10), |host| !host.plans().is_empty()), "{:#?}", host.plans());
        let (holds, said) = host.holds(A);
        assert_eq!(holds, [Hold::NoRemedy]);
        assert!(said.contains("what would be bound is"), "{said}");

        host.stack(BOX, Mounted::Box(1, "/".into()));
        assert!(host.planned().contains(&"bind /srv/box/a to /srv/jobs/a".to_owned()), "what was declared is");
    }
}

/// The base's own path says what it must be, for everything that is bound from it; and its unit mounts over nobody.
#[test]
fn nothing_is_bound_from_a_base_that_somebody_replaced() {
    for stopped in [false, true] {
        let mut host = lost(Server::Serves);
        host.stack(BOX, Mounted::Other);
        host.units.retain(|unit| !(stopped && *unit == "box.service"));
        for path in [A, B] {
            host.stacks.remove(Path::new(path));
        }
        assert!(!host.run_until(Ms::mins(10), |host| !host.plans().is_empty()), "{stopped}: {:#?}", host.planned());
        host.stack(BOX, Mounted::Box(1, "/".into()));
        assert!(host.planned().contains(&"bind /srv/box/a to /srv/jobs/a".to_owned()), "{stopped}");
    }
}
