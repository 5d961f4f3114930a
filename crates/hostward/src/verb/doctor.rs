//! `doctor`: what would keep Hostward from working here, each with what to do.

mod units;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use hostward_config::{Notify, Way};
use hostward_core::ask::{GateQ, SentinelState};
use hostward_core::policy::Policy;
use hostward_core::watch::Spec;
use hostward_host::mounts::{OF_PID_1, Table};
use serde::Serialize;

use super::{Out, systemctl};
use crate::exit::Exit;
use crate::store::{self, Paths};

/// inotify instances a user may have; fewer than this left and sentinels may go unnoticed until the next look.
const INOTIFY_LEFT_MIN: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Grade {
    Ok,
    Warning,
    Problem,
}

#[derive(Debug, Serialize)]
struct Finding {
    grade: Grade,
    what: String,
    says: String,
    /// What to do; empty when there is nothing.
    fix: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, what: &str, says: impl Into<String>) {
        self.add(Grade::Ok, what, says, "");
    }
    fn add(&mut self, grade: Grade, what: &str, says: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { grade, what: what.into(), says: says.into(), fix: fix.into() });
    }
}

pub(crate) async fn doctor(paths: &Paths, out: Out) -> Result<Exit> {
    let mut found = Findings::default();
    privileges(&mut found);
    bus(&mut found).await;
    ledger(&mut found, paths);
    inotify(&mut found);
    match store::load_config(&paths.config) {
        Err(error) => {
            found.add(
                Grade::Problem,
                "configuration",
                error.render(false).trim_end(),
                "correct it, or print a first one with `hostward init`",
            );
        }
        Ok(loaded) => {
            found.ok("configuration", format!("{} watches", loaded.policy.watches.len()));
            for warning in &loaded.warnings {
                found.add(Grade::Warning, "configuration", warning.to_string(), "");
            }
            sentinels(&mut found, &loaded.policy);
            units::units(&mut found, &loaded.policy);
            fences(&mut found, &loaded.policy);
            old_actors(&mut found, &loaded.policy);
            notifiers(&mut found, &loaded.export.notify);
            if let Some(textfile) = &loaded.export.textfile {
                textfile_directory(&mut found, textfile);
            }
        }
    }
    let worst = found.0.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Ok);
    out.print(&found.0, || words(&found.0))?;
    Ok(if worst == Grade::Problem { Exit::Held } else { Exit::Ok })
}

fn words(found: &[Finding]) -> String {
    let mut out = String::new();
    for finding in found {
        let mark = match finding.grade {
            Grade::Ok => "✓",
            Grade::Warning => "!",
            Grade::Problem => "✗",
        };
        let _ = writeln!(out, "{mark} {:<14} {}", finding.what, finding.says);
        if !finding.fix.is_empty() {
            let _ = writeln!(out, "  {:<14} → {}", "", finding.fix);
        }
    }
    out
}

fn privileges(found: &mut Findings) {
    if rustix::process::geteuid().is_root() {
        found.ok("privileges", "root");
    } else {
        found.add(Grade::Warning, "privileges", "not root: much cannot be seen from here", "sudo hostward doctor");
    }
}

async fn bus(found: &mut Findings) {
    match hostward_host::systemd::Systemd::connect().await {
        Ok((systemd, _)) => match systemd.system_state().await {
            Ok(state) => found.ok("system bus", format!("systemd answers, the system is {state:?}").to_lowercase()),
            Err(fault) => found.add(Grade::Problem, "system bus", fault.to_string(), "systemctl status dbus"),
        },
        Err(error) => {
            found.add(
                Grade::Problem,
                "system bus",
                format!("{:#}", anyhow::Error::new(error)),
                "systemctl status dbus",
            );
        }
    }
}

fn ledger(found: &mut Findings, paths: &Paths) {
    match store::read_ledger(paths) {
        Ok(folded) => match (folded.condition.unusable(), &folded.state.damaged) {
            (None, None) => found.ok("ledger", format!("{} records", folded.state.seq)),
            (Some(why), _) => {
                found.add(Grade::Problem, "ledger", why.to_owned(), "the daemon sets it aside at its next start");
            }
            (None, Some((_, why))) => {
                found.add(
                    Grade::Problem,
                    "ledger",
                    format!("caps count as spent: {why}"),
                    "look at ledger.damaged-* or ledger.newer-*, then `hostward clear`",
                );
            }
        },
        Err(error) => found.add(Grade::Warning, "ledger", format!("{error:#}"), "sudo hostward doctor"),
    }
}

/// A fence is lifted by the next plan of its path; one whose path was forgotten stands until somebody lifts it.
fn fences(found: &mut Findings, policy: &Policy) {
    let table = match Table::read(OF_PID_1) {
        Ok(table) => table,
        Err(e) => return found.add(Grade::Warning, "fences", format!("{OF_PID_1}: {e}"), "run doctor as root"),
    };
    for fence in table.fences() {
        let kept = policy.watches.iter().find(|(_, watch)| match &watch.spec {
            Spec::Storage(spec) => spec.may_fence(fence),
            _ => false,
        });
        let shown = fence.display();
        let (what, says) = match kept {
            Some((id, _)) => (id.to_string(), format!("{shown} is closed by our fence, until it is mounted again")),
            None => ("fences".into(), format!("{shown} is closed by our fence, and no watch names it any more")),
        };
        found.add(Grade::Warning, &what, says, format!("to open it by hand: umount -l {shown}"));
    }
}

fn inotify(found: &mut Findings) {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances");
    let Some(limit) = limit.ok().and_then(|text| text.trim().parse::<usize>().ok()) else { return };
    let used = std::fs::read_dir("/proc").map_or(0, |procs| {
        procs
            .flatten()
            .filter_map(|proc| std::fs::read_dir(proc.path().join("fd")).ok())
            .flat_map(Iterator::flatten)
            .filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == Path::new("anon_inode:inotify")))
            .count()
    });
    let says = format!("{used} of at most {limit} instances a user");
    if limit.saturating_sub(used) < INOTIFY_LEFT_MIN {
        let fix = "sysctl fs.inotify.max_user_instances=512";
        found.add(Grade::Warning, "inotify", says, fix);
    } else {
        found.ok("inotify", says);
    }
}

fn sentinels(found: &mut Findings, policy: &Policy) {
    let mut asked = GateQ::default();
    asked.sentinels.push(policy.host.sentinel.clone());
    asked.sentinels.extend(policy.watches.values().flat_map(|watch| policy.gate(watch).sentinels));
    asked.sentinels.sort();
    asked.sentinels.dedup();
    let Ok(reading) = hostward_host::gate::read(&asked) else { return };
    for (path, state) in asked.sentinels.iter().zip(&reading.sentinels) {
        let path = path.display();
        match state {
            SentinelState::Present => found.ok("sentinel", format!("{path} is present: acts are permitted")),
            SentinelState::Absent => {
                found.add(
                    Grade::Warning,
                    "sentinel",
                    format!("{path} is absent: observing only"),
                    "`hostward enable` when you trust it",
                );
            }
            SentinelState::NotAFile => {
                found.add(
                    Grade::Problem,
                    "sentinel",
                    format!("{path} is no regular file: it permits nothing"),
                    format!("remove it; touch {path}"),
                );
            }
            SentinelState::NotRoots => {
                found.add(
                    Grade::Problem,
                    "sentinel",
                    format!("{path} is not root's alone: it permits nothing"),
                    format!("chown root:root {path}; chmod 0644 {path}"),
                );
            }
        }
    }
}

/// Old actors still enabled, and textfiles of others that carry our families.
fn old_actors(found: &mut Findings, policy: &Policy) {
    for unit in policy.apps.values().flat_map(|app| &app.replaces) {
        let shown = systemctl::show(&[unit.as_str()], &["ActiveState", "UnitFileState"]).unwrap_or_default();
        let is = |key: &str, value: &str| shown.iter().any(|unit| unit.get(key).is_some_and(|is| is == value));
        if is("UnitFileState", "enabled") || is("ActiveState", "active") {
            let fix = format!("systemctl disable --now {unit}");
            found.add(
                Grade::Problem,
                "old actor",
                format!("{unit} is still enabled or active: we do not act beside it"),
                fix,
            );
        } else {
            found.ok("old actor", format!("{unit} is off"));
        }
    }
    for watch in policy.watches.values() {
        for rival in hostward_host::gate::read(&policy.gate(watch)).map(|reading| reading.rivals).unwrap_or_default()
        {
            let says =
                format!("{} carries our metric families: node_exporter keeps one of the two values", rival.display());
            found.add(Grade::Problem, "old actor", says, format!("remove {} and what writes it", rival.display()));
        }
    }
}

/// Whether each could be told; that it can is shown by `hostward notify test`.
fn notifiers(found: &mut Findings, notify: &Notify) {
    let deadman = notify.deadman.iter().map(|deadman| ("deadman", vec![&deadman.url]));
    let ways = notify.notifiers.iter().map(|(name, notifier)| (&**name, notifier.way.secrets()));
    for (name, secrets) in ways.chain(deadman) {
        match secrets.into_iter().find_map(|secret| hostward_host::secret::read(secret).err()) {
            None => found.ok("notify", format!("{name}: its secrets can be read")),
            Some(why) => found.add(Grade::Problem, "notify", format!("{name}: {why}"), "sudo hostward doctor"),
        }
    }
    for (name, notifier) in &notify.notifiers {
        if let Way::Sendmail { program, .. } = &notifier.way
            && rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_err()
        {
            let says = format!("{name}: {} cannot be started", program.display());
            found.add(Grade::Problem, "notify", says, "install a mail server, or set `program` (msmtp will do)");
        }
    }
}

fn textfile_directory(found: &mut Findings, textfile: &Path) {
    let directory = textfile.parent().unwrap_or(textfile);
    match rustix::fs::access(directory, rustix::fs::Access::WRITE_OK) {
        Ok(()) => found.ok("textfile", textfile.display().to_string()),
        Err(error) => {
            let says = format!("{} cannot be written: {error}", directory.display());
            found.add(Grade::Problem, "textfile", says, "create the directory, or correct metrics.textfile");
        }
    }
}
