//! Scenarios: the real engine against a virtual host, in virtual time.

mod brakes;
mod crash;
mod holds;
mod host;
mod leave;
mod needs;
mod notify;
mod orders;
mod parts;
mod policy;
mod replay;
mod s1;
mod world;
