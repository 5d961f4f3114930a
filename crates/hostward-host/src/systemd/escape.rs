//! A path as a part of a unit's name, as `systemd-escape --path` makes it.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

/// The longest unit name, with its suffix (`UNIT_NAME_MAX`, systemd's unit-name.h).
pub(super) const UNIT_NAME_MAX: usize = 255;

/// `/srv/my-data` is `srv-my\x2ddata`, `/` is `-`. None: the path is not absolute, or has `..` in it.
pub(super) fn escape_path(path: &Path) -> Option<String> {
    if !path.is_absolute() {
        return None;
    }
    let mut name = String::new();
    for component in path.components() {
        let part = match component {
            Component::RootDir | Component::CurDir => continue,
            Component::Normal(part) => part.as_bytes(),
            Component::ParentDir | Component::Prefix(_) => return None,
        };
        if !name.is_empty() {
            name.push('-');
        }
        for byte in part {
            match byte {
                // A leading dot would hide the unit's file.
                b'.' if name.is_empty() => name.push_str(r"\x2e"),
                b if b.is_ascii_alphanumeric() || b":_.".contains(b) => name.push(char::from(*b)),
                b => write!(name, r"\x{b:02x}").expect("a string takes all"),
            }
        }
    }
    if name.is_empty() {
        name.push('-');
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second column is what systemd-escape 252 printed.
    #[test]
    fn paths_become_names() {
        let table = [
            ("/", Some("-")),
            ("/srv", Some("srv")),
            ("/srv/data/", Some("srv-data")),
            ("//srv///data", Some("srv-data")),
            ("/srv/./data", Some("srv-data")),
            ("/srv/my-data", Some(r"srv-my\x2ddata")),
            ("/srv/a b", Some(r"srv-a\x20b")),
            (r"/srv/a\b", Some(r"srv-a\x5cb")),
            ("/.hidden/.x", Some(r"\x2ehidden-.x")),
            ("/srv/a:b_c.d", Some("srv-a:b_c.d")),
            ("/srv/a@b%c", Some(r"srv-a\x40b\x25c")),
            ("/srv/café", Some(r"srv-caf\xc3\xa9")),
            ("/srv/../etc", None),
            ("srv", None),
            ("", None),
        ];
        for (path, name) in table {
            assert_eq!(escape_path(Path::new(path)).as_deref(), name, "{path}");
        }
    }
}
