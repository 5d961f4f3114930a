//! Asking: at most one question under way for each key, each at its own pace, and afresh when somebody needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Effect, Engine, Hint};
use crate::ask::{Answer, AskKey, Fault, Question, Reading};
use crate::id::{RunId, WatchId};
use crate::judge::{Target, Verdict};
use crate::policy::Policy;
use crate::starvation::STRETCH_MAX;
use crate::time::{Ms, Now};

/// Sentinel, lock and operators while nothing is wrong: only metrics read them, and inotify tells of the sentinel.
const GATE_EVERY: Ms = Ms::secs(30);
const GATE_EVERY_DOWN: Ms = Ms::secs(5);
const GATE_DEADLINE: Ms = Ms::secs(5);
/// Past its deadline the edge has this long to say "timeout" itself.
const SILENT_AFTER: Ms = Ms::secs(15);

/// Of a large configuration so many questions are asked at once, at the start and when anything may have changed, and the
/// next as many this much later: they stay apart from then on, and thousands under way at once would be memory that is
/// never given back.
const AT_ONCE: u64 = 32;
const SPREAD: Ms = Ms(50);

/// When the `n`-th of many is asked.
fn spread(now: Ms, n: u64) -> Ms {
    now + SPREAD * (n / AT_ONCE)
}

#[derive(Debug, Default)]
pub(super) struct Asks {
    all: BTreeMap<AskKey, Ask>,
    /// Every ask that has a moment at which something is to be done about it, by that moment: a turn looks at these and
    /// not at each of thousands.
    queue: BTreeSet<(Ms, AskKey)>,
    /// Watches whose leave is one question: asked once, it is answered for all of them.
    gates: BTreeMap<Arc<Question>, Vec<AskKey>>,
    /// What came back for a run's proof.
    proofs: BTreeMap<AskKey, (Now, Answer)>,
}

#[derive(Debug)]
struct Ask {
    question: Arc<Question>,
    deadline: Ms,
    out: Option<Now>,
    /// When the last answer was asked for.
    last: Option<Now>,
    /// And when it came.
    came: Option<Now>,
    /// Boot time of the next asking; none: only on demand.
    due: Option<Ms>,
    /// Somebody needs a look that began at this moment or later.
    again: bool,
    /// The edge never answered; it was given up on once already.
    silent: bool,
}

impl Ask {
    fn new(question: &Arc<Question>, deadline: Ms, due: Option<Ms>) -> Ask {
        let question = Arc::clone(question);
        Ask { question, deadline, out: None, last: None, came: None, due, again: false, silent: false }
    }

    /// When it is to be asked, or given up on.
    fn moment(&self) -> Option<Ms> {
        match self.out {
            // Given up on: only its answer brings it back, for never are two of them under way.
            Some(_) if self.silent => None,
            Some(out) => Some(out.up + self.deadline * STRETCH_MAX + SILENT_AFTER),
            None => self.due,
        }
    }
}

impl Asks {
    /// The one way to change an ask: the queue goes with it.
    fn change(&mut self, key: &AskKey, change: impl FnOnce(&mut Ask)) {
        let Some(ask) = self.all.get_mut(key) else { return };
        let was = ask.moment();
        change(ask);
        let is = ask.moment();
        if was != is {
            was.map(|at| self.queue.remove(&(at, key.clone())));
            is.map(|at| self.queue.insert((at, key.clone())));
        }
    }

    fn requeue(&mut self) {
        let moment = |(key, ask): (&AskKey, &Ask)| Some((ask.moment()?, key.clone()));
        self.queue = self.all.iter().filter_map(moment).collect();
    }

    /// Takes over a policy's questions. One that is still the same keeps its pace.
    pub(super) fn declare(&mut self, policy: &Policy, now: Now) {
        let mut wanted = BTreeMap::new();
        for (id, watch) in &policy.watches {
            for (n, probe) in (0u16..).zip(watch.spec.probes()) {
                wanted.insert(AskKey::Probe(id.clone(), n), (probe.question, probe.deadline));
            }
            let gate = Arc::new(Question::Gate(policy.gate(watch)));
            wanted.insert(AskKey::Gate(id.clone()), (gate, GATE_DEADLINE));
        }
        let mut orphaned = BTreeSet::new();
        self.all.retain(|key, ask| {
            let stays = match wanted.get(key) {
                Some((question, _)) => *question == ask.question,
                None => matches!(key, AskKey::Proof(..)),
            };
            if !stays && matches!(key, AskKey::Gate(_)) {
                orphaned.extend(ask.out.map(|out| (Arc::clone(&ask.question), out.up)));
            }
            stays
        });
        // Whoever asked for all may be gone, and its answer with it.
        for ask in self.all.values_mut() {
            if ask.out.is_some_and(|out| orphaned.contains(&(Arc::clone(&ask.question), out.up))) {
                (ask.out, ask.due) = (None, Some(now.up));
            }
        }
        self.gates = BTreeMap::new();
        for (key, (question, _)) in wanted.iter().filter(|(key, _)| matches!(key, AskKey::Gate(_))) {
            self.gates.entry(Arc::clone(question)).or_default().push(key.clone());
        }
        let mut new: u64 = 0;
        for (key, (question, deadline)) in wanted {
            let ask = self.all.entry(key).or_insert_with(|| {
                new += 1;
                Ask::new(&question, deadline, Some(spread(now.up, new)))
            });
            ask.deadline = deadline;
        }
        self.requeue();
    }

    pub(super) fn next_due(&self) -> Option<Ms> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The answer to it was asked for at `since` or later.
    pub(super) fn since(&self, key: &AskKey, since: Now) -> bool {
        self.all.get(key).and_then(|ask| ask.last).is_some_and(|last| last.not_before(since))
    }

    pub(super) fn proof(&self, run: RunId, n: u16) -> Option<(Now, &Answer)> {
        self.proofs.get(&AskKey::Proof(run, n)).map(|(asked, answer)| (*asked, answer))
    }

    /// A proof's question, asked on demand only.
    pub(super) fn add_proof(&mut self, run: RunId, n: u16, question: &Arc<Question>) {
        self.all.entry(AskKey::Proof(run, n)).or_insert_with(|| Ask::new(question, Ms::secs(20), None));
    }

    pub(super) fn drop_proofs(&mut self, run: RunId) {
        let other = |key: &AskKey| !matches!(key, AskKey::Proof(of, _) if *of == run);
        self.all.retain(|key, _| other(key));
        self.queue.retain(|(_, key)| other(key));
        self.proofs.retain(|key, _| other(key));
    }

    /// Those who ask the same.
    fn others(&self, key: &AskKey) -> Vec<AskKey> {
        let question = self.all.get(key).map(|ask| &ask.question);
        let same = question.and_then(|question| self.gates.get(question)).into_iter().flatten();
        same.filter(|other| *other != key).cloned().collect()
    }

    /// A look that was asked for at `asked` serves whoever waits for this very one, and whoever has an older one and waits
    /// for none; not who needs one that is newer.
    fn served(&self, key: &AskKey, asked: Now, now: Now) -> Vec<AskKey> {
        let mut served = self.others(key);
        served.retain(|other| {
            self.all.get(other).is_some_and(|ask| match ask.out {
                Some(out) => out == asked,
                None => {
                    ask.due.is_some_and(|due| due > now.up) && ask.last.is_none_or(|last| !last.not_before(asked))
                }
            })
        });
        served
    }

    fn of_watch(&self, id: &WatchId) -> Vec<AskKey> {
        self.all.keys().filter(|key| matches!(key, AskKey::Probe(watch, _) if watch == id)).cloned().collect()
    }
}

impl Engine {
    /// Sees to it that `key` is asked at `since` or later. Asking again for the same need changes nothing, so a probe
    /// that only ever faults is not asked in a circle.
    pub(super) fn demand(&mut self, key: &AskKey, since: Now) {
        let now = self.world.now;
        self.asks.change(key, |ask| {
            if ask.last.is_some_and(|last| last.not_before(since)) {
                return;
            }
            match ask.out {
                Some(out) if out.not_before(since) => {}
                // A look that is not due yet is asked for when it is: at once after the one under way would be in a circle.
                Some(_) => ask.again |= now.not_before(since),
                None => ask.due = Some(ask.due.map_or(since.up, |due| due.min(since.up)).max(now.up)),
            }
        });
    }

    /// Asks a watch's questions afresh whose last answer came longer ago than this. True: there was one.
    pub(super) fn renew(&mut self, id: &WatchId, within: Ms) -> bool {
        let now = self.world.now;
        let mut outdated = self.asks.of_watch(id);
        outdated.retain(|key| {
            self.asks.all.get(key).and_then(|ask| ask.came).is_none_or(|came| now.since(came) > within)
        });
        for key in &outdated {
            self.demand(key, now);
        }
        !outdated.is_empty()
    }

    pub(super) fn demand_watch(&mut self, id: &WatchId, since: Now) {
        for key in self.asks.of_watch(id) {
            self.demand(&key, since);
        }
    }

    /// Something of this watch is wrong: what may forbid an act is looked up at that pace from now on, and not only after
    /// the next look that was set while all was well.
    pub(super) fn hurry_gate(&mut self, id: &WatchId) {
        self.asks.change(&AskKey::Gate(id.clone()), |ask| {
            if let (Some(last), Some(due)) = (ask.last, ask.due) {
                ask.due = Some(due.min(last.up + GATE_EVERY_DOWN));
            }
        });
    }

    pub(super) fn hint(&mut self, hint: &Hint) {
        let now = self.world.now.up;
        let meant = |(key, ask): (&AskKey, &Ask)| {
            let meant = match (hint, &*ask.question) {
                (Hint::Unit(unit), Question::Unit(asked)) => unit == asked,
                (Hint::Unit(unit), Question::Paths(paths)) => paths.units.contains(unit),
                (Hint::Units, Question::Unit(_))
                | (Hint::Gates, Question::Gate(_))
                | (Hint::Mounts, Question::Paths(_)) => true,
                _ => false,
            };
            // A proof's question goes by its own rounds.
            (meant && !matches!(key, AskKey::Proof(..))).then(|| key.clone())
        };
        let keys: Vec<AskKey> = self.asks.all.iter().filter_map(meant).collect();
        for (n, key) in (0..).zip(keys) {
            let at = spread(now, n);
            self.asks.change(&key, |ask| match ask.out {
                Some(_) => ask.again = true,
                None => ask.due = Some(ask.due.map_or(at, |due| due.min(at))),
            });
        }
    }

    pub(super) fn answered(&mut self, key: &AskKey, asked: Now, answer: Answer) {
        let now = self.world.now;
        if self.asks.all.get(key).is_none_or(|ask| ask.out != Some(asked)) {
            return;
        }
        for other in self.asks.served(key, asked, now) {
            self.serve(&other, asked, answer.clone());
        }
        self.serve(key, asked, answer);
    }

    fn serve(&mut self, key: &AskKey, asked: Now, answer: Answer) {
        let now = self.world.now;
        let mut again = false;
        self.asks.change(key, |ask| {
            ask.out = None;
            (ask.last, ask.came) = (Some(asked), Some(now));
            ask.silent = false;
            again = std::mem::take(&mut ask.again);
        });
        self.deliver(key, asked, answer);
        let next = self.pace(key).map(|every| now.up + every);
        let ripe = self.ripens(key, asked);
        self.asks.change(key, |ask| {
            let next = next.map(|next| ripe.map_or(next, |ripe| next.min(ripe)).max(now.up));
            ask.due = if again { Some(now.up) } else { next };
        });
    }

    fn deliver(&mut self, key: &AskKey, asked: Now, answer: Answer) {
        if let Some(id) = key.watch() {
            self.doubts.watch(&self.world, id);
        }
        match key {
            AskKey::Probe(id, n) => {
                let policy = Arc::clone(&self.world.policy);
                let Some(watch) = policy.watches.get(id) else { return };
                let Some(live) = self.world.live.get_mut(id) else { return };
                let sights = watch.spec.read(&mut live.memo, *n, asked, &answer, &self.world.starvation);
                if matches!(answer, Ok(Reading::Unit(_))) && self.world.learn(id) {
                    self.doubts.watch(&self.world, id);
                }
                self.see(id, *n, asked, sights);
            }
            AskKey::Gate(id) => {
                if let Some(live) = self.world.live.get_mut(id) {
                    live.see_gate(asked, answer);
                }
            }
            AskKey::Proof(..) => {
                self.asks.proofs.insert(key.clone(), (asked, answer));
            }
        }
    }

    /// Quicker while something is wrong.
    fn pace(&self, key: &AskKey) -> Option<Ms> {
        let id = key.watch()?;
        let (watch, live) = self.world.watch(id)?;
        // What cannot be known is not hurried: a blind probe stays blind at any pace.
        let calm = |t: &Target| matches!(t.verdict, Verdict::Up | Verdict::Unknown(_)) && t.suspect().is_none();
        // Of a part that is down nothing more is to be learned quickly: it may stay so for months.
        let told = |key: &str, t: &Target| watch.spec.is_part(key) && t.verdict.down().is_some();
        let well = live.targets.iter().all(|(key, target)| calm(target) || told(key, target));
        match key {
            AskKey::Probe(_, n) => {
                let pace = watch.spec.pace(*n)?;
                Some(if well { pace.every } else { pace.confirm_every })
            }
            AskKey::Gate(_) => Some(if well { GATE_EVERY } else { GATE_EVERY_DOWN }),
            AskKey::Proof(..) => None,
        }
    }

    /// When what was seen at `asked` may mean something else.
    fn ripens(&self, key: &AskKey, asked: Now) -> Option<Ms> {
        let AskKey::Probe(id, _) = key else { return None };
        let (watch, live) = self.world.watch(id)?;
        Some(asked.up + watch.spec.ripens(&live.memo, asked)?)
    }

    /// Asks what is due; a question whose edge fell silent counts as a time-out, and is still not asked twice.
    pub(super) fn ask_due(&mut self) {
        let now = self.world.now;
        let mut silent = Vec::new();
        while let Some((_, key)) = self.asks.queue.first().filter(|(at, _)| *at <= now.up).cloned() {
            let stretched = |deadline| self.world.starvation.stretch(now, deadline);
            let mut ask_now = None;
            self.asks.change(&key, |ask| {
                if let Some(out) = ask.out {
                    ask.silent = true;
                    silent.push((key.clone(), out));
                } else {
                    ask.out = Some(now);
                    ask.due = None;
                    ask_now = Some((Arc::clone(&ask.question), stretched(ask.deadline)));
                }
            });
            if let Some((question, deadline)) = ask_now {
                for other in self.asks.others(&key) {
                    self.asks.change(&other, |ask| {
                        if ask.out.is_none() && ask.due.is_some_and(|due| due <= now.up) {
                            (ask.out, ask.due) = (Some(now), None);
                        }
                    });
                }
                self.out.push(Effect::Ask { key, asked: now, question, deadline });
            }
        }
        for (key, asked) in silent {
            self.deliver(&key, asked, Err(Fault::Timeout));
        }
    }
}
