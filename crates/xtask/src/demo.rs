//! `demo`: scenario S1 before your eyes.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::Result;
use hostward_tests::{ExampleApp, RestartSec, Sandbox};

/// Prints what happens, and when.
struct Timeline {
    started: Instant,
}

impl Timeline {
    fn start() -> Self {
        Self { started: Instant::now() }
    }

    fn say(&self, what: impl Display) {
        println!("{:>7.2} s  {what}", self.started.elapsed().as_secs_f64());
    }
}

/// Long enough for the second restart of a service with RestartSec=5.
const CRASH_LOOP_WITHIN: Duration = Duration::from_secs(20);

pub(crate) fn demo() -> Result<()> {
    let timeline = Timeline::start();
    let sandbox = Sandbox::boot("demo")?;
    timeline.say(format!("a sandbox is up, its PID 1 is systemd ({} outside)", sandbox.init_pid()));
    let app = ExampleApp::install(&sandbox, RestartSec::Five)?;
    timeline.say("the example API is installed and healthy");
    // Here Hostward is to be installed (install_hostward) and started, so that it sees what follows.
    app.break_by_updating_code_without_install()?;
    timeline.say("its code was updated, its new dependency was not installed");
    sandbox.wait_until("the crash loop", CRASH_LOOP_WITHIN, || Ok(app.restarts()? >= 2))?;
    timeline.say("it crash-loops; systemd calls it 'activating', never 'failed'");
    // And here the demo is to wait for Hostward's repair: app.wait_healthy(2, ..), then `hostward explain` and `history`.
    app.reconcile_by_hand()?;
    app.wait_healthy(2, CRASH_LOOP_WITHIN)?;
    timeline.say("healthy again, repaired by hand");
    Ok(())
}
