use hostward_core::ask::{Call, ManifestReading, Space};
use std::fs;
use tempfile::TempDir;

use super::*;
use crate::child::tests::script;

const LONG: Duration = Duration::from_mins(2);

fn path(path: &str) -> PathQ {
    PathQ { path: path.into(), bind: None, user: None, write: Write::Never }
}

/// Folders that exist everywhere, all on the file system of the root.
fn three() -> PathsQ {
    PathsQ { paths: ["/etc", "/usr", "/opt"].map(path).into(), ..PathsQ::default() }
}

fn failed() -> Look {
    Look::Failed { call: Call::List, errno: 107, why: "gone".into() }
}

/// A child that says how often it was started, and answers so many times before it sleeps for ever or ends.
fn child(dir: &TempDir, answers: usize, then: &str) -> PathBuf {
    let said = serde_json::to_string(&Said::Path(failed())).unwrap();
    let said = format!("echo '{said}'; ").repeat(answers);
    script(dir, &format!("echo started >> {}/started; cat > /dev/null; {said}{then}", dir.path().display()))
}

fn started(dir: &TempDir) -> usize {
    fs::read_to_string(dir.path().join("started")).map_or(0, |text| text.lines().count())
}

fn looks(reading: PathsReading) -> Vec<Look> {
    reading.paths.into_iter().map(|path| path.look).collect()
}

#[tokio::test]
async fn one_child_answers_for_all_of_a_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let lookers = Lookers::new(child(&dir, 3, "exit 0"));
    let q = PathsQ { disks: vec![], ..three() };
    assert_eq!(looks(lookers.ask(&q, LONG).await), vec![failed(); 3]);
    assert_eq!(started(&dir), 1);
}

/// One server of several is slow: those behind it are asked all the same.
#[tokio::test]
async fn what_comes_after_the_path_that_hangs_is_asked_by_another_child() {
    let dir = tempfile::tempdir().unwrap();
    let lookers = Lookers::new(child(&dir, 1, "sleep 1000"));
    let looks = looks(lookers.ask(&three(), Duration::from_secs(6)).await);
    assert_eq!((&looks[0], &looks[2]), (&failed(), &failed()));
    assert!(matches!(&looks[1], Look::Stuck { at, .. } if at == Path::new("/usr")), "{looks:?}");
    assert_eq!(started(&dir), 2);
}

/// Where nobody answers, each is not waited for.
#[tokio::test]
async fn after_so_many_that_hang_the_others_are_taken_to() {
    let dir = tempfile::tempdir().unwrap();
    let lookers = Lookers::new(child(&dir, 0, "sleep 1000"));
    let many = ["/etc", "/usr", "/opt", "/srv", "/bin", "/lib"].map(path).into();
    let looks = looks(lookers.ask(&PathsQ { paths: many, ..PathsQ::default() }, Duration::from_secs(12)).await);
    let at: Vec<&Path> = looks
        .iter()
        .filter_map(|look| match look {
            Look::Stuck { at, .. } => Some(&**at),
            _ => None,
        })
        .collect();
    assert_eq!(at, ["/etc", "/usr", "/opt", "/srv", "/srv", "/srv"].map(Path::new));
    assert_eq!(started(&dir), HANGS_MAX);
}

/// Two watches, or the looks of an hour: nobody is asked on a mount that is stuck, and it is free when its child has ended.
#[tokio::test]
async fn a_stuck_mount_has_one_child_until_that_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let lookers = Lookers::new(child(&dir, 3, "exit 0"));
    let table = Table::read(OF_PID_1).unwrap();
    let device = lane(For::Paths, Some(&table), Path::new("/etc"));
    let soon = Instant::now() + LONG;
    let turn = lookers.lanes.enter(&device, soon).await.unwrap();
    turn.stick("/etc".into(), Instant::now());
    assert_eq!(lookers.stuck(), 1);
    for _ in 0..240 {
        let looks = looks(lookers.ask(&three(), LONG).await);
        assert!(looks.iter().all(|look| matches!(look, Look::Stuck { .. })), "{looks:?}");
    }
    assert_eq!(started(&dir), 0);
    drop(turn);
    assert_eq!((lookers.stuck(), looks(lookers.ask(&three(), LONG).await)), (0, vec![failed(); 3]));
    assert_eq!(started(&dir), 1);
}

/// Each keeps its memory.
#[tokio::test]
async fn so_many_mounts_hang_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let lookers = Lookers::new(child(&dir, 3, "exit 0"));
    let soon = Instant::now() + LONG;
    let mut turns = Vec::new();
    for n in 0..lanes::STUCK_MAX {
        let turn = lookers.lanes.enter(&format!("0:9{n}"), soon).await.unwrap();
        turn.stick("/srv".into(), Instant::now());
        turns.push(turn);
    }
    let found = looks(lookers.ask(&three(), LONG).await);
    assert!(found.iter().all(|look| matches!(look, Look::Unasked(Fault::Probe(_)))), "{found:?}");
    assert_eq!(started(&dir), 0);
    turns.pop();
    assert_eq!(looks(lookers.ask(&three(), LONG).await), vec![failed(); 3]);
}

#[tokio::test]
async fn a_child_that_fails_is_our_own_fault() {
    let dir = tempfile::tempdir().unwrap();
    for then in ["exit 3", "echo nonsense"] {
        let found = looks(Lookers::new(child(&dir, 0, then)).ask(&three(), LONG).await);
        assert!(found.iter().all(|look| matches!(look, Look::Unasked(Fault::Probe(_)))), "{then}: {found:?}");
    }
    let nobody = looks(Lookers::new("/nonexistent/hostward".into()).ask(&three(), LONG).await);
    assert!(nobody.iter().all(|look| matches!(look, Look::Unasked(Fault::Probe(_)))), "{nobody:?}");
}

#[tokio::test]
async fn a_manifest_that_hangs_says_so_and_the_declared_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("list");
    fs::write(&file, "").unwrap();
    let manifest = ManifestQ { file, roots: vec![], user: None, write: Write::Never };
    let q = PathsQ { manifest: Some(manifest), ..PathsQ::default() };
    let reading = Lookers::new(child(&dir, 0, "sleep 1000")).ask(&q, Duration::from_secs(6)).await;
    let unread = ManifestReading { unread: Some(Fault::Timeout), ..ManifestReading::default() };
    assert_eq!((reading.manifest, reading.paths), (Some(unread), vec![]));
}

#[test]
fn where_a_path_lies_is_told_without_touching_it() {
    let mount = MountInfo {
        id: 1,
        point: "/srv/hot".into(),
        device: "0:45".into(),
        root: "/jobs/7".into(),
        fstype: "fuse.sshfs".into(),
        source: "me@box:/data".into(),
        options: "rw".into(),
        super_options: "rw".into(),
    };
    let folder = |path: &str| on(&mount, Path::new(path)).folder;
    assert_eq!((folder("/srv/hot"), folder("/srv/hot/a/b")), ("/jobs/7".into(), "/jobs/7/a/b".into()));
    assert!(folder("/srv/hot").as_os_str().len() == "/jobs/7".len(), "no slash is added");
}

/// A mount that came and went: the child looked at the disk beneath it.
#[test]
fn an_answer_counts_only_where_the_same_is_mounted_before_and_after_it() {
    let root = "67 66 0:45 / / rw - overlay overlay rw\n";
    let (bare, mounted) = (root.to_owned(), format!("{root}111 67 0:56 / /srv/x rw - fuse.sshfs box rw\n"));
    let table = |text: &str| Some(Table::parse(text.as_bytes()));
    for (before, after, counts) in
        [(&mounted, &mounted, true), (&mounted, &bare, false), (&bare, &mounted, false), (&bare, &bare, true)]
    {
        let before = table(before);
        let mut seen = placed(before.as_ref(), &path("/srv/x"));
        seen.look = Look::Answered(Space::default());
        unsettle(&mut seen, before.as_ref(), table(after).as_ref());
        assert_eq!(matches!(seen.look, Look::Answered(_)), counts, "{after}");
    }
}
