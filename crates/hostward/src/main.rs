//! Hostward: the one binary. The daemon, the timer path and the command line drive the same engine.

#![forbid(unsafe_code)]

mod actor;
mod bus;
mod callers;
mod cli;
mod clock;
mod control;
mod daemon;
mod drive;
mod durations;
mod echo;
mod edge;
mod exit;
mod export;
mod eyes;
mod journal;
mod metrics;
mod mountwatch;
mod notify;
mod oneshot;
mod places;
mod recorder;
mod render;
mod sentinels;
mod serve;
mod spans;
mod status;
mod store;
mod verb;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Verb};
use exit::Exit;
use store::Paths;

/// An idle daemon writes its textfile every 15 s: one thread that stays is cheaper than a new one each time.
const THREAD_KEPT: std::time::Duration = std::time::Duration::from_secs(30);

/// For what the daemon does on threads itself, each one at a time: saves of the evidence and of the notices, the textfile,
/// a reload, and at the end the ledger and the last evidence.
const OWN_THREADS: usize = 6;

fn main() -> ExitCode {
    if let Some(exit) = child(std::env::args_os().skip(1)) {
        return exit;
    }
    // Usage errors are clap's to print; it exits with 2, as ours do.
    match run(Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("hostward: {error:#}");
            exit::of_error(&error).into()
        }
    }
}

/// What the daemon starts of itself: without a runtime, for it may hang in the kernel, and without clap, whose tree of verbs
/// takes longer than most of its answers.
fn child(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let word = arguments.next()?;
    if word == hostward_host::child::SUBCOMMAND {
        return Some(hostward_host::child::answer_stdin());
    }
    if word == hostward_host::paths::SUBCOMMAND {
        return Some(hostward_host::paths::answer_stdin());
    }
    (word == hostward_host::evidence::SUBCOMMAND).then(hostward_host::evidence::gather_stdin)
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    if cli.verb.changes() && !rustix::process::geteuid().is_root() {
        let why = "this changes something on the host or in the ledger, and only root may: use sudo";
        return Err(exit::error(Exit::Refused, why));
    }
    let global = cli.global;
    let paths = Paths { config: global.config, state: global.state, run: global.run };
    let out = verb::Out { json: global.json };
    // One thread: probes wait, they do not compute. What could hang in the kernel runs in a child.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(hostward_host::HANGING_THREADS + OWN_THREADS);
    builder.thread_keep_alive(THREAD_KEPT);
    let runtime = builder.build()?;
    let exit = runtime.block_on(async {
        match cli.verb {
            // A task: whatever wakes the future of block_on itself pays for a write to an eventfd.
            Verb::Run => tokio::spawn(async move { Box::pin(daemon::run(&paths)).await }).await?,
            Verb::Init => verb::init::init(),
            Verb::Status => verb::look::status(&paths, out).await,
            Verb::Check { watch } => verb::look::check(&paths, out, watch).await,
            Verb::Explain { watch } => verb::look::explain(&paths, out, &watch).await,
            Verb::Plan { watch } => verb::look::plan(&paths, out, &watch).await,
            Verb::Trigger { watch, wait } => verb::trigger::trigger(&paths, out, &watch, wait).await,
            Verb::History { watch, stats: true, .. } => verb::history::stats(&paths, out, watch.as_deref()),
            Verb::History { watch, last, .. } => verb::history::history(&paths, out, watch.as_deref(), last),
            Verb::Enable { watch } => verb::gate::enable(&paths, watch.as_deref()),
            Verb::Disable { watch } => verb::gate::disable(&paths, watch.as_deref()),
            Verb::Clear { watch } => verb::ask::clear(&paths, out, watch.as_deref()).await,
            Verb::Pause { watch, span, reason, .. } => {
                verb::ask::pause(&paths, out, watch.as_deref(), span, &reason).await
            }
            Verb::Resume { watch, .. } => verb::ask::resume(&paths, out, watch.as_deref()).await,
            Verb::Apply { plan, wait } => verb::apply::apply(&paths, out, &plan, wait).await,
            Verb::Reload => verb::ask::reload(&paths).await,
            Verb::Config(which) => verb::config::config(&paths, out, &which),
            Verb::Replay { file, under } => verb::replay::replay(out, &file, under.as_deref()),
            Verb::Drill(cli::DrillVerb::Storage { path: Some(path), wounds, .. }) => {
                verb::drill::storage(&paths, out, &path, &wounds).await
            }
            Verb::Drill(cli::DrillVerb::Storage { path: None, wounds, .. }) => {
                verb::drill::live::storage(out, &wounds).await
            }
            Verb::Doctor => verb::doctor::doctor(&paths, out).await,
            Verb::Notify(cli::NotifyVerb::Test { name }) => verb::notify::test(&paths, out, name.as_deref()).await,
            Verb::Man => verb::manual::man(),
            Verb::Completions { shell } => verb::manual::completions(shell),
        }
    });
    // A blocking look at a hung file system must not keep this process from ending.
    runtime.shutdown_background();
    exit
}
