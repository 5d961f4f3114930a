//! Asks file-touching questions in a disposable child, so that a dead mount can never wedge the daemon.
//!
//! A process cannot exit while one of its threads hangs in a system call: therefore never a thread. The child is this
//! binary with a hidden subcommand, and answers one question at a time; one that has answered is kept for the next, because
//! to start a program takes longer than most answers. At its deadline its whole group is killed, and its end is not
//! awaited: a child in state D ends when the kernel lets it. Such a child is counted until it has ended, and its question
//! is not asked again before that: a dead mount costs one process a question, never one a look. Only the child that runs a
//! check is asked to end first, and stays as long as anything of the check does: `exec.rs`. Rules: dependencies.md,
//! "Mounts" and "Processes"; watches.md, "storage".

mod ending;
mod kept;

use std::fs;
use std::io::{BufRead, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use hostward_core::ask::{Answer, ExecQ, Fault, Question, Reading};
use hostward_core::time::Ms;

use crate::jobs::{ListAsk, Listed, list_by_command};
use crate::{exec, gate, python};
use ending::Ending;
use kept::Kept;

/// The hidden subcommand that calls [`answer_stdin`].
pub const SUBCOMMAND: &str = "__probe";

/// A question with its inline requirements is far smaller.
const MAX_MESSAGE: u64 = 1024 * 1024;
/// An answer: the list of a thousand jobs, each with all that may be said of one.
const MAX_ANSWER: u64 = 8 << 20;
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
    kept: Kept,
}

impl Children {
    pub fn new(program: PathBuf) -> Children {
        Children { program, ending: Ending::default(), kept: Kept::default() }
    }

    /// This very program.
    pub fn own() -> std::io::Result<Children> {
        Ok(Children::new(std::env::current_exe()?))
    }

    /// Asks one. After `deadline`, and a moment more for its child to end, the answer is `Fault::Timeout`.
    ///
    /// Cancel-safe: dropped, it ends the child's group.
    pub async fn ask(&self, question: &Question, deadline: Duration) -> Answer {
        self.tell(message(question)?, Ended::of(question), deadline).await
    }

    async fn tell<T: DeserializeOwned>(&self, message: Vec<u8>, by: Ended, deadline: Duration) -> Result<T, Fault> {
        if self.ending.has(&message) {
            // What hung still hangs.
            return Err(Fault::Timeout);
        }
        if self.ending.count() >= ENDING_MAX {
            return Err(Fault::Probe(
                format!("{ENDING_MAX} killed children hang in the kernel: none is started").into(),
            ));
        }
        let mut group = match self.kept.take() {
            Some(group) => group,
            None => Group::spawn(self)?,
        };
        group.begin(message, by);
        let said = tokio::time::timeout(deadline, group.converse()).await.unwrap_or(Err(Fault::Timeout));
        if let Ok(Said { left: false, .. }) = &said {
            self.kept.put(group);
        } else {
            // Also when it answered: one that is about to end must not be taken for one that hangs, should the same be
            // asked again at once.
            group.end().await;
        }
        said?.answer
    }

    /// Runs one of the operator's own checks, below a child that kills all of it at the deadline. The child itself has a
    /// second more for that.
    ///
    /// Cancel-safe: dropped, it makes the child kill the check, as it does should this process die.
    pub async fn run(&self, q: &ExecQ, deadline: Duration) -> Answer {
        let timeout = Ms(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
        self.ask(&Question::Exec(ExecQ { timeout, ..q.clone() }), deadline + GRACE).await
    }

    /// Runs a provider of jobs, as [`Children::run`] does a check, and reads what it prints in the child as well: whatever it
    /// is never comes here.
    pub(crate) async fn list(&self, asked: &ListAsk, deadline: Duration) -> Result<Listed, Fault> {
        let timeout = Ms(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
        let asked = asked.within(timeout);
        self.tell(message(&Asked::List(asked))?, Ended::Asked, deadline + GRACE).await
    }

    /// Children that were to end and have not: each hangs in a system call, or something of its check does.
    pub fn ending(&self) -> usize {
        self.ending.count()
    }
}

/// A question as it is sent: JSON has no line breaks of its own.
fn message(question: &impl Serialize) -> Result<Vec<u8>, Fault> {
    let mut message =
        serde_json::to_vec(question).map_err(|e| Fault::Probe(format!("write the question as JSON: {e}").into()))?;
    message.push(b'\n');
    Ok(message)
}

/// What a child is asked. The core's own questions stand for themselves.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asked {
    List(ListAsk),
    #[serde(untagged)]
    Question(Question),
}

/// What a child says to a question, on a line of its own.
#[derive(Serialize, Deserialize)]
struct Said<T> {
    answer: Result<T, Fault>,
    /// Something of what it started is left: it takes no further question, and ends when that has.
    left: bool,
}

/// The child's side: reads questions from standard input, a line each, and writes what it has to say to standard output.
pub fn answer_stdin() -> ExitCode {
    let served = serve(&mut std::io::stdin().lock(), &mut std::io::stdout().lock());
    // Its end is the end of the answers.
    let closed = fs::File::open("/dev/null").and_then(|null| Ok(rustix::stdio::dup2_stdout(null)?));
    exec::outlast();
    match served.and(closed) {
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

/// Until nobody asks any more, or something is left of what was asked.
fn serve(input: &mut dyn BufRead, output: &mut dyn Write) -> std::io::Result<()> {
    let mut line = Vec::new();
    while input.take(MAX_MESSAGE).read_until(b'\n', &mut line)? > 0 {
        let (mut said, left) = match serde_json::from_slice(&line)? {
            Asked::List(asked) => said(list_by_command(&asked))?,
            Asked::Question(question) => said(answer(&question))?,
        };
        said.push(b'\n');
        output.write_all(&said)?;
        output.flush()?;
        if left {
            break;
        }
        line.clear();
    }
    Ok(())
}

/// And whether anything is left of what it was asked.
fn said<T: Serialize>(answer: Result<T, Fault>) -> serde_json::Result<(Vec<u8>, bool)> {
    let left = exec::leaves();
    Ok((serde_json::to_vec(&Said { answer, left })?, left))
}

fn answer(question: &Question) -> Answer {
    match question {
        Question::Python(q) => python::read(q),
        Question::Gate(q) => gate::read(q).map(Reading::Gate),
        Question::Mount(path) => crate::mounts::reading(path),
        Question::Exec(q) => exec::run(q),
        Question::Unit(_)
        | Question::Http(_)
        | Question::Tcp(_)
        | Question::Closure(_)
        | Question::Paths(_)
        | Question::Jobs(_) => {
            Err(Fault::Probe("a child answers only questions about files, and runs checks".into()))
        }
    }
}

/// How a child is made to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Debug)]
struct Group {
    child: Option<Child>,
    stdin: Option<ChildStdin>,
    /// A supervisor closes it when it has killed what it could: also without an answer, or with nobody who reads it.
    stdout: Option<BufReader<ChildStdout>>,
    /// What it is asked now, or was last.
    message: Vec<u8>,
    by: Ended,
    /// How many questions it was asked.
    asked: u32,
    ending: Ending,
    /// It was made to end, and had its time.
    hangs: bool,
}

impl Group {
    fn spawn(children: &Children) -> Result<Group, Fault> {
        let mut child = start(&children.program, SUBCOMMAND)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Ok(Group {
            child: Some(child),
            stdin,
            stdout,
            message: Vec::new(),
            by: Ended::Killed,
            asked: 0,
            ending: children.ending.clone(),
            hangs: false,
        })
    }

    fn begin(&mut self, message: Vec<u8>, by: Ended) {
        (self.message, self.by) = (message, by);
        self.asked += 1;
    }

    async fn converse<T: DeserializeOwned>(&mut self) -> Result<Said<T>, Fault> {
        let Group { child: Some(child), stdin: Some(stdin), stdout: Some(stdout), message, .. } = self else {
            return Err(Fault::Probe("the child has ended, or has no pipes".into()));
        };
        // A child that ends without reading says so by not answering.
        let ask = async { drop(stdin.write_all(message).await) };
        let mut said = Vec::new();
        let mut bounded = stdout.take(MAX_ANSWER + 1);
        // Together: either pipe may fill while the other waits.
        let ((), read) = tokio::join!(ask, bounded.read_until(b'\n', &mut said));
        read.map_err(|e| Fault::Probe(format!("read the child's answer: {e}").into()))?;
        if u64::try_from(said.len()).is_ok_and(|len| len > MAX_ANSWER) {
            return Err(Fault::Probe("the child's answer is longer than 8 MiB".into()));
        }
        if let Ok(said) = serde_json::from_slice(&said) {
            return Ok(said);
        }
        // What it says is of no use, so it is to end: how it ends is the best reason there is.
        (self.stdin, self.stdout) = (None, None);
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

/// This program again, as one of its hidden subcommands: with pipes, and leading a process group.
pub(crate) fn own(program: &Path, subcommand: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(subcommand).process_group(0);
    // Nothing that it looks up depends on the daemon's environment, which may hold credentials.
    command.env_clear().current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

pub(crate) fn start(program: &Path, subcommand: &str) -> Result<Child, Fault> {
    let failed = |e| Fault::Probe(format!("start '{} {subcommand}': {e}", program.display()).into());
    own(program, subcommand).spawn().map_err(failed)
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
pub(crate) mod tests;
