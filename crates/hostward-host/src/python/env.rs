//! The environment itself: `pyvenv.cfg`, the interpreter's link, the site-packages, the facts that markers ask for.
//!
//! Never runs the interpreter: its version is what `lib/pythonX.Y` and `pyvenv.cfg` say (PEP 405).

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hostward_core::ask::{Fault, Interpreter};
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder};
use rustix::io::Errno;

use crate::files::{self, fault, unreadable};

/// `pyvenv.cfg` has a dozen lines.
const MAX_CFG: usize = 64 * 1024;
/// `bin/python` → `python3` → `/usr/bin/python3` → `python3.11` → an alternative; ELOOP comes at 40.
const MAX_LINKS: usize = 16;
/// Where there is neither an environment nor a system Python to take the version from.
const FALLBACK_VERSION: &str = "3.12";

/// What there is at the environment's path.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) interpreter: Interpreter,
    /// In the order in which Python would search them.
    pub(super) sites: Vec<PathBuf>,
    pub(super) markers: MarkerEnvironment,
}

/// `lib/python3.11/site-packages`.
#[derive(Debug)]
struct Site {
    path: PathBuf,
    /// `3.11`; empty for a directory without a number.
    minor: String,
    pypy: bool,
}

impl Environment {
    pub(super) fn look(venv: &Path) -> Result<Environment, Fault> {
        match fs::metadata(venv) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Environment::absent(),
            Err(e) => return Err(fault("environment", venv, e)),
            Ok(meta) if !meta.is_dir() => {
                return Err(unreadable(format!("environment '{}' is a file, not a directory", venv.display())));
            }
            Ok(_) => {}
        }
        let cfg_path = venv.join("pyvenv.cfg");
        let Some(cfg) = files::read_if_any("pyvenv.cfg", &cfg_path, MAX_CFG)? else {
            return Environment::absent();
        };
        let cfg = settings(&files::text("pyvenv.cfg", &cfg_path, cfg)?);
        let declared = cfg.get("version_info").or_else(|| cfg.get("version")).map(|v| numbers(v)).unwrap_or_default();
        let mut sites = sites(venv)?;
        let target = interpreter(venv)?;
        let runs = target.as_ref().ok().and_then(|path| file_minor(path));
        // Beside the running interpreter's own directory, another version's is a leftover that Python never reads.
        if let Some(runs) = runs.as_ref().filter(|runs| sites.iter().any(|s| s.minor == **runs)) {
            sites.retain(|s| s.minor == *runs);
        }
        let declared_minor = minor(&declared);
        let site = sites.iter().find(|s| s.minor == declared_minor).or(sites.last());
        let lives = site.map(|s| s.minor.clone()).filter(|m| !m.is_empty()).unwrap_or(declared_minor.clone());
        if lives.is_empty() {
            let text = format!("'{}' names no version, and there is no lib/pythonX.Y beside it", cfg_path.display());
            return Err(unreadable(text));
        }
        let full = if declared_minor == lives { declared } else { lives.clone() };
        let pypy = site.is_some_and(|s| s.pypy);
        let interpreter = match (target, runs) {
            (Err(gone), _) => Interpreter::Gone(gone.into()),
            // A new system Python under the old link: it does not see what was installed for the old one.
            (Ok(path), Some(runs)) if runs != lives && !pypy => {
                let path = path.display();
                Interpreter::Gone(format!("bin/python leads to {path}, the environment was made for {lives}").into())
            }
            _ => Interpreter::Version(lives.as_str().into()),
        };
        let mut paths: Vec<PathBuf> = sites.into_iter().map(|s| s.path).collect();
        if cfg.get("include-system-site-packages").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            paths.extend(system_sites(cfg.get("home").map(String::as_str), &lives));
        }
        Ok(Environment { interpreter, sites: paths, markers: markers(&full, pypy)? })
    }

    /// No environment: the markers are those of the Python that would be used to make one.
    fn absent() -> Result<Environment, Fault> {
        let system = fs::canonicalize("/usr/bin/python3").ok().and_then(|path| file_minor(&path));
        let markers = markers(system.as_deref().unwrap_or(FALLBACK_VERSION), false)?;
        Ok(Environment { interpreter: Interpreter::NoEnvironment, sites: Vec::new(), markers })
    }
}

/// `key = value` lines; keys are not case sensitive (site.py).
fn settings(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect()
}

/// `3.11.2.final.0` as `3.11.2`.
fn numbers(version: &str) -> String {
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    version.split('.').take_while(is_number).take(3).collect::<Vec<_>>().join(".")
}

fn minor(version: &str) -> String {
    version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
}

/// `/usr/bin/python3.11` says `3.11`; `/usr/bin/python3` says nothing.
fn file_minor(path: &Path) -> Option<String> {
    let version = path.file_name()?.to_str()?.strip_prefix("python")?;
    (version.contains('.') && numbers(version) == version).then(|| minor(version))
}

/// Every `lib/python*/site-packages`, and `lib64`'s where it is no link to `lib`; in order of version.
fn sites(venv: &Path) -> Result<Vec<Site>, Fault> {
    let mut sites: Vec<Site> = Vec::new();
    let mut seen = Vec::new();
    for lib in ["lib", "lib64"].map(|lib| venv.join(lib)) {
        let entries = match fs::read_dir(&lib) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(fault("library directory", &lib, e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| fault("library directory", &lib, e))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let (version, pypy) = match (name.strip_prefix("python"), name.strip_prefix("pypy")) {
                (Some(version), _) => (version, false),
                (_, Some(version)) => (version, true),
                _ => continue,
            };
            let path = entry.path().join("site-packages");
            let real = match fs::canonicalize(&path) {
                Ok(real) => real,
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
                Err(e) => return Err(fault("site-packages", &path, e)),
            };
            if !seen.contains(&real) {
                seen.push(real);
                sites.push(Site { path, minor: minor(&numbers(version)), pypy });
            }
        }
    }
    sites.sort_by_key(|s| s.minor.split('.').map(|n| n.parse::<u32>().unwrap_or(0)).collect::<Vec<_>>());
    Ok(sites)
}

/// Where `bin/python` leads; `Err` says why it leads nowhere.
fn interpreter(venv: &Path) -> Result<Result<PathBuf, String>, Fault> {
    let python = venv.join("bin/python");
    match fs::canonicalize(&python) {
        Ok(path) if path.is_file() => Ok(Ok(path)),
        Ok(path) => Ok(Err(format!("bin/python leads to {}, which is not a file", path.display()))),
        Err(e) => match Errno::from_io_error(&e) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Err(nowhere(&python))),
            _ => Err(fault("interpreter", &python, e)),
        },
    }
}

/// Follows the links by hand to name the one that is missing.
fn nowhere(python: &Path) -> String {
    let mut at = python.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&at) {
            Ok(next) => at = at.parent().unwrap_or(Path::new("/")).join(next),
            Err(_) if at == python => return "bin/python does not exist".to_owned(),
            Err(_) => return format!("bin/python leads to {}, which does not exist", at.display()),
        }
    }
    "bin/python leads in a circle".to_owned()
}

/// What `include-system-site-packages` adds: the base interpreter's own, and Debian's two (site.py, dist-packages).
fn system_sites(home: Option<&str>, minor: &str) -> impl Iterator<Item = PathBuf> {
    let base = home.map(Path::new).and_then(Path::parent).unwrap_or(Path::new("/usr"));
    [
        PathBuf::from(format!("/usr/local/lib/python{minor}/dist-packages")),
        base.join(format!("lib/python{minor}/site-packages")),
        PathBuf::from("/usr/lib/python3/dist-packages"),
    ]
    .into_iter()
    .filter(|path| path.is_dir())
}

/// The facts of PEP 508's markers, for a Python of this version on this host.
pub(super) fn markers(version: &str, pypy: bool) -> Result<MarkerEnvironment, Fault> {
    let full = if version.matches('.').count() < 2 { format!("{version}.0") } else { version.to_owned() };
    let uname = rustix::system::uname();
    let (machine, release) = (uname.machine().to_string_lossy(), uname.release().to_string_lossy());
    let kernel = uname.version().to_string_lossy();
    let (implementation, platform) = if pypy { ("pypy", "PyPy") } else { ("cpython", "CPython") };
    MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
        implementation_name: implementation,
        implementation_version: &full,
        os_name: "posix",
        platform_machine: &machine,
        platform_python_implementation: platform,
        platform_release: &release,
        platform_system: "Linux",
        platform_version: &kernel,
        python_full_version: &full,
        python_version: &minor(&full),
        sys_platform: "linux",
    })
    .map_err(|_| unreadable(format!("'{version}' is no version of Python")))
}
