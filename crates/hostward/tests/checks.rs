//! The operator's own checks, run by the real program: what they say, as whom, and that nothing of them is left.

#[path = "support/script.rs"]
mod script;

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostward_core::ask::{Answer, ExecQ, ExecReading, Fault, Reading};
use hostward_core::time::Ms;
use hostward_host::child::Children;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use script::script;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(30);

async fn run(program: &Path, user: Option<&str>, deadline: Duration) -> Answer {
    let run = vec![program.to_str().unwrap().into(), "an argument".into()];
    let q = ExecQ { run, user: user.map(Into::into), timeout: Ms::ZERO };
    Children::new(env!("CARGO_BIN_EXE_hostward").into()).run(&q, deadline).await
}

async fn said(text: &str, user: Option<&str>) -> ExecReading {
    let dir = tempfile::tempdir().unwrap();
    match run(&script(dir.path(), text), user, LONG).await {
        Ok(Reading::Exec(reading)) => reading,
        other => panic!("{other:?}"),
    }
}

fn exited(code: i32, excerpt: &str) -> ExecReading {
    ExecReading::Exited { code, excerpt: excerpt.into() }
}

#[tokio::test]
async fn its_status_and_the_beginning_of_what_it_says() {
    assert_eq!(said("echo well", None).await, exited(0, "well"));
    assert_eq!(said("echo \"$1\"; echo ill >&2; exit 1", None).await, exited(1, "an argument ill"));
    assert_eq!(said("exit 3", None).await, exited(3, ""));
    assert_eq!(said("kill -9 $$", None).await, ExecReading::Killed { signal: 9, excerpt: "".into() });
    assert_eq!(said("echo password=hunter2", None).await, exited(0, "password=***"));
    let much = said("head -c 1000000 /dev/zero | tr '\\0' a", None).await;
    assert_eq!(much, exited(0, &"a".repeat(200)), "a full pipe holds nobody");
}

#[tokio::test]
async fn its_surroundings_are_the_same_everywhere() {
    let reading = said("echo $LC_ALL; pwd; echo ${HOME-unset}; cat; echo $(ps -o pid= -o sid= -p $$)", None).await;
    let ExecReading::Exited { code: 0, excerpt } = reading else { panic!("{reading:?}") };
    let words: Vec<&str> = excerpt.split_whitespace().collect();
    assert_eq!(words[..3], ["C", "/", "unset"]);
    assert_eq!(words[3], words[4], "it leads a session of its own");
}

#[tokio::test]
async fn it_runs_as_whom_it_was_declared_to() {
    // Only root may become somebody else: what this test is run as decides what is to be seen.
    let reading = said("id -un; id -gn; echo $HOME $USER", Some("nobody")).await;
    if rustix::process::geteuid().is_root() {
        let ExecReading::Exited { code: 0, excerpt } = reading else { panic!("{reading:?}") };
        assert_eq!(excerpt.split_whitespace().collect::<Vec<_>>(), ["nobody", "nogroup", "/nonexistent", "nobody"]);
    } else {
        assert!(matches!(&reading, ExecReading::Exited { code: 127, excerpt } if excerpt.contains("become user")));
    }
    let reading = said("exit 0", Some("no-such-user")).await;
    assert_eq!(reading, exited(127, "there is no user 'no-such-user'"));
}

#[tokio::test]
async fn what_does_not_exist_or_cannot_be_executed_is_a_mistake_in_what_was_declared() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    for (program, why) in [(Path::new("/nonexistent/check"), "does not exist"), (&plain, "cannot be executed")] {
        let answer = run(program, None, LONG).await;
        assert!(matches!(&answer, Err(Fault::Config(said)) if said.contains(why)), "{answer:?}");
    }
}

/// A pipe in the file system that tells how long anybody lives who has it open.
struct Life {
    fifo: PathBuf,
    reader: OwnedFd,
}

impl Life {
    fn new(dir: &TempDir) -> Life {
        let fifo = dir.path().join("alive");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let reader = rustix::fs::open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        Life { fifo, reader }
    }

    /// Everything that was said, once nobody is left who could say more.
    async fn end(self) -> String {
        let read_all = tokio::task::spawn_blocking(move || {
            let flags = rustix::fs::fcntl_getfl(&self.reader).unwrap() - OFlags::NONBLOCK;
            rustix::fs::fcntl_setfl(&self.reader, flags).unwrap();
            let mut said = String::new();
            File::from(self.reader).read_to_string(&mut said).unwrap();
            said
        });
        tokio::time::timeout(LONG, read_all).await.expect("somebody of it lives on").unwrap()
    }
}

/// A grandchild in its session, one in a session of its own, and one whose parent has ended as well; goes on when all
/// three are known to run.
fn brood(fifo: &Path) -> String {
    let (fifo, told) = (fifo.display(), format!("{}.told", fifo.display()));
    let live = |name: &str| format!("echo {name} >&3; echo >> {told}; sleep 1000");
    let (child, session, orphan) = (live("child"), live("session"), live("orphan"));
    format!(
        "exec 3>{fifo}\n({child}) &\nsetsid sh -c '{session}' &\nsh -c 'setsid sh -c \"{orphan}\" &'\n\
         while [ \"$(wc -l < {told})\" -lt 3 ]; do sleep 0.01; done"
    )
}

#[tokio::test]
async fn at_its_deadline_all_of_it_is_killed_and_also_when_it_ends_by_itself() {
    for (end, hangs) in [("sleep 1000", true), ("echo done", false)] {
        let dir = tempfile::tempdir().unwrap();
        let life = Life::new(&dir);
        std::fs::write(dir.path().join("alive.told"), "").unwrap();
        let program = script(dir.path(), &format!("{}\n{end}", brood(&life.fifo)));
        let deadline = if hangs { Duration::from_secs(8) } else { LONG };
        let reading = match run(&program, None, deadline).await {
            Ok(Reading::Exec(reading)) => reading,
            other => panic!("{other:?}"),
        };
        if hangs {
            assert_eq!(reading, ExecReading::TimedOut { after: Ms::secs(8), excerpt: "".into() });
        } else {
            assert_eq!(reading, exited(0, "done"));
        }
        let said = life.end().await;
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["child", "orphan", "session"], "all three had started");
    }
}

#[tokio::test]
async fn whoever_gives_up_on_it_kills_it() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::new(&dir);
    let told = dir.path().join("told");
    let (fifo, tell) = (life.fifo.display(), told.display());
    let program = script(dir.path(), &format!("exec 3>{fifo}\necho up >&3\n: > {tell}\nexec sleep 1000"));
    let begun = async {
        while !told.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        // Dropped, which is how the edge gives up on a question.
        () = begun => {}
        answer = run(&program, None, LONG) => panic!("it ended: {answer:?}"),
    }
    assert_eq!(life.end().await, "up\n");
}
