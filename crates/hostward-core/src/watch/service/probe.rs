//! What a service is asked beside its unit's state, and what the answers say.
//!
//! A probe speaks of the service itself, and may speak of parts: its certificate, its name, its headers, the components
//! of a deep health body. A part has a condition of its own, which starts no ladder: restarting an API because its
//! provider is down would make one outage two. What we asked wrongly is unknown, never down.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::component::Components;
use crate::ask::{
    Active, Answer, ExecQ, ExecReading, Fault, HttpAnswer, HttpQ, HttpReading, Load, Pace, Probe, Question, Reading,
    TcpQ, TcpReading, TlsReading, UnitReading, Where,
};
use crate::expect::{self, Test};
use crate::id::{Str, UnitName};
use crate::judge::{Code, Reason, Seen};
use crate::time::{Ms, Now};

/// `[[service.NAME.probe.http]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpProbe {
    pub question: HttpQ,
    /// Default 10 s.
    pub every: Ms,
    /// Default 2 s.
    pub timeout: Ms,
    /// `expect.status`, default 200.
    pub status: Statuses,
    /// `expect.json`, one for each of the question's picks, in its order.
    pub json: Vec<Test>,
    /// `expect.header`, one for each header that the question has shown.
    #[serde(default)]
    pub headers: Vec<Test>,
    /// `expect.tls_days`: a certificate that ends sooner is told of. Default 14.
    #[serde(default = "tls_days")]
    pub tls_days: u32,
    #[serde(default)]
    pub components: Option<Components>,
}

impl HttpProbe {
    /// With every default.
    pub fn new(question: HttpQ) -> Self {
        HttpProbe {
            question,
            every: Ms::secs(10),
            timeout: Ms::secs(2),
            status: Statuses::one(200),
            json: Vec::new(),
            headers: Vec::new(),
            tls_days: tls_days(),
            components: None,
        }
    }
}

/// A renewal is due 30 days before the end; two weeks later it has failed.
pub const fn tls_days() -> u32 {
    14
}

/// `[[service.NAME.probe.tcp]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpProbe {
    pub question: TcpQ,
    /// Default 10 s.
    pub every: Ms,
    /// Default 2 s.
    pub timeout: Ms,
}

/// `[[service.NAME.probe.exec]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecProbe {
    pub question: ExecQ,
    /// Default 30 s: a process costs more than a connection.
    pub every: Ms,
    /// Exit statuses that mean "down". Default 1.
    #[serde(default = "down_statuses")]
    pub down: Vec<i32>,
    #[serde(default)]
    pub on_timeout: OnTimeout,
}

/// What a command that was written for it says.
pub fn down_statuses() -> Vec<i32> {
    vec![1]
}

/// What it means that a command had to be killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// The command may hang for reasons of its own.
    #[default]
    Unknown,
    /// It is known to hang when, and only when, the service does.
    Down,
}

/// `[[service.NAME.probe.unit]]`: another unit that must run, where the service's own is a front for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitProbe {
    pub unit: UnitName,
    /// Default 60 s; signals come at once.
    pub every: Ms,
}

/// The statuses that are well: spans, both ends included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredStatuses")]
pub struct Statuses(pub Vec<(u16, u16)>);

/// One number, as it was stored when there could be but one.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredStatuses {
    One(u16),
    Spans(Vec<(u16, u16)>),
}

impl From<StoredStatuses> for Statuses {
    fn from(stored: StoredStatuses) -> Self {
        match stored {
            StoredStatuses::One(status) => Statuses::one(status),
            StoredStatuses::Spans(spans) => Statuses(spans),
        }
    }
}

impl Statuses {
    pub fn one(status: u16) -> Self {
        Statuses(vec![(status, status)])
    }

    fn has(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl std::fmt::Display for Statuses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, (first, last)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first} to {last}")? }
        }
        Ok(())
    }
}

/// One declared probe of a service.
#[derive(Clone, Copy, Debug)]
pub(super) enum Declared<'a> {
    Http(&'a HttpProbe),
    Tcp(&'a TcpProbe),
    Exec(&'a ExecProbe),
    Unit(&'a UnitProbe),
}

/// What one answer says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Judged {
    /// Of the service. None: nothing.
    pub(super) service: Option<Seen>,
    /// Of its parts, by name.
    pub(super) parts: Vec<(Str, Seen)>,
    /// These are all the parts there are: whichever was known before and is not among them is gone.
    pub(super) complete: bool,
    /// What the answer looks like, for people; none: there was none.
    pub(super) excerpt: Option<Str>,
    /// No answer came in this time.
    pub(super) waited: Option<Ms>,
}

impl Declared<'_> {
    pub(super) fn probe(self) -> Probe {
        let question = match self {
            Declared::Http(http) => Question::Http(http.question.clone()),
            Declared::Tcp(tcp) => Question::Tcp(tcp.question.clone()),
            Declared::Exec(exec) => Question::Exec(exec.question.clone()),
            Declared::Unit(unit) => Question::Unit(unit.unit.clone()),
        };
        Probe { question: Arc::new(question), pace: self.pace(), deadline: self.deadline() }
    }

    pub(super) fn pace(self) -> Pace {
        let every = match self {
            Declared::Http(http) => http.every,
            Declared::Tcp(tcp) => tcp.every,
            Declared::Exec(exec) => exec.every,
            Declared::Unit(unit) => unit.every,
        };
        Pace { every, confirm_every: every.min(Ms::secs(5)) }
    }

    pub(super) fn deadline(self) -> Ms {
        match self {
            Declared::Http(http) => http.timeout,
            Declared::Tcp(tcp) => tcp.timeout,
            Declared::Exec(exec) => exec.question.timeout,
            Declared::Unit(_) => Ms::secs(5),
        }
    }

    /// That it is up shows that the service itself does its work.
    pub(super) fn shows_service(self) -> bool {
        !matches!(self, Declared::Unit(_))
    }

    pub(super) fn judge(self, asked: Now, answer: &Answer) -> Judged {
        match (self, answer) {
            (_, Err(fault)) => Judged { service: Some(Seen::Unknown(fault.clone())), ..Judged::default() },
            (Declared::Http(probe), Ok(Reading::Http(reading))) => probe.judge(asked, reading),
            (Declared::Tcp(probe), Ok(Reading::Tcp(reading))) => probe.judge(reading),
            (Declared::Exec(probe), Ok(Reading::Exec(reading))) => probe.judge(reading),
            (Declared::Unit(probe), Ok(Reading::Unit(reading))) => {
                Judged { service: judge_unit(&probe.unit, reading), ..Judged::default() }
            }
            (_, Ok(_)) => {
                let fault = Fault::Probe("another question's answer".into());
                Judged { service: Some(Seen::Unknown(fault)), ..Judged::default() }
            }
        }
    }
}

impl HttpProbe {
    fn judge(&self, asked: Now, reading: &HttpReading) -> Judged {
        let url = &self.question.url;
        let mut judged = Judged::default();
        judged.service = Some(match reading {
            HttpReading::Answered(answer) => {
                judged.excerpt = Some(answer.excerpt.clone());
                self.service(answer)
            }
            HttpReading::Silent(why) => down(Code::ProbeSilent, format!("{url}: {why}")),
            HttpReading::TimedOut(after) => {
                judged.waited = Some(*after);
                down(Code::ProbeSilent, format!("{url}: no answer in {after}"))
            }
            HttpReading::Unresolved(why) => Seen::Unknown(Fault::Probe(why.clone())),
            HttpReading::Untrusted(why) => {
                let why = format!("nothing was sent to {url}, for its certificate is not trusted: {why}");
                Seen::Unknown(Fault::Probe(why.into()))
            }
        });
        if self.question.unix.is_none() {
            judged.parts.extend(name_part(host(self.question.authority()), reading_of_name(reading)));
        }
        judged.parts.extend(self.certificate(asked, reading));
        if let HttpReading::Answered(answer) = reading {
            judged.parts.extend(self.header(answer));
            if let Some(components) = &self.components {
                judged.parts.extend(components.read(answer));
                judged.complete = !answer.components.is_empty();
            } else {
                judged.complete = true;
            }
        }
        judged
    }

    fn service(&self, answer: &HttpAnswer) -> Seen {
        let url = &self.question.url;
        if !self.status.has(answer.status) {
            return down(Code::ProbeStatus, format!("{url} answers {}, expected {}", answer.status, self.status));
        }
        let missing = self.question.texts.iter().zip(&answer.texts).find(|(_, found)| !**found);
        let unreadable = !answer.json && (!self.json.is_empty() || self.components.is_some());
        if answer.cut && (missing.is_some() || unreadable) {
            // What was not read is not known to be missing.
            let why = format!("the body of {url} is longer than is read of it: raise `body_max`");
            return Seen::Unknown(Fault::Config(why.into()));
        }
        if let Some((text, _)) = missing {
            return down(Code::ProbeBody, format!("{url} does not say {text:?}: {}", answer.excerpt));
        }
        if !self.json.is_empty() && !answer.json {
            return down(Code::ProbeBody, format!("{url} answers no JSON: {}", answer.excerpt));
        }
        if !answer.json && self.components.as_ref().is_some_and(|components| !components.restart_on.is_empty()) {
            let detail = format!("{url} answers no JSON, in which `restart_on` is to be read: {}", answer.excerpt);
            return down(Code::ProbeBody, detail);
        }
        let none = Vec::new();
        let unmet = self.question.picks.iter().zip(&self.json).enumerate().find_map(|(n, (pointer, test))| {
            let detail = expect::unmet(pointer, test, answer.picked.get(n).unwrap_or(&none))?;
            Some(Reason::new(Code::ProbeBody, detail))
        });
        let reason = unmet.or_else(|| self.components.as_ref()?.restart(answer));
        reason.map_or(Seen::Up, Seen::Down)
    }

    fn certificate(&self, asked: Now, reading: &HttpReading) -> Option<(Str, Seen)> {
        if !self.question.is_tls() {
            return None;
        }
        let seen = match reading {
            HttpReading::Answered(HttpAnswer { tls: Some(tls), .. }) => self.judge_certificate(asked, tls),
            HttpReading::Untrusted(why) => down(Code::CertificateUntrusted, why.clone()),
            _ => unread("no certificate was shown"),
        };
        Some((format!("certificate/{}", self.question.authority()).into(), seen))
    }

    fn judge_certificate(&self, asked: Now, tls: &TlsReading) -> Seen {
        if let Some(why) = &tls.distrust {
            return down(Code::CertificateUntrusted, why.clone());
        }
        let Some(not_after) = tls.not_after else { return unread("its end cannot be read") };
        let left = not_after.saturating_sub(asked.wall);
        if left < Ms::days(u64::from(self.tls_days)) {
            let detail = format!("the certificate ends in {left}, expected {} days", self.tls_days);
            return down(Code::CertificateExpiring, detail);
        }
        Seen::Up
    }

    fn header(&self, answer: &HttpAnswer) -> Option<(Str, Seen)> {
        if self.headers.is_empty() {
            return None;
        }
        let unmet = self.question.shown.iter().zip(&self.headers).enumerate().find_map(|(n, (name, test))| {
            let shown = answer.shown.get(n).cloned().flatten().map(crate::ask::Picked::Text);
            expect::unmet(name, test, shown.as_slice())
        });
        let seen = unmet.map_or(Seen::Up, |detail| down(Code::ProbeHeader, detail));
        Some((format!("headers/{}", self.question.authority()).into(), seen))
    }
}

impl TcpProbe {
    fn judge(&self, reading: &TcpReading) -> Judged {
        let at = &self.question.at;
        let mut judged = Judged { complete: true, ..Judged::default() };
        judged.service = Some(match reading {
            TcpReading::Accepted { found, excerpt } => {
                judged.excerpt = Some(excerpt.clone()).filter(|excerpt| !excerpt.is_empty());
                let expected = self.question.expect.as_deref().unwrap_or_default();
                let unmet = || down(Code::ProbeBody, format!("{at} says {excerpt:?}, expected {expected:?}"));
                if *found { Seen::Up } else { unmet() }
            }
            TcpReading::Silent(why) => down(Code::ProbeSilent, format!("{at}: {why}")),
            TcpReading::TimedOut(after) => {
                judged.waited = Some(*after);
                down(Code::ProbeSilent, format!("{at}: no answer in {after}"))
            }
            TcpReading::Unresolved(why) => Seen::Unknown(Fault::Probe(why.clone())),
        });
        if let Where::Tcp { host, .. } = at {
            let unresolved = match reading {
                TcpReading::Unresolved(why) => Some(why),
                _ => None,
            };
            judged.parts.extend(name_part(host, unresolved));
        }
        judged
    }
}

impl ExecProbe {
    fn judge(&self, reading: &ExecReading) -> Judged {
        let program = self.question.run.first().map_or("", |program| program);
        let unknown = |why: String| Seen::Unknown(Fault::Probe(why.into()));
        let (service, excerpt) = match reading {
            ExecReading::Exited { code: 0, excerpt } => (Seen::Up, excerpt),
            ExecReading::Exited { code, excerpt } if self.down.contains(code) => {
                let said = if excerpt.is_empty() { format!("exit status {code}") } else { excerpt.to_string() };
                (down(Code::ProbeExec, format!("{program}: {said}")), excerpt)
            }
            // A shell's and our own word for what cannot be executed.
            ExecReading::Exited { code: 126 | 127, excerpt } => {
                (Seen::Unknown(Fault::Config(format!("{program}: {excerpt}").into())), excerpt)
            }
            ExecReading::Exited { code, excerpt } => {
                (unknown(format!("{program} says neither yes nor no: exit status {code}: {excerpt}")), excerpt)
            }
            ExecReading::Killed { signal, excerpt } => {
                (unknown(format!("{program} was killed by signal {signal}: {excerpt}")), excerpt)
            }
            ExecReading::TimedOut { after, excerpt } => match self.on_timeout {
                OnTimeout::Down => (down(Code::ProbeExec, format!("{program} did not end in {after}")), excerpt),
                OnTimeout::Unknown => (unknown(format!("{program} did not end in {after}")), excerpt),
            },
        };
        let waited = match reading {
            ExecReading::TimedOut { after, .. } => Some(*after),
            _ => None,
        };
        Judged { service: Some(service), excerpt: Some(excerpt.clone()), waited, ..Judged::default() }
    }
}

/// Another unit's state. That it does not exist or may not start is no failure of it.
fn judge_unit(name: &UnitName, unit: &UnitReading) -> Option<Seen> {
    let config = |what: &str| Some(Seen::Unknown(Fault::Config(format!("{name} {what}").into())));
    match unit.load {
        Load::NotFound => return config("does not exist"),
        Load::Masked => return config("is masked"),
        Load::Bad => return config("has a unit file that systemd refuses"),
        Load::Loaded => {}
    }
    match unit.active {
        _ if unit.job.is_some() => None,
        Active::Active | Active::Reloading => Some(Seen::Up),
        Active::Failed => Some(down(Code::ProbeUnit, format!("{name} has failed ({})", super::ended(unit)))),
        Active::Inactive => Some(down(Code::ProbeUnit, format!("{name} is not running ({})", super::ended(unit)))),
        Active::Activating | Active::Deactivating => None,
    }
}

/// A name that is asked for has an address, or it has not: the peer has no part in it.
fn name_part(host: &str, unresolved: Option<&Str>) -> Option<(Str, Seen)> {
    if host.parse::<core::net::IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost") {
        return None;
    }
    let seen = unresolved.map_or(Seen::Up, |why| down(Code::NameUnresolved, why.clone()));
    Some((format!("name/{host}").into(), seen))
}

fn reading_of_name(reading: &HttpReading) -> Option<&Str> {
    match reading {
        HttpReading::Unresolved(why) => Some(why),
        _ => None,
    }
}

/// `[::1]:80` to `::1`, `example.org:8000` to `example.org`.
fn host(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or(bracketed),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

fn down(code: Code, detail: impl Into<Str>) -> Seen {
    Seen::Down(Reason::new(code, detail))
}

pub(super) fn unread(why: &str) -> Seen {
    Seen::Unknown(Fault::Unreadable(why.into()))
}

#[cfg(test)]
mod tests;
