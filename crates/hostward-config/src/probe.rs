//! `[[service.NAME.probe.http]]`, `.tcp`, `.exec`, `.unit`.

use std::path::PathBuf;

use hostward_core::ask::{ExecQ, Header, HttpQ, Method, Secret, TcpQ, Where, Worth};
use hostward_core::id::{Str, UnitName, WatchId};
use hostward_core::time::Ms;
use hostward_core::watch::service::{ExecProbe, HttpProbe, OnTimeout, TcpProbe, UnitProbe, down_statuses};
use toml::de::DeValue;

use crate::assertion;
use crate::component;
use crate::draft::Draft;
use crate::finding::{Finding, did_you_mean, shown};
use crate::reader::{Reader, Value};
use crate::scalar::{self, Complaint, Scalar, choice};

/// Each is a question every few seconds; all kinds together.
const PROBES_LIMIT: usize = 64;
/// More than this is no probe's request.
const HEADERS_LIMIT: usize = 32;
const BODY_MAX: std::ops::RangeInclusive<u64> = 1024..=1024 * 1024;

/// All probes of one service.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    pub(crate) http: Vec<HttpProbe>,
    pub(crate) tcp: Vec<TcpProbe>,
    pub(crate) exec: Vec<ExecProbe>,
    pub(crate) units: Vec<UnitProbe>,
}

pub(crate) fn read(table: &mut Reader<'_>, id: &WatchId, own: Option<&UnitName>, draft: &mut Draft) -> Probes {
    let Some(mut probe) = table.table("probe") else { return Probes::default() };
    let http = probe.tables("http", PROBES_LIMIT);
    let tcp = probe.tables("tcp", PROBES_LIMIT);
    let exec = probe.tables("exec", PROBES_LIMIT);
    let units = probe.tables("unit", PROBES_LIMIT);
    let count = http.len() + tcp.len() + exec.len() + units.len();
    if count > PROBES_LIMIT {
        let finding = Finding::error(format!("{count} probes are more than the limit of {PROBES_LIMIT}"));
        probe.push(probe.at(), finding.help("all kinds together; split the watch"));
    }
    probe.finish();
    Probes {
        http: http.into_iter().filter_map(|table| self::http(table, id, draft)).collect(),
        tcp: tcp.into_iter().filter_map(self::tcp).collect(),
        exec: exec.into_iter().filter_map(self::exec).collect(),
        units: units.into_iter().filter_map(|table| unit(table, own)).collect(),
    }
}

/// `every` and `timeout`: a question that outlives its pace would be asked later than it says.
fn pace(table: &mut Reader<'_>, every: Ms, timeout: Ms) -> (Ms, Ms) {
    let every = table.or("every", &scalar::PERIOD, every);
    let said = table.get("timeout", &scalar::PERIOD);
    if let Some(said) = said.as_ref().filter(|said| said.value > every) {
        let finding = Finding::error(format!("the timeout ({}) is longer than `every` ({every})", said.value));
        table.push(
            &said.at,
            finding.help("a probe is asked again when its time is over: shorten it, or raise `every`"),
        );
    }
    (every, said.map_or(timeout.min(every), |said| said.value))
}

fn http(mut table: Reader<'_>, id: &WatchId, draft: &mut Draft) -> Option<HttpProbe> {
    let url = table.need("url", &scalar::URL);
    let (every, timeout) = pace(&mut table, Ms::secs(10), Ms::secs(2));
    let method = table.get("method", &METHOD);
    let unix = table.get("unix", &scalar::SOCKET).map(|said| said.value);
    let headers = table.value("headers").map_or_else(Vec::new, |value| headers(&value));
    let body = table.get("body", &scalar::TEXT).map(|said| said.value);
    let body_max = body_max(&mut table);
    let over_tls = over_tls(&mut table, url.as_ref().map(|url| &*url.value));
    let expect = assertion::read(&mut table, url.as_ref().map(|url| &*url.value));
    let components = table.table("components").and_then(|table| component::read(table, id, draft));
    let bodiless = method.as_ref().filter(|said| said.value == Method::Head);
    let reads = !expect.json.is_empty() || !expect.texts.is_empty() || components.is_some();
    if let Some(head) = bodiless.filter(|_| reads) {
        let finding = Finding::error("the answer to HEAD has no body, and this probe expects something of it");
        table.push(&head.at, finding.help("use GET, or expect a status and headers alone"));
    }
    table.finish();
    let (at, components) = components.unzip();
    let (ca, server_name) = over_tls;
    let question = HttpQ {
        url: url?.value,
        picks: expect.picks,
        method: method.map(|said| said.value).unwrap_or_default(),
        unix,
        headers,
        body,
        ca,
        server_name,
        body_max,
        texts: expect.texts,
        shown: expect.shown,
        components: at,
    };
    let (status, json, headers, tls_days) = (expect.status, expect.json, expect.headers, expect.tls_days);
    Some(HttpProbe { question, every, timeout, status, json, headers, tls_days, components })
}

const METHOD: Scalar<Method> = Scalar {
    expected: "a method",
    example: "\"GET\"",
    parse: |text| {
        let known = [Method::Get, Method::Head, Method::Post, Method::Put, Method::Options];
        choice("method", text, &known.map(|method| (method.label(), method)))
    },
};

fn body_max(table: &mut Reader<'_>) -> Option<u32> {
    let said = table.get("body_max", &scalar::SIZE)?;
    if !BODY_MAX.contains(&said.value) {
        table.push(&said.at, Finding::error("`body_max` is out of range").help("from 1KiB to 1MiB"));
    }
    u32::try_from(said.value).ok()
}

fn over_tls(table: &mut Reader<'_>, url: Option<&str>) -> (Option<PathBuf>, Option<Str>) {
    let plain = url.is_some_and(|url| !url.starts_with("https:"));
    let ca = table.get("ca", &scalar::PATH);
    let server_name = table.get("server_name", &HOST_NAME);
    let places =
        [("ca", ca.as_ref().map(|said| &said.at)), ("server_name", server_name.as_ref().map(|said| &said.at))];
    for (key, at) in places {
        if let Some(at) = at.filter(|_| plain) {
            let finding = Finding::error(format!("`{key}` means something over https alone"));
            table.push(at, finding.help("write the URL with https://, or leave it out"));
        }
    }
    (ca.map(|said| said.value), server_name.map(|said| said.value))
}

const HOST_NAME: Scalar<Str> = Scalar {
    expected: "a host's name",
    example: "\"api.example.org\"",
    parse: |text| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        if text.is_empty() || text.len() > 253 || !text.chars().all(allowed) {
            let help = "write it as the certificate has it: api.example.org";
            return Err(Complaint::new(format!("{} is no host's name", shown(text)), help));
        }
        Ok(text.into())
    },
};

/// What the connection itself says.
const OURS: [&str; 4] = ["connection", "content-length", "transfer-encoding", "upgrade"];
/// A header whose name has one of these in it is somebody's secret.
const SECRETS: [&str; 7] = ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey"];

fn headers(value: &Value<'_>) -> Vec<Header> {
    let DeValue::Table(table) = value.node() else {
        value.wrong("a table", "write headers = { accept = \"application/json\" }");
        return Vec::new();
    };
    if table.is_empty() || table.len() > HEADERS_LIMIT {
        let finding = Finding::error(format!("`headers` has {} of them", table.len()));
        value.complain(finding.help(format!("from 1 to {HEADERS_LIMIT}")));
    }
    value.entries().iter().filter_map(|(name, value)| header(name, value)).collect()
}

fn header(name: &str, value: &Value<'_>) -> Option<Header> {
    let lower = name.to_ascii_lowercase();
    let refuse = |message: String, help: &str| {
        value.complain(Finding::error(message).help(help));
        None
    };
    if !assertion::is_header(name) {
        return refuse(format!("{} is no header's name", shown(name)), "letters, digits and -, as in x-request-id");
    }
    if OURS.contains(&&*lower) {
        return refuse(format!("{} is set by the connection itself", shown(name)), "leave it out");
    }
    let worth = match value.node() {
        DeValue::String(_) if SECRETS.iter().any(|secret| lower.contains(secret)) => {
            let help = format!("write {name} = {{ credential = \"NAME\" }}, or {{ file = \"/path\" }}");
            return refuse(
                format!("{} is a secret, which does not belong into the configuration", shown(name)),
                &help,
            );
        }
        DeValue::String(text) if text.chars().any(char::is_control) => {
            return refuse("a header is one line of text".into(), "leave out what is no letter, digit or sign");
        }
        DeValue::String(text) => Worth::Plain(text.as_ref().into()),
        _ => Worth::Secret(secret(value)?),
    };
    Some(Header { name: lower.into(), value: worth })
}

/// `{ credential = "NAME" }` or `{ file = "/path" }`.
fn secret(value: &Value<'_>) -> Option<Secret> {
    let entries = value.entries();
    let [(key, operand)] = entries.as_slice() else {
        value.wrong("text, or where a secret lies", "write { credential = \"NAME\" }, or { file = \"/path\" }");
        return None;
    };
    match *key {
        "credential" => operand.scalar(&scalar::CREDENTIAL).map(|said| Secret::Credential(said.value)),
        "file" => operand.scalar(&scalar::PATH).map(|said| Secret::File(said.value)),
        unknown => {
            let help =
                did_you_mean(unknown, ["credential", "file"]).unwrap_or_else(|| "known are: credential, file".into());
            operand.complain(Finding::error(format!("unknown key {}", shown(unknown))).help(help));
            None
        }
    }
}

fn tcp(mut table: Reader<'_>) -> Option<TcpProbe> {
    let (every, timeout) = pace(&mut table, Ms::secs(10), Ms::secs(2));
    let connect = table.get("connect", &CONNECT).map(|said| said.value);
    let unix = table.get("unix", &scalar::SOCKET).map(|said| Where::Unix(said.value));
    if table.has("connect") == table.has("unix") {
        let finding = Finding::error(format!("[{}] needs one of `connect` and `unix`", table.path()));
        table.push(table.at(), finding.help("add connect = \"127.0.0.1:5432\", or unix = \"/run/x.sock\""));
    }
    let send = table.get("send", &scalar::TEXT).map(|said| said.value);
    let expect = table.get("expect", &EXPECTED).map(|said| said.value);
    table.finish();
    Some(TcpProbe { question: TcpQ { at: connect.or(unix)?, send, expect }, every, timeout })
}

const CONNECT: Scalar<Where> = Scalar {
    expected: "a host and a port",
    example: "\"127.0.0.1:5432\"",
    parse: |text| {
        let no = || {
            let help = "write it as 127.0.0.1:5432, [::1]:5432 or db.example.org:5432";
            Complaint::new(format!("{} is not a host with a port", shown(text)), help)
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(no)?;
        let port = port.parse().ok().filter(|port: &u16| *port > 0).ok_or_else(no)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let named =
            |host: &str| !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
        match bare {
            Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                Ok(Where::Tcp { host: address.into(), port })
            }
            None if named(host) => Ok(Where::Tcp { host: host.into(), port }),
            _ => Err(no()),
        }
    },
};

const EXPECTED: Scalar<Str> = Scalar {
    expected: "text",
    example: "\"+PONG\"",
    parse: |text| {
        if text.is_empty() || text.len() > 1024 {
            return Err(Complaint::new("this cannot be expected", "from 1 to 1024 bytes of text"));
        }
        Ok(text.into())
    },
};

const ON_TIMEOUT: Scalar<OnTimeout> = Scalar {
    expected: "a verdict",
    example: "\"down\"",
    parse: |text| choice("verdict", text, &[("unknown", OnTimeout::Unknown), ("down", OnTimeout::Down)]),
};

fn exec(mut table: Reader<'_>) -> Option<ExecProbe> {
    let (every, timeout) = pace(&mut table, Ms::secs(30), Ms::secs(5));
    if !table.has("run") {
        let finding = Finding::error(format!("[{}] has no `run`", table.path()));
        table.push(table.at(), finding.help("add run = [\"/usr/bin/pg_isready\", \"-q\"]"));
    }
    let run = table.list("run", &scalar::TEXT);
    if let Some(program) = run.as_ref().and_then(|run| run.first())
        && let Err(complaint) = scalar::path(&program.value)
    {
        let help = "checks run without a shell or PATH: write the program's whole path";
        table.push(&program.at, Finding::error(complaint.message).help(help));
    }
    let user = table.get("user", &scalar::USER).map(|said| said.value);
    let down = table.value("down").and_then(|value| value.items("an exit status"));
    let down = down.map_or_else(down_statuses, |items| {
        // 126 and 127 say that the command could not be run.
        let statuses = items.iter().filter_map(|item| item.integer(1..=125));
        statuses.filter_map(|status| i32::try_from(status).ok()).collect()
    });
    let on_timeout = table.or("on_timeout", &ON_TIMEOUT, OnTimeout::default());
    table.finish();
    let run = run?.into_iter().map(|said| said.value).collect();
    Some(ExecProbe { question: ExecQ { run, user, timeout }, every, down, on_timeout })
}

fn unit(mut table: Reader<'_>, own: Option<&UnitName>) -> Option<UnitProbe> {
    let unit = table.need("unit", &scalar::UNIT);
    let every = table.or("every", &scalar::PERIOD, Ms::secs(60));
    if let Some(said) = unit.as_ref().filter(|said| Some(&said.value) == own) {
        let finding = Finding::error(format!("{} is the service's own unit", shown(said.value.as_str())));
        table.push(&said.at, finding.help("it is looked at anyway; name the unit that does the work"));
    }
    table.finish();
    Some(UnitProbe { unit: unit?.value, every })
}
