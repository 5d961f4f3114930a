//! What is mounted where, as the kernel says it in `/proc/self/mountinfo`. No mounted path is ever touched for it: a
//! touch of a dead or hung mount fails or never returns.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use hostward_core::ask::{Answer, Fault, Mount, Reading};

/// One mount: a line of mountinfo (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfo {
    pub id: u64,
    pub fstype: String,
    /// A device, `user@host:/path`, or a word; what is not UTF-8 in it is replaced.
    pub source: String,
    /// Of this mount, not of its file system: `ro,nosuid,relatime`.
    pub options: String,
}

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// What a process sees that opens `path`, a mount point in its full length without symbolic links: the topmost mount
/// there. None: nothing is mounted there, or it is hidden below a mount on a folder above.
pub fn mount_at(path: &Path) -> io::Result<Option<MountInfo>> {
    Ok(stack_at(path)?.pop())
}

/// All that is mounted at `path`, the lowest first. Empty when [`mount_at`] has none.
pub fn stack_at(path: &Path) -> io::Result<Vec<MountInfo>> {
    Ok(stack(&parse(&fs::read(MOUNTINFO)?), path))
}

/// The answer to [`hostward_core::ask::Question::Mount`].
pub fn reading(path: &Path) -> Answer {
    let mount = mount_at(path).map_err(|e| Fault::Unreadable(format!("{MOUNTINFO}: {e}").into()))?;
    Ok(Reading::Mount(mount.map(|mount| Mount {
        read_only: mount.options.split(',').any(|option| option == "ro"),
        source: mount.source.into(),
        fstype: mount.fstype.into(),
    })))
}

struct Line {
    parent: u64,
    point: Vec<u8>,
    mount: MountInfo,
}

/// Goes down from the root as the kernel does: at each folder onto what is mounted there on the mount that we are in,
/// and again onto what is mounted on that.
fn stack(lines: &[Line], path: &Path) -> Vec<MountInfo> {
    // The root's own parent is not listed, or is itself.
    let listed = |id: u64| lines.iter().any(|line| line.mount.id == id);
    let mut inside: Option<u64> = None;
    let mut on = Vec::new();
    let mut folders: Vec<&Path> = path.ancestors().collect();
    folders.reverse();
    for folder in folders {
        on.clear();
        // One turn a line at most: ids form a tree, but what we read is not ours.
        for _ in 0..=lines.len() {
            let above = lines.iter().rfind(|line| {
                let within = match inside {
                    Some(id) => line.parent == id && line.mount.id != id,
                    None => line.parent == line.mount.id || !listed(line.parent),
                };
                within && line.point == folder.as_os_str().as_bytes()
            });
            let Some(above) = above else { break };
            inside = Some(above.mount.id);
            on.push(above.mount.clone());
        }
    }
    on
}

/// Lines that do not read as the manual has them are left out.
fn parse(mountinfo: &[u8]) -> Vec<Line> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw`: id, parent, device, root, mount point, options,
/// any number of tags, a dash, type, source, the file system's options.
fn line(line: &[u8]) -> Option<Line> {
    let mut words = line.split(|byte| *byte == b' ');
    let text = |word: &[u8]| String::from_utf8_lossy(&unescape(word)).into_owned();
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<u64>().ok();
    let id = number(words.next()?)?;
    let parent = number(words.next()?)?;
    let point = unescape(words.nth(2)?);
    let options = text(words.next()?);
    let mut words = words.skip_while(|word| *word != b"-").skip(1);
    let fstype = text(words.next()?);
    let source = text(words.next()?);
    Some(Line { parent, point, mount: MountInfo { id, fstype, source, options } })
}

/// Space, tab, newline and backslash are `\ooo`.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *byte == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        let (byte, taken) = octal.map_or((*byte, 1), |decoded| (decoded, 4));
        plain.push(byte);
        rest = &rest[taken..];
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r"67 66 0:45 / / rw,relatime shared:1 - overlay overlay rw
68 67 0:46 / /proc rw - proc proc rw
111 67 0:56 / /srv/ex rw,relatime shared:2 master:1 - tmpfs real rw
112 111 0:57 / /srv/ex ro,nosuid - tmpfs hostward-fence ro,size=4k
120 67 0:60 / /srv/a\040b\134c\011d rw - fuse.sshfs me@host:/my\040data rw,user_id=0
130 67 0:61 / /srv/hid/den rw - tmpfs hidden rw
131 67 0:62 / /srv/hid rw - tmpfs cover rw
132 131 0:63 / /srv/hid/seen rw - tmpfs seen rw
not a line
140 67 0:64
";

    fn at(path: &str) -> String {
        let stack = stack(&parse(SAMPLE.as_bytes()), Path::new(path));
        let shown: Vec<String> =
            stack.iter().map(|m| format!("{} {} {} {}", m.id, m.fstype, m.source, m.options)).collect();
        shown.join("; ")
    }

    #[test]
    fn the_topmost_mount_of_a_path() {
        let table = [
            ("/", "67 overlay overlay rw,relatime"),
            ("/proc", "68 proc proc rw"),
            ("/srv/ex", "111 tmpfs real rw,relatime; 112 tmpfs hostward-fence ro,nosuid"),
            ("/srv/ex/sub", ""),
            ("/srv", ""),
            ("/srv/a b\\c\td", "120 fuse.sshfs me@host:/my data rw"),
            ("/srv/hid", "131 tmpfs cover rw"),
            ("/srv/hid/den", ""),
            ("/srv/hid/seen", "132 tmpfs seen rw"),
        ];
        for (path, expected) in table {
            assert_eq!(at(path), expected, "{path}");
        }
    }

    #[test]
    fn a_later_line_is_not_always_the_upper_mount() {
        let text = b"9 1 0:1 / /m rw - tmpfs upper rw\n1 1 0:2 / / rw - ext4 root rw\n2 1 0:3 / /n rw - tmpfs x rw\n";
        let found = stack(&parse(text), Path::new("/m")).pop().map(|mount| mount.source);
        assert_eq!(found.as_deref(), Some("upper"));
        let stacked =
            b"1 0 0:2 / / rw - ext4 root rw\n9 5 0:1 / /m rw - tmpfs upper rw\n5 1 0:1 / /m rw - tmpfs lower rw\n";
        let found = stack(&parse(stacked), Path::new("/m")).pop().map(|mount| mount.source);
        assert_eq!(found.as_deref(), Some("upper"));
    }

    #[test]
    fn a_damaged_escape_stays_as_it_is() {
        for (word, plain) in [(r"a\", r"a\"), (r"a\04", r"a\04"), (r"a\999b", r"a\999b"), (r"\134", r"\")] {
            assert_eq!(unescape(word.as_bytes()), plain.as_bytes(), "{word}");
        }
    }
}
