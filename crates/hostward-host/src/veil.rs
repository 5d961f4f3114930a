//! What was sent in confidence, hidden in what comes back: receivers repeat what they were sent ("Cannot POST /SECRET").
//!
//! It knows the secrets, which `mask.rs` does not. Of a URL the path, the query and each part of both are secret: whoever
//! knows a webhook's may use it. Its host is not.

use hostward_core::id::Str;

use crate::mask;

/// What is shorter is no secret, and would hide every word.
const LEAST: usize = 4;

/// Secrets of one request.
#[derive(Default)]
pub struct Veil {
    /// In small letters, the longest first: none may be left half shown because a part of it was hidden before.
    secrets: Vec<String>,
}

impl Veil {
    pub fn over(&mut self, secret: &str) {
        self.take(secret);
        // Also without a scheme in front of it: `Bearer TOKEN`.
        self.take(secret.rsplit(' ').next().unwrap_or_default());
    }

    pub fn over_url(&mut self, url: &str) {
        let after_host = url.split_once("://").and_then(|(_, rest)| rest.find(['/', '?']).map(|at| &rest[at..]));
        let Some(secret) = after_host else { return };
        self.take(url);
        for said in [secret.to_owned(), decoded(secret)] {
            self.take(&said);
            self.take(said.trim_start_matches('/'));
            said.split(['/', '?', '&', '=', '#']).for_each(|part| self.take(part));
            // A router names what it has matched: `bot` and `123:TOKEN` of `/bot123:TOKEN`.
            said.split(|c: char| !c.is_alphanumeric() && !"-_".contains(c)).for_each(|part| self.take(part));
        }
    }

    /// Everything else of `text`.
    pub(crate) fn hide(&self, text: &str) -> String {
        let small = text.to_ascii_lowercase();
        let mut shown = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let here = &small[text.len() - rest.len()..];
            let hidden = self.secrets.iter().find(|secret| here.starts_with(secret.as_str()));
            match hidden {
                Some(_) => shown.push_str(mask::MASK),
                None => shown.push(c),
            }
            rest = &rest[hidden.map_or(c.len_utf8(), String::len)..];
        }
        shown
    }

    /// The beginning of what somebody else wrote, fit to be shown. Hidden before it is cut: a cut secret is known by nobody.
    pub fn excerpt(&self, text: &str, max: usize) -> Str {
        let beginning: String = self.hide(text).chars().take(max * 16).collect();
        mask::text(&beginning, max)
    }

    fn take(&mut self, secret: &str) {
        let secret = secret.to_ascii_lowercase();
        if secret.len() >= LEAST && !self.secrets.contains(&secret) {
            self.secrets.push(secret);
            self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }
}

impl std::fmt::Debug for Veil {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a veil over {} secrets", self.secrets.len())
    }
}

/// RFC 3986, 2.1. What is no UTF-8 then, nobody shows as text.
fn decoded(url: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = url.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_part_of_a_url_comes_back_is_hidden_and_its_host_is_not() {
        let mut veil = Veil::default();
        veil.over_url("https://hooks.example.org:8443/T0/in/bot123:SE%43RET-x/?key=hunter%2b2&a=b");
        for (said, shown) in [
            ("no https://hooks.example.org:8443/T0/in/bot123:SE%43RET-x/?key=hunter%2b2&a=b here", "no *** here"),
            ("Cannot POST /T0/in/bot123:SE%43RET-x/?key=hunter%2b2&a=b", "Cannot POST ***"),
            ("Cannot POST /T0/in/bot123:SECRET-x/", "Cannot POST /T0/in/***/"),
            (r#"{"path":"\/T0\/in\/bot123:SECRET-x\/"}"#, r#"{"path":"\/T0\/in\/***\/"}"#),
            ("no bot named SECRET-x, nor secret-X", "no bot named ***, nor ***"),
            ("hunter+2 at hooks.example.org", "*** at hooks.example.org"),
            ("ä b", "ä b"),
        ] {
            assert_eq!(veil.hide(said), shown);
        }
        let mut bare = Veil::default();
        bare.over_url("https://example.org");
        assert_eq!(bare.hide("https://example.org/"), "https://example.org/");
    }

    #[test]
    fn a_secret_is_hidden_before_anything_is_cut_and_with_it_what_sounds_like_one() {
        let mut veil = Veil::default();
        veil.over("Bearer SESAME");
        let said = format!("{}SESAME, password=hunter2", "x".repeat(7));
        assert_eq!(&*veil.excerpt(&said, 9), "xxxxxxx**");
        assert_eq!(&*veil.excerpt(&said, 200), "xxxxxxx***, password=***");
        assert_eq!(format!("{veil:?}"), "a veil over 2 secrets");
    }
}
