//! Which crate may depend on which: the picture in the architecture, as a table.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run::{cargo, read};

/// A crate and the siblings that it may depend on. Nothing depends on the binary; the core depends on no sibling.
const ALLOWED: &[(&str, &[&str])] = &[
    ("hostward-core", &[]),
    ("hostward-config", &["hostward-core"]),
    ("hostward-host", &["hostward-core"]),
    ("hostward-sim", &["hostward-core"]),
    ("hostward", &["hostward-core", "hostward-config", "hostward-host"]),
    ("hostward-tests", &["hostward-core", "hostward-host"]),
    ("xtask", &["hostward-tests", "hostward-sim"]),
];

pub(super) fn findings() -> Result<Vec<String>> {
    let metadata = read(cargo(["metadata", "--no-deps", "--format-version", "1", "--offline"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("read cargo's metadata")?;
    let packages = metadata["packages"].as_array().context("cargo's metadata lists no packages")?;
    Ok(packages.iter().flat_map(package_findings).collect())
}

fn package_findings(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
        return vec![format!(
            "{name}: a new crate; say in xtask's tidy what it may depend on, and in ARCHITECTURE.md what it is"
        )];
    };
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies
        .filter(|dependency| dependency["path"].is_string())
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|dependency| !allowed.contains(dependency))
        .map(|dependency| format!("{name}: depends on {dependency}, against the direction of the architecture"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::package_findings;

    fn depends(name: &str, on: &str) -> Vec<String> {
        package_findings(&json!({"name": name, "dependencies": [{"name": on, "path": "/x"}, {"name": "serde"}]}))
    }

    #[test]
    fn the_direction_holds_and_a_breach_is_found() {
        assert_eq!(depends("hostward-host", "hostward-core"), Vec::<String>::new());
        assert_eq!(depends("hostward-core", "hostward-host").len(), 1);
        assert_eq!(depends("hostward-tests", "hostward").len(), 1);
        assert_eq!(depends("hostward-new", "hostward-core").len(), 1);
    }
}
