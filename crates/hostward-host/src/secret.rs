//! Secrets: read when they are needed, from where systemd or the operator put them, and kept nowhere.

use std::path::{Path, PathBuf};

use hostward_core::ask::{Fault, Secret};

use crate::files;

/// A token or a password is far shorter.
const MAX_SECRET: usize = 64 * 1024;

/// One line, without its end. What is missing or open to others is a mistake in what was declared, and named.
pub(crate) fn read(secret: &Secret) -> Result<String, Fault> {
    read_from(secret, std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).as_deref())
}

fn read_from(secret: &Secret, credentials: Option<&Path>) -> Result<String, Fault> {
    let config = |why: String| Fault::Config(why.into());
    let (path, what) = match (secret, credentials) {
        (Secret::File(path), _) => (path.clone(), format!("secret '{}'", path.display())),
        (Secret::Credential(name), Some(dir)) => (dir.join(&**name), format!("credential '{name}'")),
        (Secret::Credential(name), None) => {
            let help = format!("add LoadCredential={name}:/path to hostward.service");
            return Err(config(format!("credential '{name}' is not there: {help}")));
        }
    };
    // systemd keeps credentials from others by the directory: their own modes are its own affair.
    if matches!(secret, Secret::File(_)) {
        private(&path, &what)?;
    }
    let contents = files::read("secret", &path, MAX_SECRET).map_err(|fault| match fault {
        Fault::Unreadable(why) => Fault::Config(why),
        other => other,
    })?;
    let text = String::from_utf8(contents.bytes).map_err(|_| config(format!("{what} is not UTF-8")))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    if line.is_empty() || line.contains(char::is_control) {
        return Err(config(format!("{what} is not one line of text")));
    }
    Ok(line.to_owned())
}

fn private(path: &Path, what: &str) -> Result<(), Fault> {
    let config = |why: String| Fault::Config(why.into());
    let stat = rustix::fs::stat(path).map_err(|e| config(format!("{what}: {e}")))?;
    if stat.st_mode & 0o077 != 0 {
        return Err(config(format!("{what} is open to others: chmod 0600")));
    }
    let ours = rustix::process::geteuid().as_raw();
    if stat.st_uid != 0 && stat.st_uid != ours {
        return Err(config(format!("{what} belongs to neither root nor us: chown root")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_one_private_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read_from(&Secret::File(path), None)
        };
        assert_eq!(file("well", "sesame\n", 0o600).as_deref(), Ok("sesame"));
        for (name, text, mode, why) in [
            ("open", "sesame", 0o640, "open to others"),
            ("empty", "\n", 0o600, "not one line"),
            ("lines", "ses\name\n", 0o600, "not one line"),
        ] {
            let fault = file(name, text, mode).unwrap_err();
            assert_eq!(fault.label(), "config");
            let said = fault.to_string();
            assert!(said.contains(why) && said.contains(name) && !said.contains("sesame"), "{said}");
        }
        let missing = read_from(&Secret::File(dir.path().join("none")), None).unwrap_err();
        assert!(matches!(&missing, Fault::Config(why) if why.contains("none")), "{missing:?}");
    }

    #[test]
    fn a_credential_is_looked_for_where_systemd_puts_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token"), "sesame").unwrap();
        let token = Secret::Credential("token".into());
        assert_eq!(read_from(&token, Some(dir.path())).as_deref(), Ok("sesame"));
        let unset = read_from(&token, None).unwrap_err();
        assert!(matches!(&unset, Fault::Config(why) if why.contains("LoadCredential=token:")), "{unset:?}");
        let other = read_from(&Secret::Credential("other".into()), Some(dir.path())).unwrap_err();
        assert!(matches!(&other, Fault::Config(why) if why.contains("other")), "{other:?}");
    }
}
