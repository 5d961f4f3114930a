//! Everything that can go wrong, and when it does.

use hostward_core::ask::SystemState;
use hostward_core::time::Ms;
use serde::{Deserialize, Serialize};

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub at: When,
    /// After this it is over; for what happens once, or is there until somebody mends it, zero.
    #[serde(default)]
    pub lasts: Ms,
    pub what: What,
}

/// The moment at which a fault strikes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// So long after the story's beginning.
    After(Ms),
    /// At the n-th effect of this name, from 1: `ask`, `perform`, `opened`, `began`, ... (see [`crate::sim::effect_name`]).
    Effect { name: String, nth: u32, side: Side },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The effect, and those of the same turn after it, do not take place if the engine dies of this.
    Before,
    After,
}

/// What is asked: whose probes a fault concerns. Empty: everybody's.
pub type Name = String;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    // Things break.
    /// The process ends and nothing restarts it.
    Fail(Name),
    /// The process is killed; systemd restarts it if Restart= says so.
    Kill(Name),
    /// The process ends this soon after each start, while the fault lasts.
    CrashLoop {
        service: Name,
        after: Ms,
    },
    /// The process runs and nobody answers: until it is restarted, or (`stubborn`) while the fault lasts.
    Silent {
        service: Name,
        stubborn: bool,
    },
    /// The same, answering 503.
    Degraded {
        service: Name,
        stubborn: bool,
    },
    /// It answers 200 and 503 in turn, while the fault lasts.
    Flapping(Name),
    /// Falls silent again this long after each start, while the fault lasts.
    Relapse {
        service: Name,
        after: Ms,
    },
    /// The environment lacks a package.
    Drift(Name),
    /// Its interpreter is gone.
    Gone(Name),
    /// A new revision was checked out: its lock is another.
    Revision(Name),
    BreakToy {
        toy: Name,
        key: u32,
    },

    // People at work.
    Stop(Name),
    Start(Name),
    Restart(Name),
    Mask(Name),
    Disable(Name),
    /// Files of the tree change every few seconds.
    Touch(Name),
    /// pip runs in the tree.
    Operator(Name),
    DeployLock(Name),
    LockUnreadable(Name),
    OldActor(Name),
    Rival,
    NoHostSentinel,
    /// The sentinel of a watch, or of an app by `app.NAME`.
    NoSentinel(Name),
    /// It is there, and not root's.
    BadSentinel(Name),
    Unreachable,
    System(SystemState),
    Pause {
        watch: Option<Name>,
        span: Ms,
    },
    Resume {
        watch: Option<Name>,
    },
    Clear {
        watch: Option<Name>,
    },
    Look,
    Cycle(Name),
    View,
    /// The operator applies whatever is proposed for this watch.
    Apply(Name),
    Reload {
        watch: Name,
        change: Change,
    },
    /// A configuration that does not load.
    BadConfig,

    // Cures.
    CureFails,
    /// They do their work, and nobody learns of it.
    CureLost,
    /// They say "ok" and do nothing.
    CureNothing,
    /// They do their work and break this service.
    CureBreaks(Name),
    /// They take so long.
    CureSlow(Ms),
    /// The word comes twice.
    WordTwice,
    /// The word comes so much later.
    WordLate(Ms),
    /// Units do not come up when started.
    StartFails(Name),
    /// Timers cannot be armed.
    ArmFails,

    // Looks.
    /// Questions of this watch have no answer but a fault.
    Blind(Name),
    /// Nothing is ever said.
    Mute(Name),
    Slow {
        watch: Name,
        by: Ms,
    },
    /// Whatever is down looks up.
    LieUp(Name),
    /// Whatever is up looks down.
    LieDown(Name),
    /// The system bus is away: no units, no jobs, no signals.
    BusAway,
    HintsLost,
    HintStorm,
    /// The processor is wanted by others: our timers are so late, and health checks run out of time.
    Starve {
        late: Ms,
        echo: bool,
    },

    // The ledger.
    DiskFull,
    DiskSlow(Ms),
    /// Says "durable" and keeps it in a cache that a power cut empties.
    DiskLies,
    /// The ledger is damaged in its middle: found by the next engine.
    Damage,

    // Ourselves.
    Crash {
        tail: Tail,
        down: Ms,
    },
    /// Ends in good order and starts again.
    Replace {
        down: Ms,
    },
    Reboot {
        down: Ms,
        power_cut: bool,
    },
    /// The wall clock jumps, by milliseconds.
    WallJump(i64),
}

/// What becomes of records that were handed over and not synced when the engine dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tail {
    Lost,
    /// The page cache has them.
    Kept,
    /// The last of them was half written, and is cut off.
    Torn,
}

/// What a reload changes of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Observe,
    Propose,
    Act,
    Slower,
    Remove,
}

impl What {
    /// All of them, by the names under which they are counted.
    pub const NAMES: &[&str] = &[
        "fail",
        "kill",
        "crash_loop",
        "silent",
        "degraded",
        "flapping",
        "relapse",
        "drift",
        "gone",
        "revision",
        "break_toy",
        "stop",
        "start",
        "restart",
        "mask",
        "disable",
        "touch",
        "operator",
        "deploy_lock",
        "lock_unreadable",
        "old_actor",
        "rival",
        "no_host_sentinel",
        "no_sentinel",
        "bad_sentinel",
        "unreachable",
        "system",
        "pause",
        "resume",
        "clear",
        "look",
        "cycle",
        "view",
        "apply",
        "reload",
        "bad_config",
        "cure_fails",
        "cure_lost",
        "cure_nothing",
        "cure_breaks",
        "cure_slow",
        "word_twice",
        "word_late",
        "start_fails",
        "arm_fails",
        "blind",
        "mute",
        "slow",
        "lie_up",
        "lie_down",
        "bus_away",
        "hints_lost",
        "hint_storm",
        "starve",
        "disk_full",
        "disk_slow",
        "disk_lies",
        "damage",
        "crash",
        "replace",
        "reboot",
        "wall_jump",
    ];

    /// Its name in the coverage table: as a scenario's file writes it.
    pub fn name(&self) -> String {
        let json = serde_json::to_value(self).unwrap_or_default();
        match json {
            serde_json::Value::String(name) => name,
            serde_json::Value::Object(fields) => fields.keys().next().cloned().unwrap_or_default(),
            _ => String::new(),
        }
    }
}
