//! A foreign process's command line, fit to be shown: its secrets masked, its length bounded.
//!
//! Masks what follows a key that sounds like a secret (`--password x`, `API_TOKEN=x`) and the user part of a URL
//! (`https://user:pass@host`). It cannot know a secret that bears no such name.

use std::ops::Range;

use hostward_core::id::Str;

/// What an operator needs to recognise a command; `ask.rs` promises it.
pub(crate) const MAX_CHARS: usize = 200;

pub(crate) const MASK: &str = "***";
const SECRETS: [&str; 7] = ["password", "passwd", "passphrase", "secret", "token", "apikey", "credential"];

/// `pip install --index-url https://***@host/simple`.
pub(crate) fn command<'a>(argv: impl Iterator<Item = &'a str>) -> Str {
    let mut shown = String::new();
    let mut mask_next = false;
    for arg in argv {
        if !shown.is_empty() {
            shown.push(' ');
        }
        if std::mem::take(&mut mask_next) && !arg.starts_with('-') {
            shown.push_str(MASK);
        } else if let Some((key, _)) = arg.split_once('=').filter(|(key, _)| sounds_secret(key)) {
            shown.push_str(key);
            shown.push('=');
            shown.push_str(MASK);
        } else {
            mask_next = arg.starts_with('-') && !arg.contains('=') && sounds_secret(arg);
            shown.push_str(&without_userinfo(arg));
        }
        if shown.len() > MAX_CHARS * 4 {
            break;
        }
    }
    clip(&shown, MAX_CHARS)
}

/// What somebody else wrote, fit to be shown: values whose key sounds like a secret (`"token": "x"`, `password=x`), what
/// follows `Bearer` or `Basic`, and the user part of URLs are masked; then as [`clip`], without what is blank at the end.
pub(crate) fn text(text: &str, max: usize) -> Str {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next().filter(|_| shown.len() <= max * 4) {
        let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        let taken = if word.is_empty() { &rest[..c.len_utf8()] } else { word };
        shown.push_str(taken);
        rest = &rest[taken.len()..];
        let hidden = if shown.ends_with("://") { userinfo(rest) } else { announced(word, rest) };
        if let Some(hidden) = hidden {
            shown.push_str(&rest[..hidden.start]);
            shown.push_str(MASK);
            rest = &rest[hidden.end..];
        }
    }
    clip(shown.trim_end_matches(|c: char| c.is_whitespace() || c.is_control()), max)
}

/// Where the secret is that this word announces, if it announces one.
fn announced(word: &str, rest: &str) -> Option<Range<usize>> {
    let lead = rest.find(|c| !"\"' :=".contains(c)).unwrap_or(rest.len());
    let (lead, value) = rest.split_at(lead);
    let keyed = sounds_secret(word) && lead.trim_start_matches(['"', '\'', ' ']).starts_with([':', '=']);
    let scheme = lead == " " && ["bearer", "basic"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
    // What is below such a key is masked member by member, by their own keys; and an empty text hides nothing.
    if !(keyed || scheme) || value.starts_with(['{', '[']) || lead.contains("\"\"") {
        return None;
    }
    let quoted = lead.ends_with('"');
    let ends = |c: char| if quoted { c == '"' } else { c.is_whitespace() || ",;&\"'}".contains(c) };
    let end = value.find(ends).unwrap_or(value.len());
    Some(lead.len()..lead.len() + end)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

/// The user part of a URL, if one stands here.
fn userinfo(rest: &str) -> Option<Range<usize>> {
    let authority = rest.split(['/', '?', '#', ' ', '"', '\'']).next()?;
    authority.rfind('@').map(|at| 0..at)
}

/// At most `max` characters, control characters as spaces.
pub(crate) fn clip(text: &str, max: usize) -> Str {
    text.chars().take(max).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().into()
}

fn sounds_secret(key: &str) -> bool {
    let key: String = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    SECRETS.iter().any(|secret| key.contains(secret))
}

fn without_userinfo(arg: &str) -> String {
    let Some((scheme, rest)) = arg.split_once("://") else { return arg.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://{MASK}{}", &rest[at..]),
        None => arg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_shows_no_value_of_a_key_that_sounds_secret() {
        let cases = [
            (r#"{"ok": true, "checks": {"db": "ok"}}"#, r#"{"ok": true, "checks": {"db": "ok"}}"#),
            (r#"{"password": "hunter2", "a": 1}"#, r#"{"password": "***", "a": 1}"#),
            (r#"{"api_token":"hunter2 with a space","a":1}"#, r#"{"api_token":"***","a":1}"#),
            (r#"{"token":"$%hunter2","secret":"","a":"b"}"#, r#"{"token":"***","secret":"","a":"b"}"#),
            ("PGPASSWORD=hunter2 psql", "PGPASSWORD=*** psql"),
            ("db at postgres://u:hunter2@h/db is down", "db at postgres://***@h/db is down"),
            ("Authorization: Bearer hunter2", "Authorization: Bearer ***"),
            (r#"{"secrets": {"n": 2}, "tokens": [1]}"#, r#"{"secrets": {"n": 2}, "tokens": [1]}"#),
            ("the token is missing", "the token is missing"),
            ("line\nbreak\u{7}", "line break"),
        ];
        for (said, shown) in cases {
            assert_eq!(&*text(said, 200), shown);
        }
        let cut = text(r#"{"password": "hunter2 that never ends"#, 200);
        assert_eq!(&*cut, r#"{"password": "***"#);
        assert_eq!(text(&"ä".repeat(900), 200).chars().count(), 200);
    }

    #[test]
    fn secrets_are_masked_and_the_rest_is_not() {
        let cases: [(&[&str], &str); 6] = [
            (&["pip", "install", "-r", "requirements.txt"], "pip install -r requirements.txt"),
            (
                &["uv", "sync", "--index-url", "https://u:hunter2@h/simple?a=b@c"],
                "uv sync --index-url https://***@h/simple?a=b@c",
            ),
            (&["npm", "--token", "abc", "ci"], "npm --token *** ci"),
            (&["env", "API_TOKEN=abc", "X=1"], "env API_TOKEN=*** X=1"),
            (&["poetry", "--password=abc", "publish"], "poetry --password=*** publish"),
            (&["git", "clone", "line\nbreak"], "git clone line break"),
        ];
        for (argv, shown) in cases {
            assert_eq!(&*command(argv.iter().copied()), shown);
        }
        assert_eq!(command(std::iter::repeat_n("abcdefghi", 99)).chars().count(), MAX_CHARS);
    }
}
