//! Every syscall, socket and bus call: small concrete parts, no judgement.

pub mod child;
pub mod exec;
mod files;
pub mod gate;
pub mod http;
pub mod ledger;
pub mod mail;
mod mask;
pub mod mounts;
pub mod paths;
pub mod python;
pub mod reach;
pub mod secret;
pub mod systemd;
pub mod tcp;
