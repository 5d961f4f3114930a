//! What is asked of jobs: which there are, who runs each, and how far each has come.
//!
//! One question lists them all and looks at each that runs, so that one verdict rests on one moment. Texts with `{id}`,
//! `{group}` and `{output}` in them are filled for each job ([`Place::fill`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ClosureReading, Fault, LockState, Look, UnitReading, Write};
use crate::id::{Str, UnitName};
use crate::time::Ms;

/// All jobs of one watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobsQ {
    pub from: Provider,
    /// The provider's own words for a state, beside ours.
    pub words: BTreeMap<Str, JobState>,
    /// What tells how far a running job has come; each is a counter of its own.
    pub progress: Vec<Source>,
    pub runner: RunnerQ,
    /// Each job's output folder is looked at as this user, as a hot path is.
    pub output: Option<OutputQ>,
    /// The unit that runs jobs which have no unit of their own.
    pub worker: Option<UnitName>,
    /// A folder on the disk that jobs fill: its space is measured.
    pub disk: Option<PathBuf>,
    /// For each answer of a file system.
    pub answer: Ms,
}

impl JobsQ {
    /// Jobs of one watch: what a provider lists beyond is refused.
    pub const JOBS_MAX: usize = 1000;
    /// Longer names would be labels of metrics and arguments of commands.
    pub const ID_MAX: usize = 100;
    /// A pass over all files may take so many times what one answer may.
    pub const PASS: u64 = 6;

    /// For the whole: the list, and the files after it.
    pub fn deadline(&self) -> Ms {
        let listed = match &self.from {
            Provider::Command(command) => command.timeout,
            Provider::Units(_) | Provider::Directory(_) => self.answer,
        };
        listed + self.answer * JobsQ::PASS
    }
}

/// Where the list of jobs comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// A command of the operator's that prints them as JSON.
    Command(Listing),
    /// Each unit whose name matches is a job, and its own runner: `import@*.service`.
    Units(Str),
    /// Each folder in this one is a job, and its own output.
    Directory(Folder),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listing {
    /// The program's whole path, and its arguments.
    pub run: Vec<Str>,
    pub user: Option<Str>,
    /// `NAME=VALUE` lines, as systemd's EnvironmentFile= reads them.
    pub env: Option<PathBuf>,
    pub timeout: Ms,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Folder {
    pub at: PathBuf,
    /// A JSON file in each, and the pointer to its state in it. None: a job runs while its lock is held.
    pub state: Option<(Str, Str)>,
}

/// A counter of a job's. Files are below its output folder unless they are absolute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Of the files that match, the newest by mtime: the number in the first group of the pattern's last match.
    Log { files: Str, count: Str },
    /// A JSON file, and the pointer (RFC 6901) to a number in it.
    State { file: Str, pointer: Str },
    /// A JSON body, and the pointer to a number in it.
    Http { url: Str, pointer: Str },
    /// The bytes of all files that match.
    Bytes { files: Str },
    /// systemd's StatusText of its own unit: the pattern's first group.
    Status { count: Str },
    /// What its own unit spends, as systemd accounts for it. It counts beside another alone.
    Effort(Effort),
    /// `progress`, as the provider says it.
    Provided,
}

impl Source {
    pub fn label(&self) -> &'static str {
        match self {
            Source::Log { .. } => "log",
            Source::State { .. } => "state",
            Source::Http { .. } => "http",
            Source::Bytes { .. } => "bytes",
            Source::Status { .. } => "status",
            Source::Effort(Effort::Cpu) => "cpu",
            Source::Effort(Effort::Io) => "io",
            Source::Provided => "provided",
        }
    }
}

/// What work costs, also work that gets nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// Milliseconds of processor time.
    Cpu,
    /// Bytes that were read from and written to disks.
    Io,
}

/// How one tells who runs a job, in this order. What the provider itself names comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunnerQ {
    /// Its own unit: `crawl@{id}.service`.
    pub unit: Option<Str>,
    /// A file whose flock the runner holds: `{output}/.lock`. It is never created.
    pub lock: Option<Str>,
    /// A process with this argument: `--job={id}`. It counts only beside one of the others.
    pub argument: Option<Str>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OutputQ {
    /// Whom the jobs run as.
    pub user: Option<Str>,
    pub write: Write,
}

/// What a provider says of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Running,
    /// Waits for its first start.
    Pending,
    /// Waits to be taken up again.
    Retryable,
    Failed,
    Done,
}

impl JobState {
    pub const ALL: [JobState; 5] =
        [JobState::Running, JobState::Pending, JobState::Retryable, JobState::Failed, JobState::Done];

    pub fn label(self) -> &'static str {
        match self {
            JobState::Running => "running",
            JobState::Pending => "pending",
            JobState::Retryable => "retryable",
            JobState::Failed => "failed",
            JobState::Done => "done",
        }
    }

    /// Somebody should take it up.
    pub fn waits(self) -> bool {
        matches!(self, JobState::Pending | JobState::Retryable)
    }
}

/// What was found of all of them, whole: a job that is not in it does not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobsReading {
    /// Each id once, in the provider's order, without those that are done.
    pub jobs: Vec<JobReading>,
    /// Entries that are refused, in words; at most 20, `refused_total` counts them all.
    pub refused: Vec<Str>,
    pub refused_total: u32,
    /// Of those, whose they are, and why: jobs that are listed, and of which nothing else is known.
    #[serde(default)]
    pub doubtful: Vec<(Str, Str)>,
    pub worker: Option<Result<Box<UnitReading>, Fault>>,
    /// What stops with the worker, and with each unit of a job's own that is active.
    pub closures: Vec<(UnitName, Result<ClosureReading, Fault>)>,
    pub disk: Option<Look>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReading {
    pub id: Str,
    pub group: Option<Str>,
    pub state: JobState,
    /// Wall clock.
    pub started: Option<Ms>,
    pub output: Option<PathBuf>,
    /// What the provider says beside, for metrics; at most 32.
    pub numbers: BTreeMap<Str, serde_json::Number>,
    pub runner: RunnerReading,
    /// One for each source of the question, in its order. Empty for a job that neither runs nor has a runner.
    pub progress: Vec<Found>,
    /// Its output folder.
    pub look: Option<Look>,
}

/// Signs of who runs a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerReading {
    /// Its own unit.
    pub unit: Option<(UnitName, Result<Box<UnitReading>, Fault>)>,
    /// The provider itself names that unit for it; else it is the one that it could have.
    #[serde(default)]
    pub named: bool,
    /// The process that the provider names, and the same while it lives.
    pub pid: Option<u32>,
    pub process: Option<Process>,
    pub lock: Option<LockState>,
    /// The process that holds the lock, when it is known.
    pub holder: Option<Process>,
    /// A process with the argument.
    pub mentioned: Option<Process>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// The unit in whose cgroup it is.
    pub unit: Option<UnitName>,
    /// Wall clock, by when this host was booted.
    #[serde(default)]
    pub began: Option<Ms>,
}

/// What one source says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    Count(Measure),
    /// So much was spent; that alone is no progress.
    Effort(u64),
    /// It was looked at, and there is no number: no such file yet, no line that matches.
    Nothing(Str),
    /// A call failed, with its errno.
    Failed {
        errno: i32,
        why: Str,
    },
    /// The look hangs.
    Stuck,
    /// It could not be asked.
    Unasked(Fault),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    pub count: u64,
    /// The file that said so, and its mtime: wall clock.
    pub file: Option<PathBuf>,
    pub touched: Option<Ms>,
}

/// What texts of the configuration are filled with.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub id: &'a str,
    pub group: Option<&'a str>,
    pub output: Option<&'a Path>,
}

impl Place<'_> {
    /// Every name that may stand in braces.
    pub const NAMES: [&'static str; 3] = ["id", "group", "output"];

    /// The text with each `{name}` replaced, or the first one that has no value for this job.
    pub fn fill(&self, text: &str) -> Result<String, &'static str> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let named =
                Place::NAMES.iter().find(|name| after.strip_prefix(**name).is_some_and(|a| a.starts_with('}')));
            let Some(name) = named else {
                filled.push('{');
                rest = after;
                continue;
            };
            match *name {
                "id" => filled.push_str(self.id),
                "group" => filled.push_str(self.group.ok_or("group")?),
                _ => filled.push_str(self.output.and_then(Path::to_str).ok_or("output")?),
            }
            rest = &after[name.len() + 1..];
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// The text may be filled so that it reads as this word does: what stands between the names is there, in its order.
    pub fn fits(text: &str, word: &str) -> bool {
        let mut fixed = vec![text.to_owned()];
        for name in Place::NAMES {
            let brace = format!("{{{name}}}");
            fixed = fixed.iter().flat_map(|part| part.split(&brace)).map(str::to_owned).collect();
        }
        let Some((first, rest)) = fixed.split_first() else { return false };
        let Some((last, between)) = rest.split_last() else { return first == word };
        let Some(mut left) = word.strip_prefix(first.as_str()).and_then(|left| left.strip_suffix(last.as_str()))
        else {
            return false;
        };
        between.iter().all(|part| match left.split_once(part.as_str()) {
            Some((_, after)) => {
                left = after;
                true
            }
            None => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_filled_once_and_what_is_missing_is_named() {
        let place = Place { id: "a{output}", group: None, output: Some(Path::new("/srv/a")) };
        let table = [
            ("", Ok("")),
            ("crawl@{id}.service", Ok("crawl@a{output}.service")),
            ("{output}/{output}", Ok("/srv/a//srv/a")),
            ("{}{x}{id", Ok("{}{x}{id")),
            ("{{id}}", Ok("{a{output}}")),
            ("{group}", Err("group")),
        ];
        for (text, filled) in table {
            assert_eq!(place.fill(text), filled.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn a_word_fits_what_it_may_have_been_filled_from() {
        let table = [
            ("retry", "retry", true),
            ("retry", "retry7", false),
            ("crawl@{id}.service", "crawl@7.service", true),
            ("crawl@{id}.service", "ssh.service", false),
            ("crawl@{id}.service", "crawl@.service", true),
            ("crawl@{id}.service", "crawl@.servic", false),
            ("{id}", "anything", true),
            ("{output}/x/{id}.lock", "/srv/a/x/7.lock", true),
            ("{output}/x/{id}.lock", "/srv/a/7.lock", false),
            ("a{id}a", "a", false),
        ];
        for (text, word, fits) in table {
            assert_eq!(Place::fits(text, word), fits, "{text} {word}");
        }
    }
}
