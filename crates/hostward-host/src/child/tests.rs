use hostward_core::ask::{ExecReading, GateQ, GateReading};
use rustix::fs::{FileType, Mode, OFlags};
use tempfile::TempDir;

use super::*;

const LONG: Duration = Duration::from_secs(20);

/// Written by another process: ours forks in other tests meanwhile, and a program that anybody still has open for
/// writing cannot be executed (ETXTBSY).
pub(crate) fn script(dir: &TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("program");
    let mut writer = std::process::Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    write!(writer.stdin.take().unwrap(), "#!/bin/sh\n{text}\n").unwrap();
    assert!(writer.wait().unwrap().success());
    path
}

fn gate() -> Question {
    Question::Gate(GateQ { sentinels: vec!["/nonexistent".into()], ..GateQ::default() })
}

/// The line that a child answers with.
fn said(answer: Answer, left: bool) -> String {
    serde_json::to_string(&Said { answer, left }).unwrap()
}

async fn ask(program: &Path, question: &Question, deadline: Duration) -> Answer {
    Children::new(program.to_owned()).ask(question, deadline).await
}

async fn faults(dir: &TempDir, text: &str) -> String {
    match ask(&script(dir, text), &gate(), LONG).await {
        Err(Fault::Probe(text)) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_same_is_answered_as_often_as_it_is_asked() {
    let dir = TempDir::new().unwrap();
    // It answers once, and takes its time to end.
    let answer = said(Ok(Reading::Mount(None)), true);
    let program = script(&dir, &format!("read -r asked; echo '{answer}'; exec >&-; sleep 0.3"));
    let children = Children::new(program);
    for _ in 0..5 {
        assert_eq!(children.ask(&gate(), LONG).await, Ok(Reading::Mount(None)));
        assert_eq!(children.ending(), 0);
    }
}

#[tokio::test]
async fn an_answer_comes_back_whole_and_the_child_was_asked_by_its_subcommand() {
    let dir = tempfile::tempdir().unwrap();
    let mut out = Vec::new();
    let question = message(&gate()).unwrap();
    serve(&mut &question[..], &mut out).unwrap();
    fs::write(dir.path().join("answer"), out).unwrap();
    let here = dir.path().display();
    let text = format!("read -r asked; echo \"$asked\" > {here}/asked; echo $1 > {here}/argument; cat {here}/answer");
    let program = script(&dir, &text);
    let sentinels = vec![hostward_core::ask::SentinelState::Absent];
    let reading = GateReading { sentinels, ..GateReading::default() };
    assert_eq!(ask(&program, &gate(), LONG).await, Ok(Reading::Gate(reading)));
    assert_eq!(fs::read(dir.path().join("asked")).unwrap(), question);
    assert_eq!(fs::read_to_string(dir.path().join("argument")).unwrap(), "__probe\n");
}

#[tokio::test]
async fn at_the_deadline_the_whole_group_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("alive");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let reader = rustix::fs::open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    // The grandchild holds the pipe: it is readable to its end only when nobody of the group is left.
    let program = script(&dir, &format!("exec 3>{}; echo up >&3; sleep 1000 & sleep 1000", fifo.display()));
    let answer = ask(&program, &gate(), Duration::from_secs(2)).await;
    assert_eq!(answer, Err(Fault::Timeout));
    let read_all = tokio::task::spawn_blocking(move || {
        let flags = rustix::fs::fcntl_getfl(&reader).unwrap() - OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(&reader, flags).unwrap();
        let mut said = String::new();
        fs::File::from(reader).read_to_string(&mut said).unwrap();
        said
    });
    let said = tokio::time::timeout(LONG, read_all).await.expect("somebody of the group lives on").unwrap();
    assert_eq!(said, "up\n", "it had started");
}

#[tokio::test]
async fn a_child_without_an_answer_is_our_own_fault() {
    let dir = tempfile::tempdir().unwrap();
    for (text, reason) in [
        ("exit 3", "exit status: 3"),
        ("echo nonsense", "exit status: 0"),
        ("kill -9 $$", "signal: 9"),
        ("while echo 0123456789012345678901234567890123456789; do :; done", "signal: 13"),
        ("head -c 9000000 /dev/zero | tr '\\0' a", "longer than 8 MiB"),
    ] {
        let fault = faults(&dir, text).await;
        assert!(fault.contains(reason), "{text}: {fault}");
    }
    let missing = ask(Path::new("/nonexistent/hostward"), &gate(), LONG).await;
    assert!(matches!(&missing, Err(Fault::Probe(text)) if text.contains("/nonexistent/hostward")), "{missing:?}");
}

#[tokio::test]
async fn a_question_whose_child_hangs_in_the_kernel_is_not_asked_again_and_such_children_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let asked = dir.path().join("asked");
    let children = Children::new(script(&dir, &format!("echo >> {}; exit 3", asked.display())));
    let hung = children.ending.enter(message(&gate()).unwrap());
    assert_eq!(children.ask(&gate(), LONG).await, Err(Fault::Timeout));
    drop(hung);
    let mut others: Vec<_> = (0..ENDING_MAX).map(|n| children.ending.enter(vec![u8::from(n > 9)])).collect();
    let full = children.ask(&gate(), LONG).await;
    assert!(matches!(&full, Err(Fault::Probe(text)) if text.contains("hang in the kernel")), "{full:?}");
    assert!(!asked.exists(), "no process was started for either");
    others.pop();
    let free = children.ask(&gate(), LONG).await;
    assert!(matches!(&free, Err(Fault::Probe(text)) if text.contains("exit status: 3")), "{free:?}");
    drop(others);
    assert!(children.ending.questions().is_empty());
}

#[tokio::test]
async fn a_question_is_asked_again_at_once_whatever_became_of_its_last_child() {
    let dir = tempfile::tempdir().unwrap();
    // It has answered, and does not end by itself.
    let text = format!("read -r asked; echo '{}'; exec >&-; sleep 1000", said(Ok(Reading::Mount(None)), true));
    let children = Children::new(script(&dir, &text));
    let question = gate();
    for _ in 0..5 {
        let (one, other) = tokio::join!(children.ask(&question, LONG), children.ask(&question, LONG));
        assert!(one.is_ok() && other.is_ok(), "{one:?}, {other:?}");
    }
    let children = Children::new(script(&dir, "sleep 1000"));
    for _ in 0..3 {
        let dropped = tokio::time::timeout(Duration::from_millis(50), children.ask(&gate(), LONG)).await;
        assert!(dropped.is_err(), "another child, which sleeps as well: {dropped:?}");
    }
    assert_eq!(children.ending(), 0, "a child that ends when it is killed is none that hangs");
}

/// As a real one does while something of its check hangs in the kernel: it has answered, and stays.
#[tokio::test]
async fn a_check_of_which_something_is_left_is_not_run_again_before_that_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (begun, free) = (dir.path().join("begun"), dir.path().join("free"));
    let reading = Reading::Exec(ExecReading::TimedOut { after: Ms(50), excerpt: "".into() });
    let answer = said(Ok(reading.clone()), true);
    let stays = format!("exec >&-; while [ ! -e {} ]; do sleep 0.02; done", free.display());
    let text = format!("echo >> {}; echo '{answer}'; {stays}", begun.display());
    let children = Children::new(script(&dir, &text));
    let check = ExecQ { run: vec!["/check".into()], user: None, timeout: Ms::ZERO };
    assert_eq!(children.run(&check, LONG).await, Ok(reading.clone()));
    for _ in 0..3 {
        assert_eq!(children.run(&check, LONG).await, Err(Fault::Timeout));
    }
    assert_eq!((children.ending(), fs::read(&begun).unwrap().len()), (1, 1));
    fs::write(&free, "").unwrap();
    while children.ending() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(children.run(&check, LONG).await, Ok(reading));
}

#[test]
fn a_child_answers_no_question_about_anything_but_files() {
    let question = Question::Unit(hostward_core::id::UnitName::new("a.service"));
    assert!(matches!(answer(&question), Err(Fault::Probe(_))));
    assert!(serve(&mut &b"{"[..], &mut Vec::new()).is_err());
}

/// One that answers each question with how many it was asked.
fn counts(dir: &TempDir) -> Children {
    let answer = said(Ok(Reading::Exec(ExecReading::Exited { code: 0, excerpt: "".into() })), false);
    let answer = answer.replace("\"code\":0", "\"code\":'$n'");
    Children::new(script(dir, &format!("n=0\nwhile read -r asked; do n=$((n+1)); echo '{answer}'; done")))
}

async fn count(children: &Children) -> i32 {
    match children.ask(&gate(), LONG).await {
        Ok(Reading::Exec(ExecReading::Exited { code, .. })) => code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_that_has_answered_answers_the_next_question() {
    let dir = tempfile::tempdir().unwrap();
    let children = counts(&dir);
    assert_eq!((count(&children).await, count(&children).await), (1, 2));
    let together = tokio::join!(count(&children), count(&children));
    assert_eq!(together, (3, 1), "one at a time: the other is another child's");
    assert_eq!(children.ending(), 0);
}

#[tokio::test]
async fn one_that_ended_while_it_was_kept_is_asked_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let children = counts(&dir);
    assert_eq!(count(&children).await, 1);
    let mut group = children.kept.take().unwrap();
    let child = group.child.as_mut().unwrap();
    kill_group(child);
    child.wait().await.unwrap();
    children.kept.put(group);
    assert_eq!(count(&children).await, 1);
}

#[tokio::test]
async fn one_that_is_not_asked_any_more_ends() {
    let dir = tempfile::tempdir().unwrap();
    let children = Children { kept: Kept::new(Duration::from_millis(50)), ..counts(&dir) };
    assert_eq!(count(&children).await, 1);
    let kept = children.kept.take().unwrap();
    let process = PathBuf::from(format!("/proc/{}", kept.child.as_ref().unwrap().id().unwrap()));
    assert!(process.exists());
    children.kept.put(kept);
    let ended = async {
        while process.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, ended).await.expect("nobody asks it");
    assert!(children.kept.take().is_none());
}
