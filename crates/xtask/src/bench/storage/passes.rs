//! Passes over many paths that are well: a thousand binds of one disk, and binds of one sshfs and of four.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use hostward_tests::{Guard, HotPaths, QUICK_HOST};

use crate::bench::looks::look;
use crate::bench::report::{Figure, median};
use crate::bench::{Programs, host};

const RUNS: usize = 30;
const GOAL_MS: f64 = 50.0;
const BINDS: usize = 1000;
const FAR_BINDS: usize = 50;
/// The first is watched by itself, the others together.
const FAR: usize = 5;
/// Four at once are to take as long as one would, and half of that again: their server has two CPUs.
const GOAL_SHARE: f64 = 1.5;

/// NAME, and COUNT folders of each further word: made, bound, and listed in a manifest.
const BIND: &str = r#"
name=$1 count=$2; shift 2
mkdir -p /etc/passes
for cold; do
    for n in $(seq -w "$count"); do
        echo "$cold/$n /srv/jobs/$name${cold//\//-}-$n"
    done
done >/etc/passes/$name
xargs mkdir -p </etc/passes/$name
sed 's/$/ none bind 0 0/' /etc/passes/$name >/etc/passes/fstab
mount --all --fstab /etc/passes/fstab
"#;

/// Without caches: each look asks the server.
const MOUNT_FAR: &str = r"
for n in $(seq 0 $(($1 - 1))); do
    mkdir -p /srv/remote/far$n /srv/far$n
    systemd-run --quiet --unit=far$n sshfs -f root@127.0.0.1:/srv/remote/far$n /srv/far$n \
        -o port=2222,IdentityFile=/etc/hot/key,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,dir_cache=no
done
for n in $(seq 0 $(($1 - 1))); do
    until mountpoint --quiet /srv/far$n; do sleep 0.1; done
done
";

pub(super) fn measure(programs: &Programs) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-passes", programs)?;
    HotPaths::install(&sandbox)?;
    let script = |script: &str, words: &[&str]| -> Result<String> {
        let bash = ["bash", "-euo", "pipefail", "-c", script, "bash"];
        sandbox.exec(bash.iter().chain(words))?.ok()
    };
    script(MOUNT_FAR, &[&FAR.to_string()])?;
    sandbox.sh("mkdir /srv/cold; mount -t tmpfs cold /srv/cold")?;
    let far: Vec<String> = (0..FAR).map(|n| format!("/srv/far{n}")).collect();
    let far: Vec<&str> = far.iter().map(String::as_str).collect();
    let [binds, far_binds] = [BINDS, FAR_BINDS].map(|count| count.to_string());
    let watches = [
        ("near", [&["near", &*binds], &["/srv/cold"][..]].concat()),
        ("one", [&["one", &*far_binds], &far[..1]].concat()),
        ("four", [&["four", &*far_binds], &far[1..]].concat()),
    ];
    let mut config = QUICK_HOST.to_owned();
    for (name, words) in &watches {
        script(BIND, words)?;
        write!(
            config,
            "[storage.{name}]\nmode = \"observe\"\ninterval = \"1h\"\nroots = [\"/srv/jobs\"]\n\
             [storage.{name}.manifest]\nfile = \"/etc/passes/{name}\"\n"
        )?;
    }
    let guard = Guard::install_binary(&sandbox, &programs.hostward, &config)?;
    sandbox.sh("systemctl start hostward")?;
    for (name, _) in &watches {
        let up = format!("hostward_watch_up{{watch=\"storage.{name}\"}} 1");
        sandbox.wait_until(&up, Duration::from_mins(1), || guard.has_metric(&up))?;
    }

    let mut millis = [const { Vec::new() }; 3];
    // In turn, so that a busy moment meets all of them.
    for _ in 0..RUNS {
        for ((name, _), millis) in watches.iter().zip(&mut millis) {
            millis.push(look(&guard, &format!("storage.{name}"))?);
        }
    }
    let [near, one, four] = &millis;
    let figure = |what: String, millis: &[f64]| Figure::many("storage", what, "ms", millis);
    Ok(vec![
        figure(format!("a pass over {BINDS} binds of a tmpfs"), near).goal(GOAL_MS),
        figure(format!("a pass over {FAR_BINDS} binds of an sshfs"), one),
        figure(format!("a pass over {FAR_BINDS} binds of each of four"), four)
            .goal(median(one) * GOAL_SHARE)
            .peer("of one", median(one)),
    ])
}
