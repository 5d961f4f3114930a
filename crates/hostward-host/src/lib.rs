//! Every syscall, socket and bus call: small concrete parts, no judgement.

pub mod child;
pub mod evidence;
pub mod exec;
mod files;
mod flight;
pub mod fuse;
pub mod gate;
pub mod http;
pub mod jobs;
pub mod ledger;
pub mod mail;
mod mask;
pub mod mounts;
mod names;
pub mod paths;
pub mod python;
pub mod reach;
pub mod secret;
pub mod systemd;
pub mod tcp;
pub mod veil;
pub mod work;

/// Threads of the process that names, secrets and authorities may hold, each for as long as it hangs.
pub const HANGING_THREADS: usize = names::PLACES + secret::PLACES + http::tls::PLACES;
