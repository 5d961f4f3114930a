//! The core of Hostward: facts in, wishes out.
//!
//! It judges observations, drafts plans, says what holds them, follows their runs and folds the ledger.
//!
//! Invariants, as absences: this crate performs no I/O, reads no clock, starts no task, logs nothing, holds no global
//! state and iterates over no container of random order. The same events give the same effects, byte for byte.
//!
//! The line, a module a stage: [`ask`] → [`judge`] → [`plan`] (checked by [`check`]) → [`hold`] → [`run`] →
//! [`prove`] → [`ledger`] → [`view`]. [`engine`] turns the crank. What is particular to a kind of watch lives in one file
//! below [`watch`].

#![forbid(unsafe_code)]

pub mod ask;
pub mod check;
pub mod command;
pub mod engine;
pub mod expect;
#[cfg(test)]
mod fixture;
pub mod graph;
pub mod hold;
pub mod id;
pub mod judge;
pub mod ledger;
pub mod notify;
pub mod plan;
pub mod planted;
pub mod policy;
pub mod prove;
pub mod replay;
pub mod run;
pub mod starvation;
pub mod time;
pub mod view;
pub mod watch;
pub mod world;
