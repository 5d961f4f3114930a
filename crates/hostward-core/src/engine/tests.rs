//! Scenarios: the real engine against a virtual host, in virtual time.

mod host;
mod policy;
mod s1;
mod world;
