//! What goes wrong in a story, and when.

use hostward_core::ask::SystemState;
use hostward_core::time::Ms;

use super::super::fault::{Change, Side, Tail};
use super::super::{Fault, Scenario, What, When};
use super::Theme;
use crate::rng::Rng;

/// Each theme about as often as it has kinds of faults.
const BY_KINDS: &[Theme] = &[
    Theme::Crashes,
    Theme::Gates,
    Theme::Gates,
    Theme::Gates,
    Theme::Gates,
    Theme::Ledger,
    Theme::Ledger,
    Theme::Looks,
    Theme::Looks,
    Theme::Looks,
    Theme::Looks,
    Theme::Cures,
    Theme::Cures,
    Theme::Cures,
    Theme::Cures,
    Theme::Clocks,
    Theme::People,
    Theme::People,
    Theme::People,
    Theme::People,
    Theme::People,
    Theme::People,
];

/// Effects that come a few times in a story, and how often at most.
const SELDOM: &[(&str, u32)] = &[
    ("began", 12),
    ("ended", 12),
    ("settled", 8),
    ("settled", 4),
    ("settled", 2),
    ("returning", 5),
    ("returned", 5),
    ("perform_back", 5),
    ("arm", 4),
    ("disarm", 4),
];

#[expect(clippy::struct_field_names, reason = "they are the faults")]
pub(super) struct Faults<'a> {
    rng: Rng,
    made: &'a Scenario,
    barrage: bool,
    faults: Vec<Fault>,
}

impl Faults<'_> {
    pub(super) fn of(rng: Rng, made: &Scenario, theme: Theme, long: bool) -> Vec<Fault> {
        let mut faults = Faults { rng, made, barrage: theme == Theme::Barrage, faults: Vec::new() };
        if faults.barrage {
            faults.barrage();
        } else {
            faults.all(theme, long);
        }
        faults.faults
    }

    /// Each minute seven things break, fifteen are in the way for a moment, and four of those happen that are rare.
    fn barrage(&mut self) {
        let minutes = usize::try_from(self.made.trouble.0 / 60_000).unwrap_or(20);
        for _ in 0..7 * minutes {
            let at = self.when();
            self.breaks(at);
        }
        for _ in 0..15 * minutes {
            let theme = *self.rng.pick(BY_KINDS);
            self.adversity(theme);
        }
        for _ in 0..4 * minutes {
            self.rare();
        }
    }

    /// What the themes have as one half of a kind.
    fn rare(&mut self) {
        let (at, lasts, app) = (self.any_moment(), self.lasts(), self.app());
        let (lasts, what) = match self.rng.below(8) {
            0 => (Ms::ZERO, What::Replace { down: self.rng.span(Ms(200), Ms::mins(2)) }),
            1 => (lasts, What::OldActor(app)),
            2 => (lasts, What::Rival),
            3 => (Ms::ZERO, What::Gone(app)),
            4 => (Ms::ZERO, What::Drift(app)),
            5 => (Ms::ZERO, What::Look),
            6 => (Ms::ZERO, What::View),
            _ => (lasts.max(Ms::secs(30)), What::Starve { late: Ms::secs(2), echo: self.rng.percent(50) }),
        };
        self.push(at, lasts, what);
    }

    fn all(&mut self, theme: Theme, long: bool) {
        let breaks = 1 + self.rng.below(if long { 12 } else { 5 });
        for _ in 0..breaks {
            let at = self.when();
            self.breaks(at);
        }
        if theme == Theme::Storm {
            let at = self.when();
            for n in 0..self.made.services.len() {
                let name = self.made.services[n].name.clone();
                let after = self.rng.ms(Ms::ZERO, Ms::secs(20));
                let When::After(base) = at else { continue };
                self.push(When::After(base + after), Ms::ZERO, What::Fail(name));
            }
        }
        let more = match theme {
            Theme::Mixed => 8,
            Theme::Storm => 2,
            _ => 6,
        };
        for _ in 0..self.rng.below(more + 1) {
            let themes = [
                Theme::Crashes,
                Theme::Gates,
                Theme::Ledger,
                Theme::Looks,
                Theme::Cures,
                Theme::Clocks,
                Theme::People,
            ];
            let of = if theme == Theme::Mixed || self.rng.percent(15) { *self.rng.pick(&themes) } else { theme };
            self.adversity(of);
        }
    }

    fn push(&mut self, at: When, lasts: Ms, what: What) {
        self.faults.push(Fault { at, lasts, what });
    }

    /// Most strike when something is broken already: early, and near each other.
    fn when(&mut self) -> When {
        let most = self.made.trouble;
        if self.barrage {
            return When::After(self.rng.ms(Ms::secs(20), most));
        }
        When::After(self.rng.span(Ms::secs(20), Ms(most.0.max(60_000))))
    }

    fn lasts(&mut self) -> Ms {
        if self.barrage {
            return self.rng.span(Ms::secs(1), Ms::secs(30));
        }
        let most = Ms::hours(2).min(self.made.trouble).max(Ms::secs(2));
        self.rng.span(Ms::secs(1), most)
    }

    fn service(&mut self) -> String {
        self.rng.pick(&self.made.services).name.clone()
    }

    fn watch(&mut self) -> String {
        let services = self.made.services.iter().map(|s| format!("service.{}", s.name));
        let envs = self.made.envs.iter().map(|e| format!("baseline.{}", e.name));
        let toys = self.made.toys.iter().map(|t| format!("toy.{}", t.name));
        let all: Vec<String> = services.chain(envs).chain(toys).collect();
        self.rng.pick(&all).clone()
    }

    fn someone(&mut self) -> String {
        if self.rng.percent(30) { String::new() } else { self.watch() }
    }

    fn app(&mut self) -> String {
        if self.made.apps.is_empty() { "shop".into() } else { self.rng.pick(&self.made.apps).name.clone() }
    }

    fn breaks(&mut self, at: When) {
        let (service, lasts) = (self.service(), self.lasts());
        let stubborn = self.rng.percent(40);
        let held = if stubborn { lasts } else { Ms::ZERO };
        let env = (!self.made.envs.is_empty()).then(|| self.rng.pick(&self.made.envs).name.clone());
        let toy = (!self.made.toys.is_empty()).then(|| self.rng.pick(&self.made.toys).clone());
        // What takes more than a restart is half of a barrage.
        let least = if self.barrage && self.rng.percent(40) { 8 } else { 0 };
        let (lasts, what) = match (least + self.rng.below(14 - least), env, toy) {
            (0, ..) => (Ms::ZERO, What::Fail(service)),
            (1, ..) => (Ms::ZERO, What::Kill(service)),
            (2, ..) => (lasts, What::CrashLoop { service, after: self.rng.span(Ms(100), Ms::secs(20)) }),
            (3 | 4, ..) => (held, What::Silent { service, stubborn }),
            (5, ..) => (held, What::Degraded { service, stubborn }),
            (6, ..) => (lasts, What::Flapping(service)),
            (7, ..) => (lasts, What::Relapse { service, after: self.rng.span(Ms::secs(10), Ms::mins(20)) }),
            (8 | 9, Some(env), _) => (Ms::ZERO, What::Drift(env)),
            (10, Some(env), _) => (Ms::ZERO, if stubborn { What::Gone(env) } else { What::Revision(env) }),
            (11.., _, Some(toy)) => {
                let key = u32::try_from(self.rng.below(toy.keys as usize)).unwrap_or(0);
                (Ms::ZERO, What::BreakToy { toy: toy.name, key })
            }
            _ => (Ms::ZERO, What::Silent { service, stubborn: false }),
        };
        // A drift is followed by the restart that shows it, as in the incident that began this project.
        if let (What::Drift(_) | What::Gone(_), When::After(base)) = (&what, &at)
            && self.rng.percent(60)
        {
            let service = self.service();
            self.push(When::After(*base + Ms::secs(1)), Ms::ZERO, What::Restart(service));
        }
        self.push(at, lasts, what);
    }

    fn adversity(&mut self, theme: Theme) {
        match theme {
            Theme::Crashes => self.crashes(),
            Theme::Gates => self.gates(),
            Theme::Ledger => self.ledger(),
            Theme::Looks => self.looks(),
            Theme::Cures => self.cures(),
            Theme::Clocks => self.clocks(),
            _ => self.people(),
        }
    }

    fn tail(&mut self) -> Tail {
        *self.rng.pick(&[Tail::Lost, Tail::Kept, Tail::Kept, Tail::Torn])
    }

    fn at_effect(&mut self) -> When {
        const NAMES: &[(&str, u32)] = &[
            ("ask", 400),
            ("perform", 6),
            ("perform", 3),
            ("perform_back", 4),
            ("opened", 3),
            ("began", 6),
            ("ended", 6),
            ("closed", 3),
            ("settled", 3),
            ("returning", 3),
            ("returned", 3),
            ("turned", 8),
            ("held", 6),
            ("arm", 3),
            ("disarm", 3),
            ("adopt", 3),
            ("release", 4),
            ("cancel", 2),
            ("noted", 6),
        ];
        let names = if self.barrage && self.rng.percent(40) { SELDOM } else { NAMES };
        let (name, most) = *self.rng.pick(names);
        let nth = 1 + u32::try_from(self.rng.below(most as usize)).unwrap_or(0);
        let side = if self.rng.percent(50) { Side::Before } else { Side::After };
        When::Effect { name: name.into(), nth, side }
    }

    fn any_moment(&mut self) -> When {
        if self.rng.percent(if self.barrage { 60 } else { 45 }) { self.at_effect() } else { self.when() }
    }

    fn crashes(&mut self) {
        let at = if self.rng.percent(85) { self.at_effect() } else { self.when() };
        let down = self.rng.span(Ms(200), Ms::mins(10));
        let what = match self.rng.below(10) {
            0 => What::Replace { down },
            1 => What::Reboot { down: Ms::secs(15), power_cut: self.rng.percent(50) },
            _ => What::Crash { tail: self.tail(), down },
        };
        self.push(at, Ms::ZERO, what);
    }

    fn gates(&mut self) {
        let (at, lasts) = (self.any_moment(), self.lasts());
        let states = [SystemState::Starting, SystemState::Stopping, SystemState::Maintenance];
        let what = match self.rng.below(12) {
            0 => What::NoHostSentinel,
            1 | 2 => What::NoSentinel(self.watch()),
            3 => What::NoSentinel(format!("app.{}", self.app())),
            4 => What::BadSentinel(self.watch()),
            5 | 6 => What::DeployLock(self.app()),
            7 => What::LockUnreadable(self.app()),
            8 => What::Operator(self.app()),
            9 => {
                if self.rng.percent(50) {
                    What::OldActor(self.app())
                } else {
                    What::Rival
                }
            }
            10 => What::Unreachable,
            _ => What::System(*self.rng.pick(&states)),
        };
        self.push(at, lasts, what);
    }

    fn ledger(&mut self) {
        let (at, lasts) = (self.any_moment(), self.lasts());
        match self.rng.below(6) {
            0 | 1 => self.push(at, lasts, What::DiskFull),
            2 | 3 => {
                let by = self.rng.span(Ms(50), Ms::mins(1));
                self.push(at, lasts, What::DiskSlow(by));
            }
            4 => {
                self.push(at, lasts, What::DiskLies);
                if self.rng.percent(60) {
                    let at = self.any_moment();
                    self.push(at, Ms::ZERO, What::Reboot { down: Ms::secs(15), power_cut: true });
                }
            }
            _ => {
                self.push(at.clone(), Ms::ZERO, What::Damage);
                let (tail, down) = (self.tail(), self.rng.span(Ms(200), Ms::mins(2)));
                self.push(at, Ms::ZERO, What::Crash { tail, down });
            }
        }
    }

    fn looks(&mut self) {
        let (at, lasts, watch) = (self.any_moment(), self.lasts(), self.someone());
        let what = match self.rng.below(11) {
            0 | 1 => What::Blind(watch),
            2 => What::Mute(watch),
            3 => What::Slow { watch, by: self.rng.span(Ms(100), Ms::secs(90)) },
            4 => What::LieUp(watch),
            5 => What::LieDown(watch),
            6 | 7 => What::BusAway,
            8 => What::HintsLost,
            9 => What::HintStorm,
            _ => What::Starve { late: self.rng.span(Ms(100), Ms::secs(1)), echo: self.rng.percent(40) },
        };
        self.push(at, lasts, what);
    }

    fn cures(&mut self) {
        let (at, mut lasts) = (self.any_moment(), self.lasts());
        if self.barrage {
            // As long as it takes that a cure comes meanwhile.
            lasts = lasts.max(self.rng.ms(Ms::secs(10), Ms::mins(1)));
        }
        let service = self.service();
        let what = match self.rng.below(12) {
            0 | 1 => What::CureFails,
            2 => What::CureLost,
            3 | 4 => What::CureNothing,
            5 => What::CureBreaks(service),
            6 => What::CureSlow(self.rng.span(Ms::secs(5), Ms::mins(20))),
            7 => What::WordTwice,
            8 => What::WordLate(self.rng.span(Ms::secs(1), Ms::mins(30))),
            9 | 10 => What::StartFails(service),
            _ => What::ArmFails,
        };
        self.push(at, lasts, what);
    }

    fn clocks(&mut self) {
        let at = self.any_moment();
        match self.rng.below(4) {
            0 => {
                let power_cut = self.rng.percent(30);
                self.push(at, Ms::ZERO, What::Reboot { down: Ms::secs(12), power_cut });
            }
            n => {
                let by = i64::try_from(self.rng.span(Ms::secs(30), Ms::hours(48)).0).unwrap_or(0);
                self.push(at, Ms::ZERO, What::WallJump(if n == 1 { -by } else { by }));
            }
        }
    }

    fn people(&mut self) {
        let (at, lasts) = (self.any_moment(), self.lasts());
        let (service, watch, app) = (self.service(), self.watch(), self.app());
        let one = self.rng.percent(50).then(|| watch.clone());
        let changes = [Change::Observe, Change::Propose, Change::Act, Change::Slower, Change::Remove];
        let (lasts, what) = match self.rng.below(18) {
            0 => (Ms::ZERO, What::Stop(service)),
            1 | 2 => (Ms::ZERO, What::Start(service)),
            3 => (Ms::ZERO, What::Restart(service)),
            4 => (lasts, What::Mask(service)),
            5 => (lasts, What::Disable(service)),
            6 => (lasts, What::Touch(app)),
            7 => (lasts, What::Operator(app)),
            8 => (Ms::ZERO, What::Pause { watch: one, span: lasts }),
            9 => (Ms::ZERO, What::Resume { watch: one }),
            10 => (Ms::ZERO, What::Clear { watch: one }),
            11 => (Ms::ZERO, if self.rng.percent(50) { What::Look } else { What::View }),
            12 => (Ms::ZERO, What::Cycle(watch)),
            13 | 14 => (Ms::ZERO, What::Apply(watch)),
            15 | 16 => (lasts, What::Reload { watch, change: *self.rng.pick(&changes) }),
            _ => (lasts, What::BadConfig),
        };
        self.push(at, lasts, what);
    }
}
