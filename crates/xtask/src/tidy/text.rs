//! Rules on the text of tracked files: size, words that hide undone work, names of one machine.

use std::path::Path;

use hostward_tests::repository;

use super::Tracked;

/// A file that grows past it holds two ideas.
const LINES_MAX: usize = 600;

/// Kept in two halves, so that this file does not find itself.
const UNDONE: &[&str] = &[concat!("#[ign", "ore"), concat!("to", "do!("), concat!("unimple", "mented!(")];

/// Folders and package mirrors of the machines that this is developed on.
const MACHINE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("pkg", ".dev"),
    concat!("jfrog", ".io"),
    concat!("artifact", "ory."),
    concat!("codeartifact", "."),
];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn findings(files: &[Tracked]) -> Vec<String> {
    let checkout = repository().display().to_string();
    files.iter().flat_map(|file| file_findings(file, &checkout)).collect()
}

fn file_findings(file: &Tracked, checkout: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    if lines > LINES_MAX && limits_size(&file.path) {
        findings.push(format!("{}: {lines} lines, more than {LINES_MAX}: it holds two ideas", file.path));
    }
    for (index, line) in file.text.lines().enumerate() {
        let at = format!("{}:{}", file.path, index + 1);
        if file.is_rust() {
            let undone = UNDONE.iter().filter(|word| line.contains(**word));
            findings.extend(undone.map(|word| format!("{at}: '{word}': finish it, or take it out")));
        }
        let machine = MACHINE.iter().copied().chain([checkout]).filter(|name| names_machine(line, name));
        findings.extend(machine.map(|name| format!("{at}: '{name}' is a name of one machine")));
        if file.path == "Cargo.lock" && line.starts_with("source = ") && !line.contains(CRATES_IO) {
            findings.push(format!("{at}: {line} is not crates.io"));
        }
    }
    findings
}

/// Prose, locks and generated dashboards may be long.
fn limits_size(path: &str) -> bool {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    !matches!(extension, Some("md" | "lock" | "json" | "svg" | "snap"))
}

/// A path counts only where it begins: `/srv/x/y` does not name `/x/`.
fn names_machine(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !name.starts_with('/') || !before.is_some_and(|before| before.is_alphanumeric() || "_-.}".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::{Tracked, file_findings};

    fn check(path: &str, text: &str) -> usize {
        file_findings(&Tracked { path: path.to_owned(), text: text.to_owned() }, "/home/me/hostward").len()
    }

    #[test]
    fn each_rule_finds_its_breach_and_no_more() {
        assert_eq!(check("a.rs", "fn main() {}\n"), 0);
        assert_eq!(check("a.rs", &"\n".repeat(600)), 0);
        assert_eq!(check("a.rs", &"\n".repeat(601)), 1);
        assert_eq!(check("a.md", &"\n".repeat(601)), 0);
        assert_eq!(check("a.rs", concat!("#[ign", "ore = \"slow\"]")), 1);
        assert_eq!(check("a.rs", concat!("to", "do!()")), 1);
        assert_eq!(check("a.sh", concat!("cd /wo", "rk/x")), 1);
        assert_eq!(check("a.sh", concat!("cd /srv/wo", "rk/x")), 0);
        assert_eq!(check("a.sh", "cd /home/me/hostward"), 1);
        assert_eq!(check("Cargo.lock", "source = \"git+https://example.com/x\""), 1);
    }
}
