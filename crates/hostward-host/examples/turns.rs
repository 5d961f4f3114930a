//! How long one turn of the engine takes with 500 watches: all healthy, and all down. `cargo xtask bench engine` runs it.
//!
//! Prints one JSON object; times are the thread's own processor time, in microseconds.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use hostward_core::ask::{
    Active, Answer, GateReading, HttpAnswer, HttpQ, HttpReading, Question, Reading, SentinelState, SystemState,
    UnitReading,
};
use hostward_core::engine::{Begin, Effect, Engine, Event, Memory};
use hostward_core::id::{UnitName, WatchId};
use hostward_core::ledger::{Origin, State};
use hostward_core::policy::{Brakes, Mode, Policy, Watch};
use hostward_core::time::{Ms, Now};
use hostward_core::watch::{Spec, service};

const WATCHES: usize = 500;

fn policy() -> Policy {
    let watch = |n: usize| {
        let question = HttpQ::get(format!("http://127.0.0.1:{}/health", 8000 + n), vec!["/ok".into()]);
        let json = vec![hostward_core::expect::Test::Exists(true)];
        let http = service::HttpProbe { json, ..service::HttpProbe::new(question) };
        let spec = service::Spec { http: vec![http], ..service::Spec::new(UnitName::new(format!("s{n}.service"))) };
        let brakes =
            Brakes { cooldown: Ms::secs(60), plateau: Ms::mins(30), per_hour: 3, per_day: 6, soak: Ms::mins(1) };
        let watch = Watch {
            app: None,
            mode: Mode::Act,
            sentinel: None,
            compat: None,
            brakes,
            needs: Vec::new(),
            reach: None,
            spec: Spec::Service(spec),
        };
        (WatchId::new(format!("service.s{n}")), watch)
    };
    Policy { watches: (0..WATCHES).map(watch).collect(), ..Policy::default() }
}

struct World {
    now: Now,
    engine: Engine,
    asks: VecDeque<Event>,
    down: bool,
    turns: Vec<f64>,
    sentinel: SentinelState,
}

impl World {
    fn answer(&self, question: &Question) -> Answer {
        Ok(match question {
            Question::Unit(_) => Reading::Unit(Box::new(self.unit())),
            Question::Http(_) => Reading::Http(HttpReading::Answered(HttpAnswer {
                status: 200,
                picked: vec![vec![hostward_core::ask::Picked::Bool(true)]],
                json: true,
                excerpt: "{\"ok\":true}".into(),
                ..HttpAnswer::default()
            })),
            Question::Gate(gate) => Reading::Gate(GateReading {
                sentinels: vec![self.sentinel; gate.sentinels.len()],
                system: SystemState::Running,
                ..GateReading::default()
            }),
            _ => return Err(hostward_core::ask::Fault::Timeout),
        })
    }

    fn unit(&self) -> UnitReading {
        let ran = UnitReading::service(Ms::secs(1));
        if self.down { UnitReading { active: Active::Failed, result: "exit-code".into(), ..ran } } else { ran }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Ask { key, asked, question, .. } => {
                    let answer = self.answer(&question);
                    self.asks.push_back(Event::Answered { key, asked, answer });
                }
                Effect::Append(record) => self.asks.push_back(Event::Durable(record.seq)),
                _ => {}
            }
        }
    }

    fn run(&mut self, span: Ms) {
        let end = self.now.up + span;
        while self.now.up < end {
            let event = self.asks.pop_front().unwrap_or_else(|| {
                let next = self.engine.next_wakeup().unwrap_or(end).max(self.now.up + Ms(1)).min(end);
                self.now = self.now.plus(next.saturating_sub(self.now.up));
                Event::Wake
            });
            let began = cpu_time();
            let effects = self.engine.handle(self.now, event);
            self.turns.push(cpu_time() - began);
            self.take(effects);
        }
    }

    fn figures(&mut self) -> serde_json::Value {
        let mut turns = std::mem::take(&mut self.turns);
        turns.sort_by(f64::total_cmp);
        let at = |percent: usize| turns[(turns.len() - 1) * percent / 100];
        let sum: f64 = turns.iter().sum();
        serde_json::json!({
            "turns": turns.len(), "p50_us": at(50), "p99_us": at(99), "worst_us": at(100),
            "turns_a_second": turns.len() as f64 / (sum / 1e6),
        })
    }
}

/// Of this thread, in microseconds: what else runs on the machine is not the engine's doing.
fn cpu_time() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as f64 * 1e6 + spent.tv_nsec as f64 / 1e3
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn main() {
    let before = resident();
    let now = Now { boot: 1, up: Ms::hours(1), wall: Ms(1_750_000_000_000) };
    let begin = Begin {
        now,
        boot_id: "b".into(),
        policy: Arc::new(Policy {
            host: hostward_core::policy::Host { sentinel: PathBuf::from("/s"), ..Default::default() },
            ..policy()
        }),
        rejected: None,
        state: State::default(),
        memory: Memory::default(),
        damaged: None,
        origin: Origin::Daemon,
    };
    let (engine, effects) = Engine::new(begin);
    let mut world =
        World { now, engine, asks: VecDeque::new(), down: false, turns: Vec::new(), sentinel: SentinelState::Absent };
    world.take(effects);
    world.run(Ms::mins(2));
    let bytes = resident().saturating_sub(before);
    world.turns.clear();
    world.run(Ms::mins(10));
    let healthy = world.figures();
    world.down = true;
    world.run(Ms::mins(3));
    world.turns.clear();
    world.run(Ms::mins(5));
    let held = world.figures();
    // With leave to act: all fell together, so they come one at a time.
    world.sentinel = SentinelState::Present;
    world.run(Ms::mins(10));
    let acting = world.figures();
    let figures = serde_json::json!({
        "watches": WATCHES, "bytes_a_watch": bytes / WATCHES as u64, "healthy": healthy, "down_and_held": held, "down_and_free": acting,
    });
    println!("{figures:#}");
}
