//! `config check` and `config show`: no privileges, no host; fit for the CI of the operator's own repository.

use std::io::IsTerminal;

use anyhow::Result;
use serde_json::json;

use super::Out;
use crate::cli::ConfigVerb;
use crate::exit::Exit;
use crate::store::Paths;

pub(crate) fn config(paths: &Paths, out: Out, which: &ConfigVerb) -> Result<Exit> {
    let (ConfigVerb::Check { dir } | ConfigVerb::Show { dir }) = which;
    let dir = dir.as_ref().unwrap_or(&paths.config);
    let loaded = match crate::store::load_config(dir) {
        Ok(loaded) => loaded,
        Err(error) => {
            if out.json {
                out.print(&json!({ "version": 1, "ok": false, "errors": error.errors() }), String::new)?;
            } else {
                eprint!("{}", error.render(std::io::stderr().is_terminal()));
            }
            return Ok(Exit::Usage);
        }
    };
    match which {
        ConfigVerb::Check { .. } => {
            let watches = loaded.policy.watches.len();
            let checked = json!({ "version": 1, "ok": true, "watches": watches, "warnings": loaded.warnings });
            out.print(&checked, || format!("{}ok: {watches} watches\n", loaded.render_warnings(false)))?;
        }
        // The understood form is JSON for people too: it nests, and every default is in it.
        ConfigVerb::Show { .. } => {
            let shown = json!({ "version": 1, "policy": loaded.policy, "export": loaded.export });
            Out { json: true }.print(&shown, String::new)?;
        }
    }
    Ok(Exit::Ok)
}
