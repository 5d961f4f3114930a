//! From a seed to a story. Biased: what is rare in the world is not rare here.

mod faults;

use hostward_core::plan::OnCrash;
use hostward_core::policy::{Brakes, Budget, Mode};
use hostward_core::time::Ms;

use super::{App, Env, Host, Rung, Scenario, Service, Toy};
use crate::rng::Rng;
use faults::Faults;

/// What a story is mostly about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    Mixed,
    /// Engines that die at effects.
    Crashes,
    /// Everything that may forbid an act comes and goes.
    Gates,
    Ledger,
    Looks,
    Cures,
    Clocks,
    People,
    /// A long story with short brakes.
    Brakes,
    Storm,
    /// Everything at once, each thing shortly. A family of its own ([`barrage`]).
    Barrage,
}

const THEMES: &[Theme] = &[
    Theme::Mixed,
    Theme::Mixed,
    Theme::Crashes,
    Theme::Crashes,
    Theme::Gates,
    Theme::Ledger,
    Theme::Looks,
    Theme::Cures,
    Theme::Cures,
    Theme::Clocks,
    Theme::People,
    Theme::Brakes,
    Theme::Brakes,
    Theme::Storm,
];

/// A story from the themes: few things go wrong, for as long as they do in the world.
pub fn scenario(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed);
    let theme = *rng.pick(THEMES);
    let long = theme == Theme::Brakes || rng.percent(10);
    let (least, most) = if long { (Ms::hours(4), Ms::hours(30)) } else { (Ms::mins(15), Ms::hours(3)) };
    let trouble = rng.span(least, most);
    let timer = rng.percent(8).then(|| rng.ms(Ms::secs(20), Ms::mins(3)));
    story(format!("seed {seed}"), seed, rng, theme, (trouble, timer), long)
}

/// Many things go wrong at once and shortly, so that the rarest is met as often as any other.
pub fn barrage(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed);
    let trouble = rng.span(Ms::mins(20), Ms::mins(80));
    let timer = rng.percent(5).then(|| rng.ms(Ms::secs(20), Ms::mins(1)));
    story(format!("barrage {seed}"), seed, rng, Theme::Barrage, (trouble, timer), false)
}

fn story(
    name: String,
    seed: u64,
    mut rng: Rng,
    theme: Theme,
    (trouble, timer): (Ms, Option<Ms>),
    long: bool,
) -> Scenario {
    let host = host(&mut rng, theme);
    let mut made = Scenario {
        name,
        seed,
        trouble,
        calm: if theme == Theme::Barrage && rng.percent(60) { Ms::ZERO } else { Ms::hours(80) },
        timer,
        host,
        apps: Vec::new(),
        envs: Vec::new(),
        services: Vec::new(),
        toys: Vec::new(),
        faults: Vec::new(),
        expect: Vec::new(),
        sweep: Vec::new(),
    };
    parts(&mut rng, &mut made, theme);
    made.faults = Faults::of(rng, &made, theme, long);
    made
}

fn host(rng: &mut Rng, theme: Theme) -> Host {
    let budget = match rng.below(4) {
        1.. if theme == Theme::Barrage => Budget { cost: 120, per: Ms::hours(1) },
        0 => Budget { cost: u32::try_from(rng.below(4)).unwrap_or(0) + 5, per: Ms::hours(1) },
        1 => Budget { cost: 60, per: Ms::hours(1) },
        2 => Budget { cost: 8, per: Ms::mins(20) },
        _ => Budget { cost: 12, per: Ms::hours(1) },
    };
    let mode = if rng.percent(3) { Mode::Propose } else { Mode::Act };
    Host { mode, settle: *rng.pick(&[Ms::ZERO, Ms::secs(1), Ms::secs(5)]), budget, disk: rng.ms(Ms(1), Ms(60)) }
}

fn brakes(rng: &mut Rng, theme: Theme) -> Option<Brakes> {
    if theme == Theme::Barrage && rng.percent(70) {
        let (cooldown, plateau, soak) = (rng.span(Ms::secs(5), Ms::mins(2)), Ms::mins(4), Ms::secs(20));
        return Some(Brakes { cooldown, plateau, per_hour: 20, per_day: 20, soak });
    }
    rng.percent(60).then(|| {
        let cooldown = rng.span(Ms::secs(5), Ms::mins(10));
        Brakes {
            cooldown,
            plateau: cooldown + rng.span(Ms::mins(2), Ms::mins(40)),
            per_hour: 2 + u32::try_from(rng.below(5)).unwrap_or(0),
            per_day: 2 + u32::try_from(rng.below(6)).unwrap_or(0),
            soak: rng.span(Ms::secs(10), Ms::mins(10)),
        }
    })
}

fn mode(rng: &mut Rng) -> Mode {
    match rng.below(20) {
        0 => Mode::Observe,
        1 => Mode::Propose,
        _ => Mode::Act,
    }
}

const APPS: &[&str] = &["shop", "blog"];
const SERVICES: &[&str] = &["api", "worker", "proxy", "mail", "cron", "feed"];

fn parts(rng: &mut Rng, made: &mut Scenario, theme: Theme) {
    let barrage = theme == Theme::Barrage;
    let apps = if barrage { 1 + rng.below(2) } else { rng.below(3) };
    for name in APPS.iter().take(apps) {
        let (lock, sentinel, replaces) = (rng.percent(60), rng.percent(30), rng.percent(30));
        made.apps.push(App { name: (*name).into(), lock, sentinel, replaces });
    }
    let count = if theme == Theme::Storm { 4 + rng.below(3) } else { 1 + rng.below(if barrage { 3 } else { 5 }) };
    for (n, name) in SERVICES.iter().enumerate().take(count) {
        let before = &SERVICES[..n];
        let app = (!made.apps.is_empty() && rng.percent(70)).then(|| rng.pick(&made.apps).name.clone());
        made.services.push(service(rng, theme, name, before, app));
    }
    for n in 0..apps {
        if barrage || rng.percent(80) {
            env(rng, theme, made, n);
        }
    }
    for name in ["mnt", "vol"].iter().take(if barrage { 1 + rng.below(2) } else { rng.below(3) }) {
        let holder = rng.percent(if barrage { 90 } else { 70 }).then(|| rng.pick(&made.services).name.clone());
        made.toys.push(Toy {
            name: (*name).into(),
            keys: 1 + u32::try_from(rng.below(3)).unwrap_or(0),
            holder,
            sentinel: rng.percent(20),
            mode: mode(rng),
            interval: rng.span(Ms::secs(5), Ms::mins(1)),
            crash: *rng.pick(&[OnCrash::Again, OnCrash::Again, OnCrash::Unwind, OnCrash::Stuck]),
            replaces: barrage && rng.percent(50),
            brakes: brakes(rng, theme),
        });
    }
}

fn service(rng: &mut Rng, theme: Theme, name: &str, before: &[&str], app: Option<String>) -> Service {
    let some = |rng: &mut Rng, percent| {
        let found: Option<String> = (!before.is_empty() && rng.percent(percent)).then(|| (*rng.pick(before)).into());
        found.into_iter().collect::<Vec<String>>()
    };
    let ladders: [&[Rung]; 6] = [
        &[Rung::Restart, Rung::Reconcile, Rung::Notify],
        &[Rung::Restart, Rung::Reconcile, Rung::Notify],
        &[Rung::Restart, Rung::Notify],
        &[Rung::Reconcile, Rung::Restart],
        &[Rung::Restart],
        &[Rung::Notify],
    ];
    let ladder = if rng.percent(8) { rng.below(6) } else { rng.below(5) };
    Service {
        name: name.into(),
        app,
        imports: None,
        requires: some(rng, 25),
        binds_to: some(rng, 10),
        part_of: some(rng, 10),
        restart: *rng.pick(&[None, Some(Ms(100)), Some(Ms::secs(2)), Some(Ms::secs(5)), Some(Ms::secs(30))]),
        start: rng.span(Ms(100), Ms::secs(20)),
        stop: rng.span(Ms(20), Ms::secs(8)),
        watched: rng.percent(92),
        http: rng.percent(80),
        sentinel: rng.percent(15),
        mode: mode(rng),
        needs: some(rng, 20),
        ladder: ladders[ladder].to_vec(),
        brakes: brakes(rng, theme),
    }
}

fn env(rng: &mut Rng, theme: Theme, made: &mut Scenario, app: usize) {
    let barrage = theme == Theme::Barrage;
    let app = made.apps[app].name.clone();
    let own: Vec<String> =
        made.services.iter().filter(|s| s.app.as_ref() == Some(&app)).map(|s| s.name.clone()).collect();
    let watched = |name: &&String| made.services.iter().any(|s| s.name == **name && s.watched);
    let prove = own.iter().find(watched).filter(|_| rng.percent(60)).cloned();
    let quiesce = own.iter().filter(|_| rng.percent(if barrage { 60 } else { 40 })).cloned().collect();
    let env = Env {
        name: app.clone(),
        app,
        sentinel: rng.percent(30),
        mode: mode(rng),
        any_drift: rng.percent(if barrage { 95 } else { 60 }),
        commands: u32::try_from([0, 1, 1, 1, 1, 2, 2, 3][rng.below(8)]).unwrap_or(1),
        takes: rng.span(Ms::secs(1), if barrage { Ms::secs(20) } else { Ms::mins(4) }),
        quiesce,
        restart: own.iter().filter(|_| rng.percent(70)).cloned().collect(),
        prove,
        reach: rng.percent(30),
        brakes: brakes(rng, theme),
    };
    for service in &mut made.services {
        if own.contains(&service.name) && rng.percent(75) {
            service.imports = Some(env.name.clone());
        }
    }
    made.envs.push(env);
}
