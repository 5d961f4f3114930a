//! The real-systemd harness: sandboxes whose PID 1 is systemd, an example application to break, and Hostward installed in
//! them as a package would.
//!
//! Invariant: nothing here changes the machine that it runs on. Everything happens in a [`Sandbox`], which its end, its
//! panic or its SIGKILL takes away entirely. The one exception is a [`Sysctl`], which the kernel has only once. What can't
//! run here fails and names what is missing; it never skips.

#![forbid(unsafe_code)]

mod crawl;
mod debian;
mod example;
mod guard;
mod hot;
mod install;
mod jobs;
mod ledger_file;
mod length;
mod page;
mod paths;
mod sandbox;
mod side;
mod starved;
mod sysctl;
mod tiny;
mod wait;
mod worker;

pub use crawl::CrawlTable;
pub use debian::{Nginx, Postgres, Redis};
pub use example::{ExampleApp, Reconcile, RestartSec};
pub use guard::{Guard, find};
pub use hot::HotPaths;
pub use install::{install_hostward, write_config};
pub use jobs::Jobs;
pub use ledger_file::LedgerFile;
pub use length::span;
pub use page::Page;
pub use paths::{hostward_binary, repository, target_dir};
pub use sandbox::{BootOptions, Cgroup, Output, Sandbox};
pub use side::side_by_side;
pub use starved::Starved;
pub use sysctl::Sysctl;
pub use tiny::{QUICK_HOST, Tiny};
pub use worker::{Worker, worker_config};
