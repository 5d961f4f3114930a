pub mod ledger;
pub mod systemd;
