//! Verbs that look and never act: `status`, `check`, `explain`, `plan`. Through the daemon when one runs; else here, with
//! the same engine and without hands.

use anyhow::{Result, bail};
use hostward_core::command::Command;
use hostward_core::hold::Held;
use hostward_core::id::WatchId;
use hostward_core::plan::{Plan, PlanHash};
use hostward_core::view::WatchView;
use serde::Serialize;

use super::{Out, load, resolve};
use crate::control::{self, Call, Response};
use crate::exit::{self, Exit};
use crate::status::Status;
use crate::store::Paths;
use crate::{oneshot, render};

pub(crate) async fn status(paths: &Paths, out: Out) -> Result<Exit> {
    let status = known(paths, None).await?;
    out.print(&status, || render::status(&status, status.scope(None)))?;
    Ok(exit::of_status(&status, status.scope(None)))
}

pub(crate) async fn check(paths: &Paths, out: Out, watch: Option<String>) -> Result<Exit> {
    let status = afresh(paths, watch.as_deref()).await?;
    let watch = watch.map(|name| resolve(&name, status.view.watches.iter().map(|w| &w.id)));
    out.print(&status, || render::status(&status, status.scope(watch.as_ref())))?;
    Ok(exit::of_status(&status, status.scope(watch.as_ref())))
}

pub(crate) async fn explain(paths: &Paths, out: Out, name: &str) -> Result<Exit> {
    let status = known(paths, Some(name)).await?;
    let watch = find(&status, name)?;
    out.print(watch, || render::explain(&status, watch))?;
    Ok(exit::of_watches([watch]))
}

/// What `plan --json` prints, one a target that has a plan.
#[derive(Serialize)]
struct Planned<'a> {
    hash: &'a PlanHash,
    plan: &'a Plan,
    holds: &'a [Held],
}

pub(crate) async fn plan(paths: &Paths, out: Out, name: &str) -> Result<Exit> {
    let status = afresh(paths, Some(name)).await?;
    let watch = find(&status, name)?;
    let planned: Vec<Planned> = watch
        .targets
        .iter()
        .filter_map(|target| {
            let (hash, plan) = target.plan.as_ref()?;
            Some(Planned { hash, plan, holds: &target.holds })
        })
        .collect();
    out.print(&planned, || match planned.as_slice() {
        [] => format!("nothing to do for {}: `hostward explain {}` says why\n", watch.id, watch.id),
        all => all.iter().map(|p| render::plan(status.view.at, p.hash, p.plan, p.holds)).collect(),
    })?;
    Ok(exit::of_watches([watch]))
}

fn find<'a>(status: &'a Status, name: &str) -> Result<&'a WatchView> {
    let known: Vec<WatchId> = status.view.watches.iter().map(|w| w.id.clone()).collect();
    let id = resolve(name, known.iter());
    status.view.watch(&id).ok_or_else(|| oneshot::no_such_watch(&id, &known))
}

/// What the daemon knows; without one, what can be seen now.
pub(super) async fn known(paths: &Paths, name: Option<&str>) -> Result<Status> {
    match ask(paths, &Call::Status).await? {
        Some(status) => Ok(status),
        None => look_here(paths, name).await,
    }
}

/// A fresh look, by the daemon or here.
async fn afresh(paths: &Paths, name: Option<&str>) -> Result<Status> {
    let Some(before) = ask(paths, &Call::Status).await? else {
        return look_here(paths, name).await;
    };
    let watch = name.map(|name| resolve(name, before.view.watches.iter().map(|w| &w.id)));
    match ask(paths, &Call::Look { watch }).await? {
        Some(status) => Ok(status),
        None => look_here(paths, name).await,
    }
}

async fn look_here(paths: &Paths, name: Option<&str>) -> Result<Status> {
    let loaded = load(paths)?;
    let watch = name.map(|name| resolve(name, loaded.policy.watches.keys()));
    oneshot::status_of(oneshot::look(paths, loaded.policy, Command::Look { watch }).await?)
}

/// None: no daemon runs.
pub(super) async fn ask(paths: &Paths, call: &Call) -> Result<Option<Status>> {
    Ok(match control::call(&paths.control(), call).await? {
        None => None,
        Some(Response::Status(status)) => Some(*status),
        Some(Response::NoSuchWatch { asked, known }) => return Err(oneshot::no_such_watch(&asked, &known)),
        Some(Response::Refused { why }) => return Err(exit::error(Exit::Refused, why)),
        Some(Response::Busy { why }) => return Err(exit::error(Exit::Busy, why)),
        Some(other) => bail!("the daemon answered another question: {other:?}"),
    })
}
