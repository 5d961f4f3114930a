//! Whole files: what is read from them, what is refused, and how that is said.

mod examples;
mod files;
mod jobs;
mod notify;
mod probes;
mod refusals;
mod report;
mod storage;

use crate::{ConfigError, Loaded, Rejected, parse};

fn good(text: &str) -> Loaded {
    match parse(&[("hostward.toml", text)]) {
        Ok(loaded) => loaded,
        Err(rejected) => panic!("{}", rejected.render(false)),
    }
}

fn bad(text: &str) -> Rejected {
    match parse(&[("hostward.toml", text)]) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(rejected) => rejected,
    }
}

/// `3:5 message | help`
fn line(error: &ConfigError) -> String {
    let help = error.help.as_deref().unwrap_or("-");
    format!("{}:{} {} | {help}", error.line, error.column, error.message)
}
