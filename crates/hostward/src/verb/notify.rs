//! `notify test`: one test message by each way, and what came back. It works with the daemon dead, and marks nothing.

use std::fmt::Write as _;

use anyhow::Result;
use hostward_config::Notifier;
use hostward_core::id::Str;
use hostward_core::notify::Message;
use serde::Serialize;

use super::{Out, load};
use crate::exit::{self, Exit};
use crate::notify::{Courier, Outcome};
use crate::store::{self, Paths};

#[derive(Serialize)]
struct Tested<'a> {
    notifier: &'a Str,
    way: &'static str,
    outcome: Outcome,
}

pub(crate) async fn test(paths: &Paths, out: Out, name: Option<&str>) -> Result<Exit> {
    let notifiers = load(paths)?.export.notify.notifiers;
    let meant: Vec<(&Str, &Notifier)> =
        notifiers.iter().filter(|(known, _)| name.is_none_or(|name| ***known == *name)).collect();
    if meant.is_empty() {
        let known: Vec<&str> = notifiers.keys().map(|name| &**name).collect();
        let why = match (name, known.as_slice()) {
            (Some(name), [_, ..]) => format!("there is no [notify.{name}]; there are: {}", known.join(", ")),
            _ => "no [notify.NAME] is configured".to_owned(),
        };
        return Err(exit::error(Exit::Usage, why));
    }
    let (clock, _) = store::clock(&hostward_core::ledger::State::default())?;
    let (courier, message) = (Courier::new(), Message::test(clock.now()));
    let mut tested = Vec::new();
    for (notifier, of) in meant {
        let outcome = courier.deliver(&of.way, &message).await;
        tested.push(Tested { notifier, way: of.way.label(), outcome });
    }
    out.print(&tested, || words(&tested))?;
    let all = tested.iter().all(|tested| matches!(tested.outcome, Outcome::Sent(_)));
    Ok(if all { Exit::Ok } else { Exit::Failed })
}

fn words(tested: &[Tested<'_>]) -> String {
    let mut out = String::new();
    for Tested { notifier, way, outcome } in tested {
        let (mark, says) = match outcome {
            Outcome::Sent(says) => ("✓", says.clone()),
            Outcome::Failed(why) => ("✗", why.clone()),
            Outcome::Unclear(why) => ("✗", format!("{why}; it may have arrived")),
        };
        let _ = writeln!(out, "{mark} {notifier:<14} {way:<12} {says}");
    }
    out
}
