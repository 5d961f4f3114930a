//! Asks file-touching questions in a disposable child, so that a dead mount can never wedge the daemon.
//!
//! A process cannot exit while one of its threads hangs in a system call: therefore never a thread. The child is this
//! binary with a hidden subcommand; at its deadline its whole group is killed, and its end is not awaited: a child in
//! state D ends when the kernel lets it. Such a child is counted until it has ended, and its question is not asked again
//! before that: a dead mount costs one process a question, never one a look. Only the child that runs a check is asked to
//! end first, and stays as long as anything of the check does: `exec.rs`. Rules: dependencies.md, "Mounts" and
//! "Processes"; watches.md, "storage".

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use hostward_core::ask::{Answer, ExecQ, Fault, Question, Reading};
use hostward_core::time::Ms;

use crate::{exec, gate, python};

/// The hidden subcommand that calls [`answer_stdin`].
pub const SUBCOMMAND: &str = "__probe";

/// A question with its inline requirements, and an answer with its hundred unmet ones, are far smaller.
const MAX_MESSAGE: u64 = 1024 * 1024;
/// A supervisor's own deadline begins when it has started, and its end takes a moment.
const GRACE: Duration = Duration::from_secs(1);
/// A killed child whose end the kernel does not put off is gone within milliseconds. With [`GRACE`] it is less than the
/// edge's patience, so that who hangs is known to before the same is asked again.
const ENDS_WITHIN: Duration = Duration::from_millis(750);
/// A supervisor that was asked to end and has not said for so long that it did what it can is stuck itself. It may also
/// just not have run: then its check would live on unseen, so that this is long.
const OBEYS_WITHIN: Duration = Duration::from_secs(30);
/// Killed children that the kernel does not let go keep their memory, of about 1 MiB, within our own MemoryMax=.
const ENDING_MAX: usize = 32;

/// Asks questions in children, `program __probe`.
#[derive(Clone, Debug)]
pub struct Children {
    program: PathBuf,
    ending: Ending,
}

impl Children {
    pub fn new(program: PathBuf) -> Children {
        Children { program, ending: Ending::default() }
    }

    /// This very program.
    pub fn own() -> std::io::Result<Children> {
        Ok(Children::new(std::env::current_exe()?))
    }

    /// Asks one. After `deadline`, and a moment more for its child to end, the answer is `Fault::Timeout`.
    ///
    /// Cancel-safe: dropped, it ends the child's group.
    pub async fn ask(&self, question: &Question, deadline: Duration) -> Answer {
        let message = serde_json::to_vec(question)
            .map_err(|e| Fault::Probe(format!("write the question as JSON: {e}").into()))?;
        if self.ending.has(&message) {
            // What hung still hangs.
            return Err(Fault::Timeout);
        }
        if self.ending.count() >= ENDING_MAX {
            return Err(Fault::Probe(
                format!("{ENDING_MAX} killed children hang in the kernel: none is started").into(),
            ));
        }
        let mut group = Group::spawn(self, Ended::of(question), message)?;
        let answer = tokio::time::timeout(deadline, group.converse()).await;
        // Also when it answered: one that is about to end must not be taken for one that hangs, should the same be asked
        // again at once.
        group.end().await;
        answer.unwrap_or(Err(Fault::Timeout))
    }

    /// Runs one of the operator's own checks, below a child that kills all of it at the deadline. The child itself has a
    /// second more for that.
    ///
    /// Cancel-safe: dropped, it makes the child kill the check, as it does should this process die.
    pub async fn run(&self, q: &ExecQ, deadline: Duration) -> Answer {
        let timeout = Ms(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
        self.ask(&Question::Exec(ExecQ { timeout, ..q.clone() }), deadline + GRACE).await
    }

    /// Children that were to end and have not: each hangs in a system call, or something of its check does.
    pub fn ending(&self) -> usize {
        self.ending.count()
    }
}

/// The questions whose children were killed and did not end, and how many of each.
#[derive(Clone, Debug, Default)]
struct Ending(Arc<Mutex<BTreeMap<Vec<u8>, usize>>>);

impl Ending {
    /// Counts one until what this returns is dropped.
    fn enter(&self, message: Vec<u8>) -> Hung {
        *self.questions().entry(message.clone()).or_default() += 1;
        Hung { ending: self.clone(), message }
    }

    fn has(&self, message: &[u8]) -> bool {
        self.questions().contains_key(message)
    }

    fn count(&self) -> usize {
        self.questions().values().sum()
    }

    fn questions(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Hung {
    ending: Ending,
    message: Vec<u8>,
}

impl Drop for Hung {
    fn drop(&mut self) {
        let mut questions = self.ending.questions();
        if let Some(count) = questions.get_mut(&self.message) {
            *count -= 1;
            if *count == 0 {
                questions.remove(&self.message);
            }
        }
    }
}

/// The child's side: reads a question from standard input, writes its answer to standard output.
pub fn answer_stdin() -> ExitCode {
    let answered = answer(&mut std::io::stdin().lock(), &mut std::io::stdout().lock());
    // Its end is the end of the answer.
    let closed = fs::File::open("/dev/null").and_then(|null| Ok(rustix::stdio::dup2_stdout(null)?));
    exec::outlast();
    match answered.and(closed) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever asked has given up, and knows.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(e) => {
            // The parent's standard error is the journal; the parent itself only sees that there was no answer.
            let _ = writeln!(std::io::stderr(), "hostward {SUBCOMMAND}: {e}");
            ExitCode::FAILURE
        }
    }
}

fn answer(input: &mut dyn Read, output: &mut dyn Write) -> std::io::Result<()> {
    // Not to the end of the input, which stays open as long as somebody waits for a check.
    let mut questions = serde_json::Deserializer::from_reader(input.take(MAX_MESSAGE)).into_iter::<Question>();
    let question = questions.next().ok_or(std::io::ErrorKind::UnexpectedEof)??;
    let answer: Answer = match &question {
        Question::Python(q) => python::read(q),
        Question::Gate(q) => gate::read(q).map(Reading::Gate),
        Question::Mount(path) => crate::mounts::reading(path),
        Question::Exec(q) => exec::run(q),
        Question::Unit(_) | Question::Http(_) | Question::Tcp(_) | Question::Closure(_) | Question::Paths(_) => {
            Err(Fault::Probe("a child answers only questions about files, and runs checks".into()))
        }
    };
    output.write_all(&serde_json::to_vec(&answer)?)?;
    output.flush()
}

/// How a child is made to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Its whole group, at once.
    Killed,
    /// What it supervises is in sessions of their own, which only it knows: its input is closed.
    Asked,
}

impl Ended {
    fn of(question: &Question) -> Ended {
        if matches!(question, Question::Exec(_)) { Ended::Asked } else { Ended::Killed }
    }
}

/// A child and everything it started. Dropped, it is made to end, and reaped in the background.
struct Group {
    child: Option<Child>,
    by: Ended,
    stdin: Option<ChildStdin>,
    /// A supervisor closes it when it has killed what it could: also without an answer, or with nobody who reads it.
    stdout: Option<ChildStdout>,
    message: Vec<u8>,
    ending: Ending,
    /// It was made to end, and had its time.
    hangs: bool,
}

impl Group {
    fn spawn(children: &Children, by: Ended, message: Vec<u8>) -> Result<Group, Fault> {
        let program = &children.program;
        let mut child = Command::new(program)
            .arg(SUBCOMMAND)
            .process_group(0)
            // Nothing that it looks up depends on the daemon's environment, which may hold credentials.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Fault::Probe(format!("start '{} {SUBCOMMAND}': {e}", program.display()).into()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let ending = children.ending.clone();
        Ok(Group { child: Some(child), by, stdin, stdout, message, ending, hangs: false })
    }

    async fn converse(&mut self) -> Answer {
        let Group { child: Some(child), stdin, stdout: Some(stdout), message, by, .. } = self else {
            return Err(Fault::Probe("the child has ended, or has no pipes".into()));
        };
        let ask = async {
            if let Some(stdin) = stdin {
                // A child that ends without reading says so by not answering.
                let _ = stdin.write_all(message).await;
            }
            if *by == Ended::Killed {
                *stdin = None;
            }
        };
        let mut said = Vec::new();
        let mut bounded = stdout.take(MAX_MESSAGE + 1);
        // Together: either pipe may fill while the other waits.
        let ((), read) = tokio::join!(ask, bounded.read_to_end(&mut said));
        read.map_err(|e| Fault::Probe(format!("read the child's answer: {e}").into()))?;
        if u64::try_from(said.len()).is_ok_and(|len| len > MAX_MESSAGE) {
            return Err(Fault::Probe("the child's answer is longer than 1 MiB".into()));
        }
        if let Ok(answer) = serde_json::from_slice::<Answer>(&said) {
            return answer;
        }
        // Its output is closed, so it is about to end: how it ended is the best reason there is.
        match child.wait().await {
            Ok(status) => Err(Fault::Probe(format!("the child gave no answer and ended with {status}").into())),
            Err(e) => Err(Fault::Probe(format!("wait for the child: {e}").into())),
        }
    }
}

impl Group {
    /// Makes it end and waits a little for that, so that only a child that hangs is counted as such.
    async fn end(&mut self) {
        self.begin_end();
        if let Some(child) = &mut self.child {
            self.hangs = tokio::time::timeout(ENDS_WITHIN, child.wait()).await.is_err();
        }
    }

    fn begin_end(&mut self) {
        self.stdin = None;
        if let (Ended::Killed, Some(child)) = (self.by, &self.child) {
            kill_group(child);
        }
    }
}

/// Kills a child that leads a process group, and everybody in it, unless it was reaped: its group's number may be
/// somebody else's by now.
pub(crate) fn kill_group(leader: &Child) {
    let id = leader.id().and_then(|id| i32::try_from(id).ok());
    let Some(pid) = id.and_then(Pid::from_raw) else { return };
    // ESRCH: everybody has ended already.
    let _ = kill_process_group(pid, Signal::KILL);
}

impl Drop for Group {
    fn drop(&mut self) {
        self.begin_end();
        // Without an id it was reaped.
        let Some(mut child) = self.child.take().filter(|child| child.id().is_some()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (ending, message) = (self.ending.clone(), std::mem::take(&mut self.message));
        // Counted before the same can be asked again.
        let hung = self.hangs.then(|| ending.enter(message.clone()));
        let supervisor = self.stdout.take().filter(|_| self.by == Ended::Asked);
        runtime.spawn(async move {
            let _hung = if let Some(hung) = hung {
                hung
            } else if tokio::time::timeout(ENDS_WITHIN, child.wait()).await.is_ok() {
                // A child that has answered comes here as well: it was about to end, and does not hang.
                return;
            } else {
                ending.enter(message)
            };
            if let Some(mut said) = supervisor {
                let mut nobody = tokio::io::sink();
                let obeyed = tokio::io::copy(&mut said, &mut nobody);
                if tokio::time::timeout(OBEYS_WITHIN, obeyed).await.is_err() {
                    kill_group(&child);
                }
            }
            let _ = child.wait().await;
        });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use hostward_core::ask::{ExecReading, GateQ, GateReading};
    use rustix::fs::{FileType, Mode, OFlags};
    use tempfile::TempDir;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Written by another process: ours forks in other tests meanwhile, and a program that anybody still has open for
    /// writing cannot be executed (ETXTBSY).
    pub(crate) fn script(dir: &TempDir, text: &str) -> PathBuf {
        let path = dir.path().join("program");
        let mut writer = std::process::Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        write!(writer.stdin.take().unwrap(), "#!/bin/sh\n{text}\n").unwrap();
        assert!(writer.wait().unwrap().success());
        path
    }

    fn gate() -> Question {
        Question::Gate(GateQ { sentinels: vec!["/nonexistent".into()], ..GateQ::default() })
    }

    async fn ask(program: &Path, question: &Question, deadline: Duration) -> Answer {
        Children::new(program.to_owned()).ask(question, deadline).await
    }

    async fn faults(dir: &TempDir, text: &str) -> String {
        match ask(&script(dir, text), &gate(), LONG).await {
            Err(Fault::Probe(text)) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_same_is_answered_as_often_as_it_is_asked() {
        let dir = TempDir::new().unwrap();
        // It answers, and takes its time to end.
        let answer = serde_json::to_string(&Answer::Ok(Reading::Mount(None))).unwrap();
        let program = script(&dir, &format!("cat >/dev/null; echo '{answer}'; exec >&-; sleep 0.3"));
        let children = Children::new(program);
        for _ in 0..5 {
            assert_eq!(children.ask(&gate(), LONG).await, Ok(Reading::Mount(None)));
            assert_eq!(children.ending(), 0);
        }
    }

    #[tokio::test]
    async fn an_answer_comes_back_whole_and_the_child_was_asked_by_its_subcommand() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        let question = serde_json::to_vec(&gate()).unwrap();
        answer(&mut &question[..], &mut out).unwrap();
        fs::write(dir.path().join("answer"), out).unwrap();
        let here = dir.path().display();
        let program = script(&dir, &format!("cat > {here}/asked; echo $1 > {here}/argument; cat {here}/answer"));
        let sentinels = vec![hostward_core::ask::SentinelState::Absent];
        let reading = GateReading { sentinels, ..GateReading::default() };
        assert_eq!(ask(&program, &gate(), LONG).await, Ok(Reading::Gate(reading)));
        assert_eq!(fs::read(dir.path().join("asked")).unwrap(), question);
        assert_eq!(fs::read_to_string(dir.path().join("argument")).unwrap(), "__probe\n");
    }

    #[tokio::test]
    async fn at_the_deadline_the_whole_group_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("alive");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let reader = rustix::fs::open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        // The grandchild holds the pipe: it is readable to its end only when nobody of the group is left.
        let program = script(&dir, &format!("exec 3>{}; echo up >&3; sleep 1000 & sleep 1000", fifo.display()));
        let answer = ask(&program, &gate(), Duration::from_secs(2)).await;
        assert_eq!(answer, Err(Fault::Timeout));
        let read_all = tokio::task::spawn_blocking(move || {
            let flags = rustix::fs::fcntl_getfl(&reader).unwrap() - OFlags::NONBLOCK;
            rustix::fs::fcntl_setfl(&reader, flags).unwrap();
            let mut said = String::new();
            fs::File::from(reader).read_to_string(&mut said).unwrap();
            said
        });
        let said = tokio::time::timeout(LONG, read_all).await.expect("somebody of the group lives on").unwrap();
        assert_eq!(said, "up\n", "it had started");
    }

    #[tokio::test]
    async fn a_child_without_an_answer_is_our_own_fault() {
        let dir = tempfile::tempdir().unwrap();
        for (text, reason) in [
            ("exit 3", "exit status: 3"),
            ("echo nonsense", "exit status: 0"),
            ("kill -9 $$", "signal: 9"),
            ("while echo 0123456789012345678901234567890123456789; do :; done", "longer than 1 MiB"),
        ] {
            let fault = faults(&dir, text).await;
            assert!(fault.contains(reason), "{text}: {fault}");
        }
        let missing = ask(Path::new("/nonexistent/hostward"), &gate(), LONG).await;
        assert!(matches!(&missing, Err(Fault::Probe(text)) if text.contains("/nonexistent/hostward")), "{missing:?}");
    }

    #[tokio::test]
    async fn a_question_whose_child_hangs_in_the_kernel_is_not_asked_again_and_such_children_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let asked = dir.path().join("asked");
        let children = Children::new(script(&dir, &format!("echo >> {}; exit 3", asked.display())));
        let hung = children.ending.enter(serde_json::to_vec(&gate()).unwrap());
        assert_eq!(children.ask(&gate(), LONG).await, Err(Fault::Timeout));
        drop(hung);
        let mut others: Vec<Hung> = (0..ENDING_MAX).map(|n| children.ending.enter(vec![u8::from(n > 9)])).collect();
        let full = children.ask(&gate(), LONG).await;
        assert!(matches!(&full, Err(Fault::Probe(text)) if text.contains("hang in the kernel")), "{full:?}");
        assert!(!asked.exists(), "no process was started for either");
        others.pop();
        let free = children.ask(&gate(), LONG).await;
        assert!(matches!(&free, Err(Fault::Probe(text)) if text.contains("exit status: 3")), "{free:?}");
        drop(others);
        assert!(children.ending.questions().is_empty());
    }

    #[tokio::test]
    async fn a_question_is_asked_again_at_once_whatever_became_of_its_last_child() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        answer(&mut &serde_json::to_vec(&gate()).unwrap()[..], &mut out).unwrap();
        fs::write(dir.path().join("answer"), out).unwrap();
        // It has answered, and does not end by itself.
        let text = format!("cat > /dev/null; cat {}/answer; exec >&-; sleep 1000", dir.path().display());
        let children = Children::new(script(&dir, &text));
        let question = gate();
        for _ in 0..5 {
            let (one, other) = tokio::join!(children.ask(&question, LONG), children.ask(&question, LONG));
            assert!(one.is_ok() && other.is_ok(), "{one:?}, {other:?}");
        }
        let children = Children::new(script(&dir, "sleep 1000"));
        for _ in 0..3 {
            let dropped = tokio::time::timeout(Duration::from_millis(50), children.ask(&gate(), LONG)).await;
            assert!(dropped.is_err(), "another child, which sleeps as well: {dropped:?}");
        }
        assert_eq!(children.ending(), 0, "a child that ends when it is killed is none that hangs");
    }

    /// As a real one does while something of its check hangs in the kernel: it has answered, and stays.
    #[tokio::test]
    async fn a_check_of_which_something_is_left_is_not_run_again_before_that_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let (begun, free) = (dir.path().join("begun"), dir.path().join("free"));
        let reading = Reading::Exec(ExecReading::TimedOut { after: Ms(50), excerpt: "".into() });
        let answer = serde_json::to_string(&Answer::Ok(reading.clone())).unwrap();
        let stays = format!("exec >&-; while [ ! -e {} ]; do sleep 0.02; done", free.display());
        let text = format!("echo >> {}; echo '{answer}'; {stays}", begun.display());
        let children = Children::new(script(&dir, &text));
        let check = ExecQ { run: vec!["/check".into()], user: None, timeout: Ms::ZERO };
        assert_eq!(children.run(&check, LONG).await, Ok(reading.clone()));
        for _ in 0..3 {
            assert_eq!(children.run(&check, LONG).await, Err(Fault::Timeout));
        }
        assert_eq!((children.ending(), fs::read(&begun).unwrap().len()), (1, 1));
        fs::write(&free, "").unwrap();
        while children.ending() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(children.run(&check, LONG).await, Ok(reading));
    }

    #[test]
    fn a_child_answers_no_question_about_anything_but_files() {
        let mut out = Vec::new();
        let question = Question::Unit(hostward_core::id::UnitName::new("a.service"));
        answer(&mut &serde_json::to_vec(&question).unwrap()[..], &mut out).unwrap();
        assert!(matches!(serde_json::from_slice::<Answer>(&out).unwrap(), Err(Fault::Probe(_))));
        assert!(answer(&mut &b"{"[..], &mut out).is_err());
    }
}
