//! `[host]`, `[app.NAME]` and `[metrics]`.

use std::path::PathBuf;

use hostward_core::policy::{App, Host};

use crate::Export;
use crate::finding::{Finding, Place};
use crate::reader::Reader;
use crate::scalar;

/// The host, where its budget is set, and how much of what is observed is kept.
pub(crate) fn host(mut table: Reader<'_>) -> (Host, Place, Option<u64>) {
    let default = Host::default();
    let record = table.get("record", &scalar::SIZE).map(|said| said.value);
    let budget = table.get("budget", &scalar::BUDGET);
    let at = budget.as_ref().map_or_else(|| table.at().clone(), |said| said.at.clone());
    let host = Host {
        sentinel: table.or("sentinel", &scalar::SENTINEL, default.sentinel),
        mode: table.or("mode", &scalar::MODE, default.mode),
        settle: table.or("settle", &scalar::SPAN, default.settle),
        budget: budget.map_or(default.budget, |said| said.value),
        // From `[metrics]`, once all files are read.
        textfile: None,
    };
    table.finish();
    (host, at, record)
}

pub(crate) fn app(mut table: Reader<'_>) -> App {
    let app = App {
        lock: lock(&mut table),
        sentinel: table.get("sentinel", &scalar::SENTINEL).map(|said| said.value),
        replaces: table
            .list("replaces", &scalar::UNIT)
            .unwrap_or_default()
            .into_iter()
            .map(|said| said.value)
            .collect(),
        tree: table.get("tree", &scalar::PATH).map(|said| said.value),
    };
    table.finish();
    app
}

/// `lock = { flock = PATH }`: the word says how it is taken, and leaves room for other ways.
fn lock(table: &mut Reader<'_>) -> Option<PathBuf> {
    let mut lock = table.table("lock")?;
    let flock = lock.need("flock", &scalar::PATH);
    lock.finish();
    flock.map(|said| said.value)
}

pub(crate) fn metrics(mut table: Reader<'_>) -> Export {
    let listen = table.get("listen", &scalar::ADDRESS);
    if let Some(said) = listen.as_ref().filter(|said| !said.value.ip().is_loopback()) {
        let finding = Finding::warning("the metrics can be read by other hosts")
            .help("listen on 127.0.0.1, unless a firewall stands before it");
        table.push(&said.at, finding);
    }
    let textfile = table.get("textfile", &scalar::TEXTFILE);
    table.finish();
    let (listen, textfile) = (listen.map(|said| said.value), textfile.map(|said| said.value));
    Export { listen, textfile, ..Export::default() }
}
