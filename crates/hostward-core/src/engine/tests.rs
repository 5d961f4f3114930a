//! Scenarios: the real engine against a virtual host, in virtual time.

mod apply;
mod brakes;
mod crash;
mod holds;
mod host;
mod hot;
mod leave;
mod needs;
mod notify;
mod orders;
mod parts;
mod policy;
mod quiesce;
mod reckoning;
mod replay;
mod s1;
mod stage;
mod work;
mod world;
