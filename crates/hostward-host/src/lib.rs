//! Every syscall, socket and bus call: small concrete parts, no judgement.

pub mod child;
pub mod exec;
mod files;
pub mod gate;
pub mod http;
pub mod ledger;
mod mask;
pub mod mounts;
pub mod python;
pub mod reach;
mod secret;
pub mod systemd;
pub mod tcp;
