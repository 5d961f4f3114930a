//! The core of Hostward: facts in, wishes out.
//!
//! It judges observations, drafts plans, says what holds them, follows their runs and folds the ledger.
//!
//! Invariants, as absences: this crate performs no I/O, reads no clock, starts no task, logs nothing, holds no global
//! state and iterates over no container of random order. The same events give the same effects, byte for byte.
//!
//! The line, a module a stage: [`ask`] → `judge` → `plan` (checked by `check`) → `hold` → `run` →
//! `prove` → `ledger` → `view`. `engine` turns the crank. What is particular to a kind of watch lives in one file
//! below `watch`.

pub mod ask;
pub mod id;
pub mod policy;
pub mod time;
pub mod watch;
