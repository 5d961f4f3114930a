//! Every metric is documented, and every documented metric exists: docs/metrics.md against the sources, and the alert rules
//! against docs/metrics.md.

use std::collections::{BTreeMap, BTreeSet};

use super::Tracked;

const DOCS: &str = "docs/metrics.md";
const PREFIX: &str = "hostward_";
/// Crates, whose names look like metrics.
const CRATES: &[&str] = &["hostward_core", "hostward_config", "hostward_host", "hostward_sim", "hostward_tests"];

/// Names, each with the first file and line that has it.
type Names = BTreeMap<String, String>;

pub(super) fn findings(files: &[Tracked]) -> Vec<String> {
    let exported = names(files, is_exporting_source, in_literal);
    let read = names(files, |file| file.path.starts_with("packaging/"), |_, _| true);
    let documented = names(files, |file| file.path == DOCS, |_, _| true);
    let mut findings = missing(&exported, &documented, "is exported, but not in docs/metrics.md");
    findings.extend(missing(&documented, &exported, "is documented, but nothing exports it"));
    findings.extend(missing(&read, &documented, "is read here, but not in docs/metrics.md"));
    findings
}

/// The binary and its libraries; not this program, nor the tests.
fn is_exporting_source(file: &Tracked) -> bool {
    file.is_rust() && file.path.starts_with("crates/hostward")
}

fn missing(from: &Names, within: &Names, what: &str) -> Vec<String> {
    let known: BTreeSet<&str> = within.keys().map(String::as_str).collect();
    let is_known = |name: &str| {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        known.contains(name) || family.is_some_and(|family| known.contains(family))
    };
    from.iter().filter(|(name, _)| !is_known(name)).map(|(name, at)| format!("{at}: {name} {what}")).collect()
}

fn names(files: &[Tracked], of: impl Fn(&Tracked) -> bool, counts: impl Fn(&str, usize) -> bool) -> Names {
    let mut names = Names::new();
    for file in files.iter().filter(|file| of(file)) {
        for (index, line) in file.text.lines().enumerate() {
            for (_, name) in names_in(line).filter(|(at, _)| counts(line, *at)) {
                names.entry(name.to_owned()).or_insert_with(|| format!("{}:{}", file.path, index + 1));
            }
        }
    }
    names
}

/// Whole words that begin with the prefix. The bare prefix, and one with a trailing `_`, are parts of a name, not names.
fn names_in(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.match_indices(PREFIX).filter_map(move |(at, _)| {
        let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let length = line[at..].find(|character| !is_word(character)).unwrap_or(line.len() - at);
        let name = &line[at..at + length];
        let begins = !line[..at].chars().next_back().is_some_and(is_word);
        (begins && !name.ends_with('_') && !CRATES.contains(&name)).then_some((at, name))
    })
}

/// Whether a position in a line of Rust is inside a string literal of this line.
fn in_literal(line: &str, at: usize) -> bool {
    line[..at].matches('"').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::{Tracked, findings};

    fn check(source: &str, docs: &str, rules: &str) -> usize {
        let file = |path: &str, text: &str| Tracked { path: path.to_owned(), text: text.to_owned() };
        findings(&[
            file("crates/hostward/src/metrics.rs", source),
            file("docs/metrics.md", docs),
            file("packaging/x.yml", rules),
        ])
        .len()
    }

    #[test]
    fn the_three_lists_agree_or_it_is_a_finding() {
        let source = "use hostward_core::x; gauge(\"hostward_up\"); text(\"# HELP hostward_t help\"); \"hostward_\"";
        assert_eq!(check(source, "`hostward_up{watch}` `hostward_t`", "hostward_up == 0 and hostward_t_bucket"), 0);
        assert_eq!(check(source, "`hostward_up`", ""), 1);
        assert_eq!(check(source, "`hostward_up` `hostward_t` `hostward_gone`", ""), 1);
        assert_eq!(check(source, "`hostward_up` `hostward_t`", "hostward_typo == 0"), 1);
        assert_eq!(check("hostward_fn()", "", "hostward_up == 0"), 1);
    }
}
