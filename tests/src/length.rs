//! How long a test lets time pass. What a scenario says in minutes is played whole on demand; every run plays a part of it.

use std::time::Duration;

/// Set by `cargo xtask test --full`.
const FULL: &str = "HOSTWARD_TEST_FULL";

/// `whole` where that was asked for, else `part`.
pub fn span(part: Duration, whole: Duration) -> Duration {
    if std::env::var_os(FULL).is_some() { whole } else { part }
}
