//! Upgrade and downgrade with a plan open: the daemon dies in the middle of one, with everything of it stopped, and what
//! starts then is another version. Here the other version is the ledger that it left, for that is all that versions have of
//! each other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, LedgerFile, Sandbox, Worker, worker_config};
use serde_json::{Value, json};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const WATCH: &str = "baseline.crunch";
/// Of 256, when one reconcile was charged, once.
const BUDGET_AFTER_ONE: u64 = 251;

struct Host<'a> {
    sandbox: &'a Sandbox,
    guard: Guard<'a>,
    worker: Worker<'a>,
}

impl<'a> Host<'a> {
    /// Killed in the middle of a plan, and not started again before the test says so.
    fn killed_amid(sandbox: &'a Sandbox) -> Result<Self> {
        let worker = Worker::install(sandbox, "crunch")?;
        let guard = Guard::install_with(sandbox, &worker_config(&["crunch"]))?;
        sandbox.write("/etc/systemd/system/hostward.service.d/stay.conf", "0644", "[Service]\nRestart=no\n")?;
        worker.hold_in_the_middle()?;
        worker.break_environment()?;
        sandbox.sh("systemctl daemon-reload; systemctl start hostward")?;
        worker.wait_amid()?;
        sandbox.sh("systemctl kill --signal=KILL hostward")?;
        sandbox.wait_until("the daemon to be dead", secs(10), || {
            Ok(sandbox.property("hostward", "ActiveState")? == "failed")
        })?;
        Ok(Self { sandbox, guard, worker })
    }

    fn start(&self) -> Result<()> {
        self.sandbox.sh("systemctl start hostward")?;
        Ok(())
    }

    /// The only timer that is to give back, should nobody of ours do it. It waits.
    fn armed(&self) -> Result<String> {
        let timers = self.sandbox.sh("systemctl list-units --all --plain --no-legend 'hostward-undo-*.timer'")?;
        ensure!(timers.lines().count() == 1, "one undo: {timers}");
        let timer = timers.split_whitespace().next().context("a unit's name")?.to_owned();
        ensure!(self.sandbox.property(&timer, "SubState")? == "waiting", "{timer} waits for nothing");
        Ok(timer)
    }

    /// The wait for the armed undo, minutes long, made short by a drop-in and by nothing else.
    fn fires_soon(&self, timer: &str) -> Result<()> {
        let soon = "[Timer]\nOnStartupSec=\nOnActiveSec=1s\n";
        self.sandbox.write(&format!("/run/systemd/system/{timer}.d/soon.conf"), "0644", soon)?;
        self.sandbox.sh("systemctl daemon-reload")?;
        Ok(())
    }

    /// One attempt, charged once, and this is what came of it.
    fn attempted_once(&self, result: &str) -> Result<()> {
        self.sandbox.wait_until("the attempt to be settled", secs(30), || {
            Ok(self.view()?["watches"][0]["targets"][0]["attempts"] == json!({ "reconcile": { (result): 1 } }))
        })?;
        assert_eq!(self.guard.records("opened")?.len(), 1, "one attempt");
        assert_eq!(self.guard.records("settled").map(|it| it.len())?, usize::from(result == "cleared"));
        assert_eq!(self.view()?["budget_remaining"], BUDGET_AFTER_ONE, "charged once");
        Ok(())
    }

    fn view(&self) -> Result<Value> {
        Ok(self.guard.status()?["view"].clone())
    }

    /// What a reader is told of the ledger that was found: by status, in the journal, by the hold.
    fn said_of_the_ledger(&self) -> Result<[String; 3]> {
        let status = self.guard.run(&["status"])?.stdout;
        let status = status.lines().find(|line| line.contains("ledger.newer-")).unwrap_or_default().to_owned();
        let journal = self.guard.journal()?;
        let journal = journal.lines().find(|line| line.contains("ledger.newer-")).unwrap_or_default().to_owned();
        Ok([status, journal, self.guard.wait_held(WATCH, "ledger_damaged", secs(20))?])
    }

    /// Not damaged: of a later version, with what to do; and the units of its plan, as far as they can be told.
    fn says_of_a_later_version(&self, what: &str) -> Result<()> {
        for said in self.said_of_the_ledger()? {
            for needle in ["is of a later version", what, "start the later version again", "crunch.service"] {
                ensure!(said.contains(needle), "'{needle}' is not said: {said}");
            }
            ensure!(!said.contains("damaged"), "it is as whole as it ever was: {said}");
        }
        ensure!(self.guard.has_metric("hostward_ledger_damaged 1")?, "{}", self.guard.metrics()?);
        Ok(())
    }
}

#[test]
fn from_format_1_in_the_middle_of_a_plan() -> Result<()> {
    let sandbox = Sandbox::boot("upgrade-amid")?;
    let host = Host::killed_amid(&sandbox)?;
    let left = LedgerFile::read(&sandbox)?.into_format_1()?;
    left.write(&sandbox)?;

    host.start()?;
    host.worker.go_on()?;
    assert_eq!(host.guard.wait_closed(secs(60))?, "proved", "the step that outlived the daemon is adopted");
    assert_eq!(host.worker.rebuilt()?, ["first", "last"], "each command ran once");
    ensure!(host.worker.whole()?, "it is said to be proved, and the environment is not whole");
    host.worker.wait_all_active(secs(5))?;
    host.attempted_once("cleared")?;
    // What the older version wrote is history, to the byte; what goes on from it is of today's format.
    ensure!(std::fs::read(sandbox.root().join("var/lib/hostward/ledger.old-1"))? == left.bytes(), "it was changed");
    LedgerFile::read(&sandbox)?.into_later().context("its format is today's")?;
    host.guard.wait_no_transient()
}

#[test]
fn from_format_1_with_a_step_that_died_too() -> Result<()> {
    let sandbox = Sandbox::boot("upgrade-back")?;
    let host = Host::killed_amid(&sandbox)?;
    LedgerFile::read(&sandbox)?.into_format_1()?.write(&sandbox)?;
    sandbox.sh("systemctl kill --signal=KILL 'hostward-step-*.service'")?;

    host.start()?;
    let closed = host.guard.wait_closed(secs(60))?;
    ensure!(!closed["unproved"].is_null(), "it is given back: {closed}");
    host.worker.wait_all_active(secs(5))?;
    ensure!(!host.worker.whole()?, "somebody rebuilt it");
    host.attempted_once("not_cleared")?;
    host.guard.wait_no_transient()
}

/// N+1 dies amid a plan, N starts and finds what it does not understand, then N+1 is back.
#[test]
fn to_an_older_version_and_back() -> Result<()> {
    let sandbox = Sandbox::boot("downgrade")?;
    let host = Host::killed_amid(&sandbox)?;
    let ours = LedgerFile::read(&sandbox)?;
    let left = ours.clone().into_later()?;
    left.write(&sandbox)?;
    let timer = host.armed()?;

    host.start()?;
    host.says_of_a_later_version("and this version understands")?;
    let aside = sandbox.sh("ls /var/lib/hostward/ledger.newer-*")?.trim().to_owned();
    ensure!(sandbox.read(&aside)?.into_bytes() == left.bytes(), "{aside} is not what the later version left");
    // Nothing of the plan is known here: what it stopped is PID 1's to start, whatever the older version does.
    host.guard.never_acts(secs(3))?;
    assert_eq!(host.worker.active()?, Vec::<String>::new(), "who started it?");
    assert_eq!(host.armed()?, timer, "still armed");
    host.fires_soon(&timer)?;
    host.worker.wait_all_active(secs(30))?;
    host.guard.wait_held(WATCH, "ledger_damaged", secs(5))?;
    assert_eq!(host.guard.records("opened")?.len(), 0, "caps count as spent");

    // As operations.md says. The later version would read its own file: here that is the one that this version wrote.
    sandbox.sh(&format!(
        "systemctl stop hostward; rm -r /run/systemd/system/{timer}.d; systemctl daemon-reload
         cd /var/lib/hostward; mv ledger ledger.mine; mv {aside} ledger"
    ))?;
    ensure!(LedgerFile::read(&sandbox)?.bytes() == left.bytes(), "its own file is back");
    ours.write(&sandbox)?;
    host.start()?;
    let closed = host.guard.wait_closed(secs(60))?;
    ensure!(!closed["unproved"].is_null(), "what it stopped runs, so it goes no further: {closed}");
    host.worker.wait_all_active(secs(5))?;
    host.attempted_once("not_cleared")?;
    ensure!(host.guard.has_metric("hostward_ledger_damaged 0")?, "{}", host.guard.metrics()?);
    host.guard.wait_no_transient()?;

    // And life goes on: the next attempt is the second, and heals.
    host.worker.go_on()?;
    let config = worker_config(&["crunch"]).replace("brakes.soak", "brakes.cooldown = \"1s\"\nbrakes.soak");
    host.guard.configure(&config)?;
    host.guard.run(&["reload"])?.ok()?;
    sandbox.wait_until("the second attempt to heal", secs(60), || {
        let attempts = host.view()?["watches"][0]["targets"][0]["attempts"].clone();
        Ok(attempts == json!({ "reconcile": { "not_cleared": 1, "cleared": 1 } }))
    })?;
    assert_eq!(host.view()?["budget_remaining"], BUDGET_AFTER_ONE - 5, "charged twice");
    host.worker.wait_all_active(secs(5))
}

/// Within today's format, a record that nobody here has heard of: what stands before it can be read, and is given back by
/// the daemon itself, at once.
#[test]
fn a_record_of_a_later_version() -> Result<()> {
    let sandbox = Sandbox::boot("downgrade-record")?;
    let host = Host::killed_amid(&sandbox)?;
    LedgerFile::read(&sandbox)?.with_unknown_record()?.write(&sandbox)?;

    host.start()?;
    host.worker.wait_all_active(secs(20))?;
    host.says_of_a_later_version("unknown variant `foreseen`")?;
    let closed = host.guard.wait_closed(secs(10))?;
    ensure!(!closed["unproved"].is_null(), "it does not go forward: {closed}");
    host.guard.wait_no_transient()?;
    host.guard.never_acts(secs(3))?;
    let view = host.view()?;
    assert_eq!(view["watches"][0]["targets"][0]["attempts"], json!({ "reconcile": { "not_cleared": 1 } }));
    assert_eq!(view["budget_remaining"], BUDGET_AFTER_ONE, "what is known was charged");
    ensure!(!host.worker.whole()?, "somebody rebuilt it");
    Ok(())
}
