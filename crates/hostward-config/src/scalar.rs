//! Values written as text: spans of time, rates, paths, units, addresses. Pure: text in, value or complaint out.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use hostward_core::id::{Str, UnitName};
use hostward_core::policy::{Budget, Mode};
use hostward_core::time::Ms;

use crate::finding::{Finding, did_you_mean, shown};
use crate::spans::{budget, duration, period};

/// How one kind of value is read.
#[derive(Debug)]
pub(crate) struct Scalar<T> {
    /// Completes "must be ...".
    pub(crate) expected: &'static str,
    /// Completes "for example key = ...".
    pub(crate) example: &'static str,
    pub(crate) parse: fn(&str) -> Result<T, Complaint>,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    pub(crate) help: String,
}

impl Complaint {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Complaint { message: message.into(), help: help.into() }
    }
}

impl From<Complaint> for Finding {
    fn from(complaint: Complaint) -> Finding {
        Finding::error(complaint.message).help(complaint.help)
    }
}

/// A span of time; may be zero.
pub(crate) const SPAN: Scalar<Ms> =
    Scalar { expected: "a span of time", example: "\"90s\"", parse: |text| duration(text) };
/// A pace or a deadline: zero would mean "without pause" or "never in time".
pub(crate) const PERIOD: Scalar<Ms> =
    Scalar { expected: "a span of time", example: "\"90s\"", parse: |text| period(text) };
pub(crate) const SPAN_OR_FOREVER: Scalar<Ms> = Scalar {
    expected: "a span of time or \"forever\"",
    example: "\"30min\"",
    parse: |text| if text == "forever" { Ok(Ms::MAX) } else { duration(text) },
};
pub(crate) const BUDGET: Scalar<Budget> =
    Scalar { expected: "a rate", example: "\"12 per 1h\"", parse: |text| budget(text) };
pub(crate) const MODE: Scalar<Mode> = Scalar { expected: "a mode", example: "\"observe\"", parse: |text| mode(text) };
pub(crate) const PATH: Scalar<PathBuf> =
    Scalar { expected: "an absolute path", example: "\"/opt/example/.venv\"", parse: |text| path(text) };
pub(crate) const SENTINEL: Scalar<PathBuf> =
    Scalar { expected: "an absolute path", example: "\"/etc/hostward/enabled\"", parse: |text| sentinel(text) };
pub(crate) const TEXTFILE: Scalar<PathBuf> = Scalar {
    expected: "an absolute path",
    example: "\"/var/lib/prometheus/node-exporter/hostward.prom\"",
    parse: |text| textfile(text),
};
pub(crate) const UNIT: Scalar<UnitName> =
    Scalar { expected: "a unit's name", example: "\"example-api.service\"", parse: |text| unit(text) };
pub(crate) const ADDRESS: Scalar<SocketAddr> =
    Scalar { expected: "an address with a port", example: "\"127.0.0.1:9469\"", parse: |text| address(text) };
pub(crate) const URL: Scalar<Str> =
    Scalar { expected: "a URL", example: "\"http://127.0.0.1:8001/api/health\"", parse: |text| url(text) };
pub(crate) const SOCKET: Scalar<PathBuf> =
    Scalar { expected: "a socket's path", example: "\"/run/example.sock\"", parse: |text| socket(text) };
pub(crate) const USER: Scalar<Str> =
    Scalar { expected: "a user's name", example: "\"deploy\"", parse: |text| user(text) };
/// Names are looked up later: only their shape is checked here.
pub(crate) const NAME: Scalar<Str> =
    Scalar { expected: "a name", example: "\"example\"", parse: |text| name(text).map(|()| text.into()) };
pub(crate) const WATCH: Scalar<Str> =
    Scalar { expected: "a watch's name", example: "\"service.api\"", parse: |text| Ok(text.into()) };
pub(crate) const REACH: Scalar<Str> =
    Scalar { expected: "what to reach", example: "\"tcp:pypi.org:443\"", parse: |text| reach(text) };
pub(crate) const SIZE: Scalar<u64> = Scalar { expected: "a size", example: "\"16MiB\"", parse: |text| size(text) };
pub(crate) const TEXT: Scalar<Str> = Scalar { expected: "text", example: "\"..\"", parse: |text| argument(text) };
pub(crate) const REQUIREMENT: Scalar<Str> =
    Scalar { expected: "a requirement", example: "\"fastapi>=0.115\"", parse: |text| requirement(text) };
pub(crate) const COMPAT: Scalar<Str> =
    Scalar { expected: "a family's name", example: "\"example_drift_auto_reconcile\"", parse: |text| compat(text) };

/// The text up to where `part` ends, and the rest.
pub(crate) fn split(text: &str, part: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !part(c)).unwrap_or(text.len()))
}

fn mode(text: &str) -> Result<Mode, Complaint> {
    choice("mode", text, &[("observe", Mode::Observe), ("propose", Mode::Propose), ("act", Mode::Act)])
}

/// One word out of a few.
pub(crate) fn choice<T: Copy>(what: &str, text: &str, known: &[(&str, T)]) -> Result<T, Complaint> {
    if let Some((_, value)) = known.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
    let help =
        did_you_mean(text, words.iter().copied()).unwrap_or_else(|| format!("known are: {}", words.join(", ")));
    Err(Complaint::new(format!("{} is no {what}", shown(text)), help))
}

/// PATH_MAX (limits.h), its final NUL included.
const PATH_LIMIT: usize = 4096;

pub(crate) fn path(text: &str) -> Result<PathBuf, Complaint> {
    let path = Path::new(text);
    if !path.is_absolute() {
        let help = format!("write the whole path, beginning with /: /.../{}", text.trim_start_matches("./"));
        return Err(Complaint::new(format!("{} is not an absolute path", shown(text)), help));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(Complaint::new(format!("{} contains ..", shown(text)), "write the path without .."));
    }
    if text.len() >= PATH_LIMIT || text.contains(char::is_control) {
        let message = format!("{} cannot be a path", shown(text));
        return Err(Complaint::new(message, "a path is shorter than 4096 bytes and has no control characters"));
    }
    // Without doubled or trailing slashes, so that the same file is the same path.
    Ok(path.components().collect())
}

pub(crate) const WORLD_WRITABLE: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

fn sentinel(text: &str) -> Result<PathBuf, Complaint> {
    let path = path(text)?;
    match WORLD_WRITABLE.iter().find(|dir| path.starts_with(dir)) {
        Some(dir) => {
            let help = "anybody could create it there; keep it in /etc";
            Err(Complaint::new(format!("a sentinel in {dir}"), help))
        }
        None => Ok(path),
    }
}

fn textfile(text: &str) -> Result<PathBuf, Complaint> {
    let path = path(text)?;
    if path.extension().is_none_or(|ext| ext != "prom") {
        let help = "node_exporter reads only files whose names end in .prom";
        return Err(Complaint::new(format!("{} does not end in .prom", shown(text)), help));
    }
    if let Some(dir) = WORLD_WRITABLE.iter().find(|dir| path.starts_with(dir)) {
        let help = "write it into node_exporter's textfile directory";
        return Err(Complaint::new(format!("a textfile in {dir}"), help));
    }
    Ok(path)
}

/// systemd.unit(5): the types of units, without the scope, which only programs create.
const UNIT_TYPES: [&str; 10] =
    ["service", "socket", "target", "timer", "mount", "automount", "path", "slice", "swap", "device"];
/// UNIT_NAME_MAX (systemd's unit-name.h), its final NUL not included.
const UNIT_LIMIT: usize = 255;

fn unit(text: &str) -> Result<UnitName, Complaint> {
    let no = |help: String| Err(Complaint::new(format!("{} is not a unit's name", shown(text)), help));
    let (stem, suffix) = match text.rsplit_once('.') {
        Some((stem, suffix)) if UNIT_TYPES.contains(&suffix) => (stem, suffix),
        _ => {
            let typo = text.rsplit_once('.').and_then(|(stem, suffix)| {
                let near = UNIT_TYPES.iter().find(|known| strsim::damerau_levenshtein(known, suffix) <= 2)?;
                Some(format!("{stem}.{near}"))
            });
            return no(format!("did you mean {}?", shown(&typo.unwrap_or_else(|| format!("{text}.service")))));
        }
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if let Some(c) = text.chars().find(|c| !allowed(*c)) {
        let mut c = [c; 1].iter().collect::<String>();
        if "*?[]".contains(&c) {
            c.push_str("; name each unit in a watch of its own");
        }
        return no(format!("it may contain letters, digits and :-_.\\@, but not {c}"));
    }
    if text.len() > UNIT_LIMIT {
        return no(format!("it is longer than {UNIT_LIMIT} characters"));
    }
    if stem.is_empty() || stem.starts_with('@') {
        return no(format!("it has nothing before .{suffix}"));
    }
    if stem.ends_with('@') {
        return no(format!("it is a template: name an instance, {stem}INSTANCE.{suffix}"));
    }
    Ok(UnitName::new(text))
}

fn address(text: &str) -> Result<SocketAddr, Complaint> {
    let no = |help: &str| Complaint::new(format!("{} is not an address with a port", shown(text)), help);
    let address: SocketAddr = text.parse().map_err(|_| no("write it as 127.0.0.1:9469 or [::1]:9469"))?;
    if address.port() == 0 {
        return Err(no("port 0 would be another one after each start"));
    }
    Ok(address)
}

const URL_LIMIT: usize = 2048;

/// Words that name a secret in a query.
const SECRET_KEYS: [&str; 6] = ["token", "secret", "passw", "api_key", "apikey", "access_key"];

/// `http://host[:port][/path]`, or https
fn url(text: &str) -> Result<Str, Complaint> {
    let no = |help: &str| Err(Complaint::new(format!("{} cannot be probed", shown(text)), help));
    if text.len() > URL_LIMIT || text.contains(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
        return no("a URL is ASCII without spaces, of at most 2048 characters");
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return no("write it as http://127.0.0.1:8001/path");
    };
    if !matches!(scheme, "http" | "https") {
        return no("only http:// and https:// can be probed; [[service.NAME.probe.tcp]] asks anything else");
    }
    let query = rest.split_once('?').map_or("", |(_, query)| query).to_ascii_lowercase();
    let keys = query.split('&').filter_map(|pair| pair.split('=').next());
    if keys.into_iter().any(|key| SECRET_KEYS.iter().any(|secret| key.contains(secret))) {
        let help = "send it in a header: headers = { authorization = { credential = \"NAME\" } }";
        return Err(Complaint::new("a secret does not belong into the configuration", help));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return no("user and password do not belong into the configuration; probe a path that needs none");
    }
    // The colons of an IPv6 address stand in brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || host == "[]" || (!bracketed && host.contains([':', '[', ']'])) {
        return no("it names no host; write it as http://127.0.0.1:8001/path");
    }
    if port.is_some_and(|port| port.parse::<u16>().is_err() || port == "0") {
        return no("the port is a number from 1 to 65535");
    }
    Ok(text.into())
}

/// `sun_path`, its final NUL not included: unix(7).
const SOCKET_LIMIT: usize = 107;

fn socket(text: &str) -> Result<PathBuf, Complaint> {
    let path = path(text)?;
    if path.as_os_str().len() > SOCKET_LIMIT {
        let help = "a socket's path has at most 107 bytes";
        return Err(Complaint::new(format!("{} is too long", shown(text)), help));
    }
    Ok(path)
}

fn size(text: &str) -> Result<u64, Complaint> {
    let (number, unit) = split(text.trim(), |c| c.is_ascii_digit());
    let shift = match unit.trim() {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(Complaint::new(format!("{} is not a size", shown(text)), "write it as 512KiB, 16MiB, 1GiB")),
    };
    let size = number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).filter(|n| *n <= 1 << 40);
    size.ok_or_else(|| Complaint::new(format!("{} is out of range", shown(text)), "at most 1024GiB"))
}

fn reach(text: &str) -> Result<Str, Complaint> {
    let help = "write tcp:HOST:PORT, as in tcp:pypi.org:443";
    let host_port = text.strip_prefix("tcp:").and_then(|rest| rest.rsplit_once(':'));
    let named = |host: &str| !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
    match host_port {
        Some((host, port)) if named(host) && port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(text.into()),
        _ => Err(Complaint::new(format!("{} cannot be reached", shown(text)), help)),
    }
}

fn user(text: &str) -> Result<Str, Complaint> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if text.is_empty() || text.len() > 31 || text.starts_with(['-', '.']) || !text.chars().all(allowed) {
        let help = "a name of at most 31 letters, digits and _-.";
        return Err(Complaint::new(format!("{} is not a user's name", shown(text)), help));
    }
    Ok(text.into())
}

/// `NAME` in `[service.NAME]`: it becomes part of a unit's name and of a metric's label.
pub(crate) fn name(text: &str) -> Result<(), Complaint> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || text.len() > 64 || !text.chars().all(allowed) {
        let help = "begin with a letter or digit; at most 64 letters, digits, - and _";
        return Err(Complaint::new(format!("{} cannot be a name here", shown(text)), help));
    }
    Ok(())
}

fn argument(text: &str) -> Result<Str, Complaint> {
    if text.contains('\0') || text.len() > 64 * 1024 {
        return Err(Complaint::new("this cannot be passed to a command", "no NUL characters; at most 64 KiB"));
    }
    Ok(text.into())
}

/// The outline of PEP 508: what is wrong in its details shows when the environment is read.
fn requirement(text: &str) -> Result<Str, Complaint> {
    let (name, rest) = split(text.trim(), |c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let edge = |c: char| c.is_ascii_alphanumeric();
    let named = name.starts_with(edge) && name.ends_with(edge);
    if !named || !(rest.is_empty() || rest.trim_start().starts_with(['[', '(', '<', '>', '=', '!', '~', ';', '@'])) {
        let help = "write it as pip does: fastapi, fastapi>=0.115, uvicorn[standard]==0.30.1";
        return Err(Complaint::new(format!("{} is not a requirement", shown(text)), help));
    }
    Ok(text.trim().into())
}

/// The families of an existing fleet that a watch can fill: storage's own, those of jobs, and any other watch's.
pub(crate) const COMPAT_STORAGE: &str = "_storage_hotpath_auto_recover";
pub(crate) const COMPAT_DRIFT: &str = "_drift_auto_reconcile";
pub(crate) const COMPAT_JOBS: &str = "_crawl_auto_recover";

fn compat(text: &str) -> Result<Str, Complaint> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') || !text.chars().all(allowed) {
        let help = "letters, digits and _, as in example_drift_auto_reconcile";
        return Err(Complaint::new(format!("{} cannot begin a metric's name", shown(text)), help));
    }
    match [COMPAT_DRIFT, COMPAT_STORAGE, COMPAT_JOBS].iter().find_map(|family| text.strip_suffix(family)) {
        Some("hostward") => Err(Complaint::new("`hostward_` is the prefix of our own metrics", "name your fleet's")),
        Some(fleet) if !fleet.is_empty() => Ok(text.into()),
        _ => {
            let fleet = text.trim_end_matches('_');
            let help = format!(
                "write {fleet}{COMPAT_DRIFT}, for storage {fleet}{COMPAT_STORAGE}, for jobs {fleet}{COMPAT_JOBS}"
            );
            Err(Complaint::new(format!("{} is no family that Hostward can fill", shown(text)), help))
        }
    }
}

/// systemd.exec(5): a credential's name is a file's name.
pub(crate) const CREDENTIAL: Scalar<Str> = Scalar {
    expected: "a credential's name",
    example: "\"api-token\"",
    parse: |text| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if text.is_empty() || text.starts_with('.') || text.len() > 255 || !text.chars().all(allowed) {
            let help = "as LoadCredential= in hostward.service names it: letters, digits and _.-";
            // Not as it was written: it may be the secret itself.
            return Err(Complaint::new("this is no credential's name", help));
        }
        Ok(text.into())
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for good in ["a.service", "postgresql@15-main.service", "dev-sda\\x2d1.device", "x.y.timer"] {
            assert_eq!(unit(good), Ok(UnitName::new(good)));
        }
        let long = format!("{}.service", "x".repeat(248));
        let bad = [
            ("example-api", "did you mean `example-api.service`?"),
            ("example-api.servce", "did you mean `example-api.service`?"),
            ("a b.service", "it may contain letters, digits and :-_.\\@, but not  "),
            (
                "a*.service",
                "it may contain letters, digits and :-_.\\@, but not *; name each unit in a watch of its own",
            ),
            (".service", "it has nothing before .service"),
            ("pg@.service", "it is a template: name an instance, pg@INSTANCE.service"),
            (long.as_str(), "it is longer than 255 characters"),
        ];
        for (text, want) in bad {
            assert_eq!(unit(text).map_err(|complaint| complaint.help), Err(want.to_owned()), "{text}");
        }
    }

    #[test]
    fn urls() {
        for good in [
            "http://127.0.0.1:8001/api/health",
            "https://[::1]:80/",
            "http://localhost",
            "http://[::1]/x?y=1&keyed=2",
        ] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "http://",
            "http://:80/",
            "http://a:b/",
            "http://a:0/",
            "http://::1/",
            "http://u:p@h/",
            "ftp://h/",
            "http://a b/",
            "https://h/?a=1&api_token=x",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
