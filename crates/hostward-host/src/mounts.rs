//! What is mounted where, as the kernel says it in mountinfo. No mounted path is ever touched for it: a touch of a dead
//! or hung mount fails or never returns.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use hostward_core::ask::{Answer, Fault, Mark, Mount, Reading};

/// One mount: a line of mountinfo (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfo {
    pub id: u64,
    pub point: PathBuf,
    /// `MAJOR:MINOR`: mounts that share it are one file system.
    pub device: String,
    /// The folder of that file system which is mounted here.
    pub root: PathBuf,
    pub fstype: String,
    /// A device, `user@host:/path`, or a word; what is not UTF-8 in it is replaced.
    pub source: String,
    /// Of this mount, not of its file system: `ro,nosuid,relatime`.
    pub options: String,
    /// Of the file system, whatever its mounts say.
    pub super_options: String,
}

/// The host's own, whatever namespace we are in: what a plan changes is changed there.
pub const OF_PID_1: &str = "/proc/1/mountinfo";

/// What a process sees that opens `path`, a mount point in its full length without symbolic links: the topmost mount
/// there. None: nothing is mounted there, or it is hidden below a mount on a folder above.
pub fn mount_at(path: &Path) -> io::Result<Option<MountInfo>> {
    Ok(stack_at(path)?.pop())
}

/// All that is mounted at `path`, the lowest first. Empty when [`mount_at`] has none.
pub fn stack_at(path: &Path) -> io::Result<Vec<MountInfo>> {
    Ok(Table::read(OF_PID_1)?.stack(path))
}

/// The answer to [`hostward_core::ask::Question::Mount`].
pub fn reading(path: &Path) -> Answer {
    let mount = mount_at(path).map_err(|e| Fault::Unreadable(format!("{OF_PID_1}: {e}").into()))?;
    Ok(Reading::Mount(mount.map(|mount| Mount {
        read_only: has(&mount.options, "ro"),
        source: mount.source.into(),
        fstype: mount.fstype.into(),
    })))
}

fn has(options: &str, wanted: &str) -> bool {
    options.split(',').any(|option| option == wanted)
}

impl MountInfo {
    /// It takes no writes: by itself, or because its file system takes none.
    pub fn read_only(&self) -> bool {
        has(&self.options, "ro") || has(&self.super_options, "ro")
    }

    /// That very one.
    pub fn is(&self, mark: &Mark) -> bool {
        (self.id, &*self.device, &*self.source) == (mark.id, &*mark.device, &*mark.source)
    }

    /// One of our own fences.
    pub fn is_fence(&self) -> bool {
        self.source == Mount::FENCE && self.fstype == "tmpfs"
    }
}

/// A whole mountinfo, to be asked of many paths.
#[derive(Debug)]
pub struct Table {
    lines: Vec<Line>,
    /// By the mount on which it is, and where: the last of its kind.
    upper: BTreeMap<(u64, PathBuf), usize>,
    /// Those that lie on no other, by where they are: the last of each. A walk of each of a thousand paths begins here.
    roots: BTreeMap<PathBuf, usize>,
}

#[derive(Debug)]
struct Line {
    parent: u64,
    mount: MountInfo,
}

impl Table {
    /// Reads it once. `file` is [`OF_PID_1`], or that of another process.
    pub fn read(file: &str) -> io::Result<Table> {
        Ok(Table::parse(&fs::read(file)?))
    }

    /// Lines that do not read as the manual has them are left out.
    pub(crate) fn parse(mountinfo: &[u8]) -> Table {
        let lines: Vec<Line> = mountinfo.split(|byte| *byte == b'\n').filter_map(line).collect();
        let ids: BTreeSet<u64> = lines.iter().map(|line| line.mount.id).collect();
        let (mut upper, mut roots) = (BTreeMap::new(), BTreeMap::new());
        for (n, line) in lines.iter().enumerate() {
            let (point, is_own_parent) = (line.mount.point.clone(), line.parent == line.mount.id);
            // The root's own parent is not listed, or is itself.
            if is_own_parent || !ids.contains(&line.parent) {
                roots.insert(point.clone(), n);
            }
            if !is_own_parent {
                upper.insert((line.parent, point), n);
            }
        }
        Table { lines, upper, roots }
    }

    /// All that is mounted at `path`, the lowest first.
    fn stack(&self, path: &Path) -> Vec<MountInfo> {
        self.walk(path).0.into_iter().cloned().collect()
    }

    /// The mount that `path` lies on.
    pub fn below(&self, path: &Path) -> Option<&MountInfo> {
        self.walk(path).1
    }

    /// The same, as if no fence of ours were there.
    pub fn below_fences(&self, path: &Path) -> Option<&MountInfo> {
        let top = self.below(path)?;
        if !top.is_fence() {
            return Some(top);
        }
        let real = self.walk(&top.point).0.into_iter().rfind(|mount| !mount.is_fence());
        real.or_else(|| self.below(top.point.parent()?))
    }

    /// Whether an automount lies where `path` does, with what it mounted on it or without.
    pub fn automount(&self, path: &Path) -> bool {
        let point = self.below(path).map(|mount| &mount.point);
        point.is_some_and(|point| self.walk(point).0.iter().any(|mount| mount.fstype == "autofs"))
    }

    /// Where our fences stand.
    pub fn fences(&self) -> BTreeSet<&Path> {
        self.lines
            .iter()
            .map(|line| &line.mount)
            .filter(|mount| mount.is_fence())
            .map(|mount| &*mount.point)
            .collect()
    }

    /// Where a file system is mounted, each place once, in their order.
    pub fn points_of(&self, device: &str) -> Vec<&MountInfo> {
        let mut mounts: Vec<&MountInfo> = self.lines.iter().map(|line| &line.mount).collect();
        mounts.retain(|mount| mount.device == device);
        mounts.sort_by(|a, b| a.point.cmp(&b.point));
        mounts.dedup_by(|a, b| a.point == b.point);
        mounts
    }

    /// Every mount point in a folder, hidden ones included; the folder itself, too, should it be one.
    pub fn points_in(&self, folder: &Path) -> Vec<&Path> {
        let points = self.lines.iter().map(|line| &*line.mount.point);
        points.filter(|point| point.starts_with(folder)).collect()
    }

    /// Goes down from the root as the kernel does: at each folder onto what is mounted there on the mount that we are in,
    /// and again onto what is mounted on that.
    fn walk(&self, path: &Path) -> (Vec<&MountInfo>, Option<&MountInfo>) {
        let mut inside: Option<&MountInfo> = None;
        let mut on = Vec::new();
        let mut folders: Vec<&Path> = path.ancestors().collect();
        folders.reverse();
        for folder in folders {
            on.clear();
            // One turn a line at most: ids form a tree, but what we read is not ours.
            for _ in 0..=self.lines.len() {
                let above = match inside {
                    Some(mount) => self.upper.get(&(mount.id, folder.to_owned())),
                    None => self.roots.get(folder),
                };
                let Some(above) = above.and_then(|n| self.lines.get(*n)) else { break };
                inside = Some(&above.mount);
                on.push(&above.mount);
            }
        }
        (on, inside)
    }
}

/// `36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw`: id, parent, device, root, mount point, options,
/// any number of tags, a dash, type, source, the file system's options.
fn line(line: &[u8]) -> Option<Line> {
    let mut words = line.split(|byte| *byte == b' ');
    let text = |word: &[u8]| String::from_utf8_lossy(&unescape(word)).into_owned();
    let path = |word: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(unescape(word)));
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<u64>().ok();
    let id = number(words.next()?)?;
    let parent = number(words.next()?)?;
    let device = text(words.next()?);
    let root = path(words.next()?);
    let point = path(words.next()?);
    let options = text(words.next()?);
    let mut words = words.skip_while(|word| *word != b"-").skip(1);
    let fstype = text(words.next()?);
    let source = text(words.next()?);
    let super_options = text(words.next().unwrap_or_default());
    Some(Line { parent, mount: MountInfo { id, point, device, root, fstype, source, options, super_options } })
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
        let stack = Table::parse(SAMPLE.as_bytes()).stack(Path::new(path));
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
    fn what_a_path_lies_on() {
        let table = Table::parse(SAMPLE.as_bytes());
        let below = |path: &str| table.below(Path::new(path)).map(|mount| (mount.id, mount.device.as_str()));
        for (path, expected) in [
            ("/", (67, "0:45")),
            ("/srv/ex/sub/dir", (112, "0:57")),
            ("/srv/exother", (67, "0:45")),
            ("/srv/hid/den", (131, "0:62")),
            ("/srv/hid/seen/x", (132, "0:63")),
        ] {
            assert_eq!(below(path), Some(expected), "{path}");
        }
    }

    #[test]
    fn beneath_our_fences() {
        let table = Table::parse(
            b"67 66 0:45 / / rw - overlay overlay rw\n111 67 0:56 / /srv/ex rw - tmpfs real rw\n\
              112 111 0:57 / /srv/ex ro - tmpfs hostward-fence ro\n113 67 0:58 / /srv/bare ro - tmpfs hostward-fence ro\n\
              114 67 0:56 /sub /srv/again rw - tmpfs real rw\n",
        );
        let below = |path: &str| table.below_fences(Path::new(path)).map(|mount| mount.id);
        for (path, id) in [("/srv/ex", 111), ("/srv/ex/sub", 111), ("/srv/bare", 67), ("/srv", 67)] {
            assert_eq!(below(path), Some(id), "{path}");
        }
        let points: Vec<&Path> = table.points_of("0:56").iter().map(|mount| mount.point.as_path()).collect();
        assert_eq!(points, [Path::new("/srv/again"), Path::new("/srv/ex")]);
        let inside = |folder: &str| table.points_in(Path::new(folder)).len();
        assert_eq!(["/srv/ex", "/srv/e", "/srv"].map(inside), [2, 0, 4]);
    }

    #[test]
    fn automounts_and_fences_are_told() {
        let table = Table::parse(
            b"67 66 0:45 / / rw - overlay overlay rw\n111 67 0:56 / /srv/auto rw - autofs systemd-1 rw\n\
              112 111 0:57 / /srv/auto rw - tmpfs real rw\n113 67 0:58 / /srv/idle rw - autofs systemd-1 rw\n\
              114 67 0:59 / /srv/bare ro - tmpfs hostward-fence ro\n",
        );
        for (path, automount) in
            [("/srv/auto", true), ("/srv/auto/x", true), ("/srv/idle", true), ("/srv/bare", false)]
        {
            assert_eq!(table.automount(Path::new(path)), automount, "{path}");
        }
        assert_eq!(table.fences(), [Path::new("/srv/bare")].into());
    }

    #[test]
    fn a_read_only_file_system_makes_read_only_mounts() {
        let of = |line: &str| Table::parse(line.as_bytes()).lines.pop().map(|line| line.mount.read_only());
        assert_eq!(of("1 1 8:1 / / rw - ext4 /dev/sda rw,errors=remount-ro"), Some(false));
        assert_eq!(of("1 1 8:1 / / rw - ext4 /dev/sda ro,errors=remount-ro"), Some(true));
        assert_eq!(of("1 1 8:1 / / ro,nosuid - ext4 /dev/sda rw"), Some(true));
    }

    #[test]
    fn a_later_line_is_not_always_the_upper_mount() {
        let text = b"9 1 0:1 / /m rw - tmpfs upper rw\n1 1 0:2 / / rw - ext4 root rw\n2 1 0:3 / /n rw - tmpfs x rw\n";
        let found = Table::parse(text).stack(Path::new("/m")).pop().map(|mount| mount.source);
        assert_eq!(found.as_deref(), Some("upper"));
        let stacked =
            b"1 0 0:2 / / rw - ext4 root rw\n9 5 0:1 / /m rw - tmpfs upper rw\n5 1 0:1 / /m rw - tmpfs lower rw\n";
        let found = Table::parse(stacked).stack(Path::new("/m")).pop().map(|mount| mount.source);
        assert_eq!(found.as_deref(), Some("upper"));
    }

    #[test]
    fn a_damaged_escape_stays_as_it_is() {
        for (word, plain) in [(r"a\", r"a\"), (r"a\04", r"a\04"), (r"a\999b", r"a\999b"), (r"\134", r"\")] {
            assert_eq!(unescape(word.as_bytes()), plain.as_bytes(), "{word}");
        }
    }
}
