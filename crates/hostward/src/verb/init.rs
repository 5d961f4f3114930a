//! `init`: a first configuration from the live host, in observe mode.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{say, systemctl};
use crate::exit::Exit;

const HEAD: &str = r#"# Hostward, made by `hostward init` from what runs here.
# It only observes. When you have seen in `hostward status` that it judges rightly: set mode = "act",
# `hostward reload`, and permit acts with `hostward enable` (the sentinel).

[host]
sentinel = "/etc/hostward/enabled"
mode     = "observe"            # observe | propose | act

[metrics]
listen = "127.0.0.1:9469"       # curl http://127.0.0.1:9469/metrics
# textfile = "/var/lib/prometheus/node-exporter/hostward.prom"
"#;

pub(crate) fn init() -> Result<Exit> {
    let services = systemctl::services()?;
    let names: Vec<&str> = services.iter().map(String::as_str).collect();
    let properties = ["Id", "FragmentPath", "ExecStart", "User"];
    let shown = if names.is_empty() { Vec::new() } else { systemctl::show(&names, &properties)? };
    let own: Vec<_> = shown.iter().filter(|unit| is_own(unit)).collect();
    let mut out = HEAD.to_owned();
    for unit in &own {
        service(&mut out, unit);
    }
    if own.is_empty() {
        out.push_str(
            "\n# No service of your own (a unit file below /etc/systemd/system) runs here. The first watch, by hand:\n\
             # [service.api]\n# unit = \"example-api.service\"\n",
        );
    }
    say(&out)?;
    Ok(Exit::Ok)
}

/// What the operator wrote, not what the distribution brought; and not ourselves.
fn is_own(unit: &BTreeMap<String, String>) -> bool {
    let get = |key: &str| unit.get(key).map_or("", String::as_str);
    get("FragmentPath").starts_with("/etc/systemd/system/") && !get("Id").starts_with("hostward")
}

fn service(out: &mut String, unit: &BTreeMap<String, String>) {
    let Some(id) = unit.get("Id") else { return };
    let name: String = id
        .trim_end_matches(".service")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
        .collect();
    let venv = unit.get("ExecStart").and_then(|exec| systemctl::program(exec)).and_then(venv_of);
    let app = if venv.is_some() { format!("app  = \"{name}\"\n") } else { String::new() };
    if venv.is_some() {
        let _ = write!(
            out,
            "\n[app.{name}]\n# lock = {{ flock = \"/run/lock/{name}-deploy.lock\" }}   # your deploy script's lock\n"
        );
    }
    let _ = write!(
        out,
        "\n[service.{name}]\n{app}unit = \"{id}\"\n# [[service.{name}.probe.http]]\n# url = \"http://127.0.0.1:8000/health\"\n\
         # expect.status = 200\n[service.{name}.remedy]\nladder = [\"restart\", \"notify\"]\n"
    );
    if let Some(venv) = venv {
        baseline(out, &name, id, &venv, unit.get("User").map_or("", String::as_str));
    }
}

fn baseline(out: &mut String, name: &str, unit: &str, venv: &Path, user: &str) {
    let user = if user.is_empty() { "root" } else { user };
    let _ = write!(
        out,
        "\n[baseline.{name}]\napp = \"{name}\"\n[baseline.{name}.python]\nvenv = \"{}\"\n",
        venv.display()
    );
    let tree = venv.parent().unwrap_or(venv);
    let found = ["uv.lock", "requirements.lock", "requirements.txt", "pyproject.toml"]
        .into_iter()
        .map(|file| tree.join(file))
        .find(|file| file.is_file());
    let Some(lock) = found else {
        let _ = writeln!(out, "required = [\"pip\"]   # name a lock file instead: lock = \"...\"");
        return;
    };
    let _ = writeln!(out, "lock = \"{}\"", lock.display());
    let _ = write!(
        out,
        "# [baseline.{name}.reconcile]\n# run  = [[\"{}/bin/pip\", \"install\", \"--no-deps\", \"-r\", \"{}\"]]\n\
         # user = \"{user}\"\n# then = {{ restart = [\"{unit}\"], prove = \"service.{name}\" }}\n",
        venv.display(),
        lock.display()
    );
}

/// The environment that a program lives in.
fn venv_of(program: &Path) -> Option<PathBuf> {
    let venv = program.parent()?.parent()?;
    venv.join("pyvenv.cfg").is_file().then(|| venv.to_owned())
}
