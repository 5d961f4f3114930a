//! The end of every story: nothing goes wrong any more, and all must be well, or held by somebody's choice.
//!
//! Holding everything for ever is safe and useless: it fails here.

use hostward_core::command::Command;
use hostward_core::engine::Engine;
use hostward_core::hold::{Held, Hold, Lift};
use hostward_core::id::TargetId;
use hostward_core::judge::Verdict;
use hostward_core::time::Ms;
use hostward_core::world::Start;

use crate::sim::Sim;
use crate::truth::{Subject, Truth};

/// How often it is looked whether all is well.
const LOOK_EVERY: Ms = Ms::mins(5);
/// What was down within this may well be a loop.
const LATELY: Ms = Ms::mins(5);
/// An operator does what a hold asks of him, and not at once.
const OPERATOR: Ms = Ms::mins(30);

/// Plays on until all is well. An error: it never was.
pub fn settle(sim: &mut Sim) -> Result<(), String> {
    if sim.scenario.calm == Ms::ZERO {
        return Ok(());
    }
    sim.calm_down();
    let begin = sim.real();
    let mut helped = begin;
    loop {
        sim.run_for(LOOK_EVERY);
        if sim.breach.is_some() {
            return Ok(());
        }
        let trouble = unwell(sim);
        let Some(trouble) = trouble else { return Ok(()) };
        let real = sim.real();
        if real.saturating_sub(begin) >= sim.scenario.calm {
            return Err(trouble);
        }
        if real.saturating_sub(helped) >= OPERATOR {
            helped = real;
            help(sim);
        }
    }
}

/// What only an operator may do, and what the engine tells him to.
fn help(sim: &mut Sim) {
    let Some(engine) = &sim.engine else { return };
    let state = &engine.world().state;
    let stuck = !state.stuck.is_empty() || state.runs.values().any(|run| run.stuck().is_some());
    let safe = matches!(engine.world().start, Start::Safe(_));
    if stuck {
        sim.order(Command::Clear { watch: None });
    }
    if safe {
        sim.restart_engine();
    }
}

/// The first thing that is not as it should be.
fn unwell(sim: &mut Sim) -> Option<String> {
    // Between two one-minute processes nobody can be asked, and one trial a plateau goes on for ever: a run that is
    // under way now may end by itself.
    sim.run_while(Ms::mins(5), |sim| sim.engine.as_ref().is_none_or(|engine| !engine.world().state.runs.is_empty()));
    let Some(engine) = &sim.engine else { return Some("no engine begins any more".into()) };
    let world = engine.world();
    if let Some((run, open)) = world.state.runs.iter().next() {
        return Some(format!("run {run} of {} is still open: {:?}", open.plan.watch, open.next()));
    }
    if let Some(unit) = sim.host.units.iter().find(|unit| unit.by_us && !unit.masked) {
        return Some(format!("{} was stopped by us and never ran again", unit.name));
    }
    let ill: Vec<String> = sim.truth.iter().filter_map(|truth| ill(sim, engine, truth)).collect();
    // Each by itself may be excused; what waits for somebody who is excused is, too.
    let bad = sim.truth.iter().any(|truth| ill_and_nobodys_choice(sim, engine, truth));
    bad.then(|| ill.join("; "))
}

/// What there is to say of a target that is not well, or not known to be.
fn ill(sim: &Sim, engine: &Engine, truth: &Truth) -> Option<String> {
    let world = engine.world();
    let watch = world.policy.watches.get(&truth.id.watch)?;
    let verdict = world.target(&truth.id).map(|target| target.verdict.clone());
    let brake = world.state.targets.get(&truth.id);
    if brake.is_some_and(|brake| brake.attempts.iter().any(|attempt| attempt.settled.is_none())) {
        return Some(format!("an attempt at {} is not settled", truth.id));
    }
    if truth.down.is_none() && verdict == Some(Verdict::Up) {
        return None;
    }
    let holds = world.propose(&truth.id).map(|p| p.holds).unwrap_or_default();
    let holds: Vec<String> = holds.iter().map(said).collect();
    let down = truth.down.map_or("well".into(), |since| format!("down since {since} of {}", sim.real()));
    let mode = world.policy.mode(watch).label();
    Some(format!("{} ({mode}) is {down}, judged {verdict:?}, held by {holds:?}", truth.id))
}

fn ill_and_nobodys_choice(sim: &Sim, engine: &Engine, truth: &Truth) -> bool {
    ill(sim, engine, truth).is_some() && !chosen(sim, &truth.id, 0) && !doomed(sim, truth.subject, 0)
}

/// Nobody here can cure it: it needs something that is broken by somebody's choice, or that nobody watches.
fn doomed(sim: &Sim, subject: Subject, depth: usize) -> bool {
    let Subject::Unit(n) = subject else { return false };
    let unit = &sim.host.units[n].plan;
    let needs = [&unit.requires, &unit.binds_to, &unit.part_of].into_iter().flatten();
    let mut needed: Vec<Subject> = needs
        .filter_map(|name| sim.host.units.iter().position(|unit| unit.plan.name == *name))
        .map(Subject::Unit)
        .collect();
    needed.extend(sim.host.envs.iter().position(|env| Some(&env.name) == unit.imports.as_ref()).map(Subject::Env));
    depth < 6
        && needed.into_iter().any(|need| {
            let truth = sim.truth.iter().find(|truth| truth.subject == need);
            match truth {
                // A loop that happens to be up for a moment takes its dependents down all the same.
                Some(truth) => {
                    let lately = truth.last.is_some_and(|at| sim.real().saturating_sub(at) < LATELY);
                    lately && (chosen(sim, &truth.id, 0) || doomed(sim, need, depth + 1))
                }
                None => !need.well(&sim.host) || doomed(sim, need, depth + 1),
            }
        })
}

fn said(held: &Held) -> String {
    format!("{}: {} ({:?})", held.hold.label(), held.value, held.lift)
}

/// It is held by what somebody decided, or waits for something that is.
fn chosen(sim: &Sim, id: &TargetId, depth: usize) -> bool {
    let Some(engine) = &sim.engine else { return false };
    let world = engine.world();
    let Some(proposal) = world.propose(id) else { return false };
    proposal.holds.iter().any(|held| match (held.hold, &held.lift) {
        (Hold::ObserveOnly | Hold::ProposeOnly | Hold::NoRemedy | Hold::UnitsHealthy, Lift::Operator(_)) => true,
        (Hold::DependencyDown, _) if depth < 4 => world.causes(id).iter().any(|cause| {
            world.target(cause).is_some_and(|t| t.verdict.down().is_some()) && chosen(sim, cause, depth + 1)
        }),
        _ => false,
    })
}
