//! The simulator: the real engine in a simulated world. Development only; nothing of it ships.
//!
//! A seed makes a scenario ([`scenario`]); a [`sim::Sim`] plays it on a virtual [`host`] in virtual time, with faults;
//! after every event the [`law`]s are looked at; when the faults are over all must be well in the end ([`calm`]). A
//! failure is shrunk to what it needs ([`shrink`]) and written down so that it can be told again ([`trace`]).
//!
//! Invariant, as an absence: nothing here reads a clock, an environment or a random number that no seed decides.

pub mod book;
pub mod calm;
pub mod clock;
pub mod coverage;
pub mod disk;
pub mod host;
pub mod law;
#[cfg(feature = "planted")]
pub mod planted;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod sim;
pub mod trace;
pub mod truth;
