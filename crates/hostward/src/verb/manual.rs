//! `man` and `completions`: made from the command line's own description, so that they cannot disagree with it.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::say;
use crate::cli::{Cli, EXIT_CODES};
use crate::exit::Exit;

pub(crate) fn man() -> Result<Exit> {
    say(&page()?)?;
    Ok(Exit::Ok)
}

pub(crate) fn completions(shell: Shell) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hostward", &mut script);
    say(&String::from_utf8(script).context("the completions are not UTF-8")?)?;
    Ok(Exit::Ok)
}

/// One page for all verbs: pages of their own would be twenty files that a package must not forget.
fn page() -> Result<String> {
    let man = Man::new(Cli::command().disable_help_subcommand(true)).section("1").manual("Hostward");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut page = String::from_utf8(page).context("the page is not UTF-8")?;
    page.push_str(".SH VERBS\n");
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    for verb in cli.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        section(&mut page, verb);
    }
    let _ = writeln!(page, ".SH EXIT STATUS\n.nf\n{}.fi", plain(EXIT_CODES));
    page.push_str(".SH SEE ALSO\nsystemctl(1), systemd.service(5), journalctl(1)\n");
    Ok(page)
}

/// What `--help` says, as it stands there.
fn section(page: &mut String, verb: &Command) {
    let _ = writeln!(page, ".SS \"hostward {}\"\n.nf", verb.get_name().replace('-', "\\-"));
    page.push_str(&plain(&verb.clone().render_long_help().to_string()));
    page.push_str(".fi\n");
    for deeper in verb.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let _ = writeln!(page, ".PP\n.nf");
        page.push_str(&plain(&deeper.clone().render_long_help().to_string()));
        page.push_str(".fi\n");
    }
}

/// Text for roff to print as it is: a backslash, and a line that begins with a dot or a quote, would be commands.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let escaped = line.replace('\\', "\\e").replace('-', "\\-");
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        let _ = writeln!(out, "{guard}{}", escaped.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_verb_and_every_exit_code_and_no_hidden_ones() {
        let page = page().unwrap();
        assert!(page.contains(".TH hostward 1"), "{page}");
        for verb in ["run", "status", "trigger", "pause", "apply", "config", "completions"] {
            assert!(page.contains(&format!(".SS \"hostward {verb}\"\n")), "{verb} is not in\n{page}");
        }
        assert!(page.contains("\\-\\-wait <SECONDS>") && page.contains("config show"), "{page}");
        assert!(page.contains("75  busy"), "{page}");
        assert!(!page.contains("probe"), "what is hidden is the daemon's own");
    }

    #[test]
    fn roff_takes_no_text_for_a_command() {
        assert_eq!(plain(".TH x\n'a'\na\\b --c\n"), "\\&.TH x\n\\&'a'\na\\eb \\-\\-c\n");
    }

    #[test]
    fn each_shell_completes_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hostward", &mut script);
            assert!(String::from_utf8(script).unwrap().contains("trigger"), "{shell}");
        }
    }
}
