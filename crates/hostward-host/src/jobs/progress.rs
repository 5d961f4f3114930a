//! How far each job has come: every source of the question, for each job that is read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hostward_core::ask::{
    Effort, Fault, Found, HttpQ, HttpReading, JobState, Look, Measure, PathQ, Picked, Reading, Source, Write,
};
use hostward_core::id::{Str, UnitName};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::count::{CountAsk, Counter};
use super::entries::{self, Entry};
use super::pass::{Job, Pass, other_answer};
use super::tail;
use crate::http;
use crate::paths::{Ask, Heard, Said, seen};
use crate::systemd::Systemd;

/// A job's peer is often one program for all of them.
const HTTP_AT_ONCE: usize = 8;

/// Of those that wait, so many are told of before they run into what keeps them from working.
const NEXT: usize = 8;

/// What was found of one job.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) look: Option<Look>,
    /// One a source; none for a job that is not read.
    pub(super) progress: Vec<Found>,
}

/// What an answer is for.
#[derive(Clone, Debug)]
enum Slot {
    Look,
    /// A source, and the log that it reads.
    Source(usize, Option<(PathBuf, Str)>),
}

impl Pass<'_> {
    pub(super) async fn counts(&self, jobs: &[Job]) -> Vec<Counts> {
        let unasked = || Found::Unasked(Fault::Probe("it was not asked".into()));
        let sources = |job: &Job| if job.is_read() { vec![unasked(); self.q.progress.len()] } else { Vec::new() };
        let mut counts: Vec<Counts> = jobs.iter().map(|job| Counts { look: None, progress: sources(job) }).collect();
        let (files, pages, texts) = tokio::join!(self.files(jobs), self.pages(jobs), self.texts(jobs));
        for (n, slot, heard) in files {
            match slot {
                Slot::Look => counts[n].look = Some(seen(heard)).filter(|look| !is_to_come(&jobs[n], look)),
                Slot::Source(source, log) => counts[n].progress[source] = self.counted(log, heard),
            }
        }
        for (n, source, found) in pages.into_iter().chain(texts) {
            counts[n].progress[source] = found;
        }
        counts
    }

    /// Everything that lies in files: output folders, and counters.
    async fn files(&self, jobs: &[Job]) -> Vec<(usize, Slot, Heard)> {
        let (mut slots, mut asks, mut told) = (Vec::new(), Vec::new(), Vec::new());
        let mut next = 0;
        for (n, job) in jobs.iter().enumerate() {
            next += usize::from(job.state.waits());
            if let Some(look) = self.output(job).filter(|_| !job.state.waits() || next <= NEXT) {
                slots.push((n, Slot::Look));
                asks.push(Ask::Output(look));
            }
            for (source, q) in self.q.progress.iter().enumerate().filter(|_| job.is_read()) {
                match self.counter(&job.entry, q) {
                    None => {}
                    Some(Ok(counter)) => {
                        let log = match &counter {
                            Counter::Log { files, count, .. } => Some((files.clone(), count.clone())),
                            Counter::State { .. } | Counter::Bytes { .. } => None,
                        };
                        slots.push((n, Slot::Source(source, log)));
                        asks.push(Ask::Count(CountAsk::new(self.user(), counter)));
                    }
                    Some(Err(fault)) => told.push((n, Slot::Source(source, None), Heard::Unasked(fault))),
                }
            }
        }
        let heard = self.hear(asks).await;
        told.extend(slots.into_iter().zip(heard).map(|((n, slot), heard)| (n, slot, heard)));
        told
    }

    /// Nobody writes where nothing runs.
    fn output(&self, job: &Job) -> Option<PathQ> {
        let output = self.q.output.as_ref()?;
        let write = match job.state {
            JobState::Running => output.write,
            JobState::Pending | JobState::Retryable => output.write.min(Write::Access),
            JobState::Failed | JobState::Done => Write::Never,
        };
        let path = job.entry.output.clone()?;
        Some(PathQ { path, bind: None, user: output.user.clone(), write })
    }

    /// None: it is not read from files.
    fn counter(&self, entry: &Entry, source: &Source) -> Option<Result<Counter, Fault>> {
        let counter = match source {
            Source::Log { files, count } => entry.file(files).map(|files| {
                let mark = self.jobs.marks.recall(&files, count);
                Counter::Log { files, count: count.clone(), mark }
            }),
            Source::State { file, pointer } => {
                entry.file(file).map(|file| Counter::State { file, pointer: pointer.clone() })
            }
            Source::Bytes { files } => entry.file(files).map(|files| Counter::Bytes { files }),
            Source::Http { .. } | Source::Status { .. } | Source::Provided | Source::Effort(_) => return None,
        };
        Some(counter)
    }

    /// What was found, and how far its log was read is kept.
    fn counted(&self, log: Option<(PathBuf, Str)>, heard: Heard) -> Found {
        match heard {
            Heard::Said(Said::Count(found, mark)) => {
                if let (Some((files, count)), Some(mark)) = (log, mark) {
                    self.jobs.marks.keep(&files, &count, mark);
                }
                found
            }
            Heard::Said(_) => Found::Unasked(other_answer()),
            Heard::Stuck { .. } => Found::Stuck,
            Heard::Unasked(fault) => Found::Unasked(fault),
        }
    }

    async fn pages(&self, jobs: &[Job]) -> Vec<(usize, usize, Found)> {
        let places = Arc::new(Semaphore::new(HTTP_AT_ONCE));
        let mut asked = JoinSet::new();
        let mut found = Vec::new();
        for (n, source, job, q) in self.sources(jobs) {
            let Source::Http { url, pointer } = q else { continue };
            let url = match job.entry.fill_url(url) {
                Ok(url) => url,
                Err(fault) => {
                    found.push((n, source, Found::Unasked(fault)));
                    continue;
                }
            };
            let (http, places, pointer) = (self.jobs.http.clone(), Arc::clone(&places), pointer.clone());
            let limits = self.limits;
            asked.spawn(async move {
                // Never closed; if it were, a request more would be the least harm.
                let Ok(_place) = tokio::time::timeout_at(limits.until, places.acquire()).await else {
                    return (n, source, Found::Unasked(Fault::Timeout));
                };
                let left = limits.until.saturating_duration_since(Instant::now());
                (n, source, page(&http, &url, pointer, limits.answer.min(left)).await)
            });
        }
        while let Some(done) = asked.join_next().await {
            found.extend(done);
        }
        found
    }

    /// What is known without a file or a peer: the provider's word, and systemd's.
    async fn texts(&self, jobs: &[Job]) -> Vec<(usize, usize, Found)> {
        let units = |of: fn(&Source) -> bool| {
            let sources = self.sources(jobs).filter(move |(.., q)| of(q));
            sources.filter_map(|(_, _, job, _)| Some(job.unit.as_ref()?.0.clone())).collect::<Vec<_>>()
        };
        let (statuses, cpu, io) = tokio::join!(
            self.each_unit(units(|q| matches!(q, Source::Status { .. })), status),
            self.each_unit(units(|q| matches!(q, Source::Effort(Effort::Cpu))), cpu),
            self.each_unit(units(|q| matches!(q, Source::Effort(Effort::Io))), io),
        );
        let told = self.sources(jobs).filter_map(|(n, source, job, q)| {
            let found = match q {
                Source::Provided => provided(&job.entry),
                Source::Status { count } => of_unit(job, &statuses, |unit, text| stated(unit, count, text)),
                Source::Effort(Effort::Cpu) => of_unit(job, &cpu, spent),
                Source::Effort(Effort::Io) => of_unit(job, &io, spent),
                Source::Log { .. } | Source::State { .. } | Source::Http { .. } | Source::Bytes { .. } => {
                    return None;
                }
            };
            Some((n, source, found))
        });
        told.collect()
    }

    /// Each source of each job that is read.
    fn sources<'a>(&'a self, jobs: &'a [Job]) -> impl Iterator<Item = (usize, usize, &'a Job, &'a Source)> {
        let read = jobs.iter().enumerate().filter(|(_, job)| job.is_read());
        read.flat_map(|(n, job)| self.q.progress.iter().enumerate().map(move |(source, q)| (n, source, job, q)))
    }
}

/// Who waits need not have a folder yet.
fn is_to_come(job: &Job, look: &Look) -> bool {
    job.state.waits() && look.is_absent()
}

fn provided(entry: &Entry) -> Found {
    let nothing = || Found::Nothing("the provider says no progress".into());
    entry.progress.map_or_else(nothing, |count| Found::Count(Measure { count, ..Measure::default() }))
}

fn of_unit<T>(
    job: &Job,
    told: &BTreeMap<UnitName, Result<T, Fault>>,
    found: impl Fn(&UnitName, &T) -> Found,
) -> Found {
    let Some((unit, _)) = &job.unit else { return Found::Nothing("it has no unit of its own".into()) };
    match told.get(unit) {
        Some(Ok(said)) => found(unit, said),
        Some(Err(fault)) => Found::Unasked(fault.clone()),
        None => Found::Unasked(Fault::Timeout),
    }
}

#[expect(clippy::ref_option, reason = "what `of_unit` hands on")]
fn spent(unit: &UnitName, effort: &Option<u64>) -> Found {
    effort.map_or_else(|| Found::Nothing(format!("systemd does not account for it: {unit}").into()), Found::Effort)
}

fn stated(unit: &UnitName, count: &Str, text: &str) -> Found {
    match tail::pattern(count) {
        Err(e) => Found::Unasked(Fault::Config(format!("pattern '{count}': {e}").into())),
        Ok(pattern) => tail::last_number(&pattern, text.as_bytes()).map_or_else(
            || Found::Nothing(format!("the status of {unit} does not match").into()),
            |count| Found::Count(Measure { count, ..Measure::default() }),
        ),
    }
}

async fn status(systemd: Systemd, unit: UnitName) -> Result<String, Fault> {
    systemd.status_text(&unit).await
}

async fn cpu(systemd: Systemd, unit: UnitName) -> Result<Option<u64>, Fault> {
    const NS_PER_MS: u64 = 1_000_000;
    Ok(systemd.accounted(&unit, "CPUUsageNSec").await?.map(|spent| spent / NS_PER_MS))
}

async fn io(systemd: Systemd, unit: UnitName) -> Result<Option<u64>, Fault> {
    let read = systemd.accounted(&unit, "IOReadBytes").await?;
    let written = systemd.accounted(&unit, "IOWriteBytes").await?;
    Ok(read.zip(written).map(|(read, written)| read.saturating_add(written)))
}

async fn page(http: &http::Client, url: &str, pointer: Str, deadline: std::time::Duration) -> Found {
    let reading = match http.probe(&HttpQ::get(url, vec![pointer.clone()]), deadline).await {
        Ok(Reading::Http(reading)) => reading,
        Ok(_) => return Found::Unasked(other_answer()),
        Err(fault) => return Found::Unasked(fault),
    };
    let nothing = |why: String| Found::Nothing(why.into());
    let answer = match reading {
        HttpReading::Answered(answer) => answer,
        // Who counts may be another than who works: its silence is not the job's.
        HttpReading::Silent(why) | HttpReading::Unresolved(why) | HttpReading::Untrusted(why) => {
            return Found::Unasked(Fault::Probe(why));
        }
        HttpReading::TimedOut(_) => return Found::Unasked(Fault::Timeout),
    };
    if answer.status >= 500 {
        return Found::Unasked(Fault::Probe(format!("it answers {}", answer.status).into()));
    }
    if !(200..300).contains(&answer.status) {
        return nothing(format!("it answers {}", answer.status));
    }
    let picked = answer.picked.first().and_then(|values| values.first());
    let number = match picked {
        Some(Picked::Number(text)) => serde_json::from_str(text).ok(),
        _ => None,
    };
    match number.as_ref().and_then(entries::count) {
        Some(count) => Found::Count(Measure { count, ..Measure::default() }),
        None => nothing(format!("there is no count at {pointer}")),
    }
}

impl Entry {
    /// What is filled in is a part of the URL, whatever it is made of.
    fn fill_url(&self, url: &str) -> Result<String, Fault> {
        let output = self.output.as_ref().map(|output| encoded(&output.display().to_string()).into());
        let (id, group) = (encoded(&self.id).into(), self.group.as_deref().map(|group| encoded(group).into()));
        Entry { id, group, output, ..Entry::default() }.fill(url)
    }
}

/// RFC 3986, 2.1: all but what is never special.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_into_a_url_stays_one_part_of_it() {
        let entry = Entry { id: "a?b#c%d é".into(), output: Some("/srv/x y".into()), ..Entry::default() };
        let url = entry.fill_url("http://[::1]:80/jobs/{id}?at={output}").unwrap();
        assert_eq!(url, "http://[::1]:80/jobs/a%3Fb%23c%25d%20%C3%A9?at=%2Fsrv%2Fx%20y");
        assert!(matches!(entry.fill_url("http://h/{group}"), Err(Fault::Config(_))));
    }
}
