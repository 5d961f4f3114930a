//! Does it serve? The questions that a service is asked from outside, and what is kept of their answers.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::id::Str;
use crate::time::Ms;

/// One request; redirects are not followed, proxy variables are ignored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HttpQ {
    /// `http://host:port/path`, or https.
    pub url: Str,
    /// JSON pointers (RFC 6901) to extract; a whole segment `*` matches every member or element.
    pub picks: Vec<Str>,
    #[serde(default)]
    pub method: Method,
    /// A Unix socket to connect to, instead of the URL's host.
    #[serde(default)]
    pub unix: Option<PathBuf>,
    #[serde(default)]
    pub headers: Vec<Header>,
    #[serde(default)]
    pub body: Option<Str>,
    /// PEM file of the authorities to trust, instead of the host's own.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The name that the certificate must be for, instead of the URL's host.
    #[serde(default)]
    pub server_name: Option<Str>,
    /// How far the body is read.
    #[serde(default)]
    pub body_max: Option<u32>,
    /// Texts to look for in the body.
    #[serde(default)]
    pub texts: Vec<Str>,
    /// Headers of the response to extract.
    #[serde(default)]
    pub shown: Vec<Str>,
    /// A pointer with one wildcard, whose matches are components by the wildcard's member.
    #[serde(default)]
    pub components: Option<Str>,
}

impl HttpQ {
    pub fn get(url: impl Into<Str>, picks: Vec<Str>) -> Self {
        HttpQ {
            url: url.into(),
            picks,
            method: Method::Get,
            unix: None,
            headers: Vec::new(),
            body: None,
            ca: None,
            server_name: None,
            body_max: None,
            texts: Vec::new(),
            shown: Vec::new(),
            components: None,
        }
    }

    /// Something goes along that only its owner may see.
    pub fn tells_secrets(&self) -> bool {
        self.headers.iter().any(|header| matches!(header.value, Worth::Secret(_)))
    }

    /// The URL's host and port, as written.
    pub fn authority(&self) -> &str {
        let rest = self.url.split_once("://").map_or(&*self.url, |(_, rest)| rest);
        rest.split(['/', '?', '#']).next().unwrap_or(rest)
    }

    pub fn is_tls(&self) -> bool {
        self.url.starts_with("https:")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Options,
}

impl Method {
    pub fn label(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Options => "OPTIONS",
        }
    }
}

/// One header of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Header {
    pub name: Str,
    pub value: Worth,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Worth {
    Plain(Str),
    Secret(Secret),
}

/// Where a secret lies: never itself, so that no policy, record or recording holds one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// A name in `$CREDENTIALS_DIRECTORY`: systemd.exec(5), LoadCredential=.
    Credential(Str),
    /// A file that only its owner may read.
    File(PathBuf),
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpReading {
    /// A whole response head; the body may have been cut at the cap (64 KiB).
    Answered(HttpAnswer),
    /// Nobody answered: connection refused, reset, or closed in the middle.
    Silent(Str),
    /// No whole answer within the deadline, this long.
    TimedOut(Ms),
    /// The host's name has no address, or nobody could tell.
    Unresolved(Str),
    /// Nothing was sent: a secret goes along, and the certificate does not verify.
    Untrusted(Str),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAnswer {
    pub status: u16,
    /// For each pick of the question, in its order: what the pointer named. Empty: nothing. At most 64 values each.
    pub picked: Vec<Vec<Picked>>,
    /// The body is JSON.
    pub json: bool,
    /// The first 200 characters of the body, control characters replaced, secrets masked.
    pub excerpt: Str,
    /// The body is longer than was read.
    #[serde(default)]
    pub cut: bool,
    /// For each text of the question: the body has it.
    #[serde(default)]
    pub texts: Vec<bool>,
    /// For each header of the question: its first value, at most 200 characters of it.
    #[serde(default)]
    pub shown: Vec<Option<Str>>,
    /// By name, in order; at most 64 whose names are safe to show.
    #[serde(default)]
    pub components: Vec<(Str, Picked)>,
    /// Components beyond these.
    #[serde(default)]
    pub components_left: u32,
    #[serde(default)]
    pub tls: Option<TlsReading>,
}

/// What a peer's certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsReading {
    /// Its notAfter, wall clock.
    pub not_after: Option<Ms>,
    /// Why it does not verify.
    pub distrust: Option<Str>,
}

/// A connection, and what is said on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TcpQ {
    pub at: Where,
    pub send: Option<Str>,
    /// Text that the peer must say within its first 4 KiB.
    pub expect: Option<Str>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Where {
    Tcp { host: Str, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Where::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Where::Tcp { host, port } => write!(f, "{host}:{port}"),
            Where::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TcpReading {
    /// It accepted. `found`: it said what is expected, or nothing is.
    Accepted {
        found: bool,
        /// The first 200 characters of what it said.
        excerpt: Str,
    },
    Silent(Str),
    TimedOut(Ms),
    Unresolved(Str),
}

/// One of the operator's own checks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExecQ {
    /// The program's whole path, and its arguments.
    pub run: Vec<Str>,
    /// Whom it runs as; none: whom we run as.
    pub user: Option<Str>,
    /// After this it is killed, with all that it started.
    pub timeout: Ms,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecReading {
    /// It ended by itself. `excerpt`: the first 200 characters of its output, secrets masked.
    Exited {
        code: i32,
        excerpt: Str,
    },
    /// It ended by a signal that was not ours.
    Killed {
        signal: i32,
        excerpt: Str,
    },
    TimedOut {
        after: Ms,
        excerpt: Str,
    },
}

/// One scalar of a JSON body, at most 200 characters of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Picked {
    Null,
    Bool(bool),
    /// As written in the body: `1`, `1.5`.
    Number(Str),
    Text(Str),
    /// An array of this many elements.
    Array(usize),
    /// An object of this many members.
    Object(usize),
}

impl fmt::Display for Picked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Picked::Null => f.write_str("null"),
            Picked::Bool(b) => write!(f, "{b}"),
            Picked::Number(n) => f.write_str(n),
            Picked::Text(t) => write!(f, "{t:?}"),
            Picked::Array(n) => write!(f, "[{n} elements]"),
            Picked::Object(n) => write!(f, "{{{n} members}}"),
        }
    }
}
