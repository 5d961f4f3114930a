//! The operator's own checks, run by the real program: what they say, as whom, and that nothing of them is left.

#[path = "support/script.rs"]
mod script;

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
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

async fn answered(text: &str, user: Option<&str>) -> Answer {
    let dir = tempfile::tempdir().unwrap();
    // Another user looks for it as well.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    run(&script(dir.path(), text), user, LONG).await
}

async fn said(text: &str, user: Option<&str>) -> ExecReading {
    reading(answered(text, user).await)
}

fn reading(answer: Answer) -> ExecReading {
    match answer {
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
async fn one_supervisor_runs_one_check_after_another_and_each_as_if_it_were_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let program = script(dir.path(), "echo $PPID; sleep 1000 > /dev/null 2>&1 &");
    let q = ExecQ { run: vec![program.to_str().unwrap().into()], user: None, timeout: Ms::ZERO };
    let children = Children::new(env!("CARGO_BIN_EXE_hostward").into());
    let mut supervisors = Vec::new();
    for _ in 0..3 {
        supervisors.push(reading(children.run(&q, LONG).await));
        // What the check left was killed, so that nothing keeps its supervisor from the next.
        assert_eq!(children.ending(), 0);
    }
    assert!(supervisors.windows(2).all(|two| two[0] == two[1]), "{supervisors:?}");
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
    let reading = answered("id -un; id -gn; echo $HOME $USER", Some("nobody")).await;
    if rustix::process::geteuid().is_root() {
        let Ok(Reading::Exec(ExecReading::Exited { code: 0, excerpt })) = reading else { panic!("{reading:?}") };
        assert_eq!(excerpt.split_whitespace().collect::<Vec<_>>(), ["nobody", "nogroup", "/nonexistent", "nobody"]);
    } else {
        assert!(matches!(&reading, Err(Fault::Probe(why)) if why.contains("as user 'nobody'")), "{reading:?}");
    }
    let nobody = Err(Fault::Config("there is no user 'no-such-user'".into()));
    assert_eq!(answered("exit 0", Some("no-such-user")).await, nobody);
}

#[tokio::test]
async fn what_does_not_exist_or_cannot_be_executed_is_a_mistake_in_what_was_declared() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    let lost = dir.path().join("lost");
    std::fs::write(&lost, "#!/nonexistent/interpreter\n").unwrap();
    std::fs::set_permissions(&lost, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (program, why) in
        [(Path::new("/nonexistent/check"), "does not exist"), (&plain, "cannot be executed"), (&lost, "No such file")]
    {
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

/// A file that a process of a check tells its number by, once it is there.
async fn told(path: &Path) -> i32 {
    loop {
        let said = std::fs::read_to_string(path).unwrap_or_default();
        if let Some(pid) = said.strip_suffix('\n').and_then(|pid| pid.parse().ok()) {
            return pid;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A supervisor that the machine gave no time to is late itself, and still the only one who knows what to kill.
#[tokio::test]
async fn a_supervisor_that_did_not_run_kills_all_when_it_runs_again() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::new(&dir);
    std::fs::write(dir.path().join("alive.told"), "").unwrap();
    let late = dir.path().join("late");
    let text = format!("{}\nkill -STOP $PPID\necho $PPID > {}\nsleep 1000", brood(&life.fifo), late.display());
    let program = script(dir.path(), &text);
    let supervisor = tokio::select! {
        supervisor = told(&late) => rustix::process::Pid::from_raw(supervisor).unwrap(),
        answer = run(&program, None, LONG) => panic!("it ended: {answer:?}"),
    };
    rustix::process::kill_process(supervisor, rustix::process::Signal::CONT).unwrap();
    let said = life.end().await;
    assert_eq!(said.lines().count(), 3, "all three had started");
}

/// Whom somebody traces is not gone before his tracer has taken note: to his parent he survives SIGKILL, as what hangs in
/// the kernel does.
#[tokio::test]
async fn what_survives_its_kill_is_not_run_beside_and_counts_until_it_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (file, begun) = (dir.path().join("pid"), dir.path().join("begun"));
    let text = format!("echo >> {}\necho $$ > {}\nexec sleep 1000", begun.display(), file.display());
    let program = script(dir.path(), &text);
    let q = ExecQ { run: vec![program.to_str().unwrap().into()], user: None, timeout: Ms::ZERO };
    let children = Children::new(env!("CARGO_BIN_EXE_hostward").into());
    let (release, until) = std::sync::mpsc::channel::<()>();
    let trace = async {
        let pid = nix::unistd::Pid::from_raw(told(&file).await);
        let (say, seized) = tokio::sync::oneshot::channel();
        // The tracer is a thread, and its end is that of the trace.
        let tracer = std::thread::spawn(move || {
            let _ = say.send(nix::sys::ptrace::seize(pid, nix::sys::ptrace::Options::empty()));
            let _ = until.recv();
        });
        seized.await.unwrap().expect("these tests run as root");
        tracer
    };
    let tracer = tokio::select! {
        tracer = trace => tracer,
        answer = children.run(&q, LONG) => panic!("it ended: {answer:?}"),
    };
    until_ending(&children, 1).await;
    for _ in 0..3 {
        assert_eq!((children.run(&q, LONG).await, children.ending()), (Err(Fault::Timeout), 1));
    }
    assert_eq!(std::fs::read(&begun).unwrap().len(), 1, "it was run once");
    drop(release);
    tracer.join().unwrap();
    until_ending(&children, 0).await;
    std::fs::remove_file(&file).unwrap();
    tokio::select! {
        _ = told(&file) => {}
        answer = children.run(&q, LONG) => panic!("it is not run again: {answer:?}"),
    }
}

async fn until_ending(children: &Children, count: usize) {
    let counted = async {
        while children.ending() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, counted).await.expect("they are counted as they end");
}
