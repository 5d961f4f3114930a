//! A foreign process's command line, fit to be shown: its secrets masked, its length bounded.
//!
//! Masks what follows a key that sounds like a secret (`--password x`, `API_TOKEN=x`) and the user part of a URL
//! (`https://user:pass@host`). It cannot know a secret that bears no such name.

use hostward_core::id::Str;

/// What an operator needs to recognise a command; `ask.rs` promises it.
pub(crate) const MAX_CHARS: usize = 200;

const MASK: &str = "***";
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
