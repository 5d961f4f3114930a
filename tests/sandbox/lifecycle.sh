# Boot, enter, take down. Sourced by `sandbox`; state of one sandbox is the folder $D:
#   init, pidns (PID 1 as the host numbers it, its pid namespace), supervisor, owner, cgroups, log, root -> /proc/PID/root

alive() {
    local pid
    pid=$(cat "$D/init" 2>/dev/null) && [ "$(readlink "/proc/$pid/ns/pid" 2>/dev/null)" = "$(cat "$D/pidns" 2>/dev/null)" ]
}

# A pid alone may be another process by now; with its start time it can't.
identity() { local stat; stat=$(cat "/proc/$1/stat" 2>/dev/null) && stat=${stat##*) } && set -- "$1" $stat && echo "$1 ${21}"; }

owner_gone() {
    local pid
    read -r pid _ 2>/dev/null <"$D/owner" || return 1
    [ "$(identity "$pid")" != "$(cat "$D/owner")" ]
}

# Two steps. The pid namespace first, where the process moves into the cgroup /exec beside systemd's own; then the rest.
# So nsenter's waiting parent stays out of that cgroup: inside it would read as pid 0, which systemd answers with EIO.
enter() {
    nsenter -t "$(cat "$D/init")" -p -- /bin/sh -c '
        init=$1 dirs=$2; shift 2
        for dir in $dirs; do [ ! -e "$dir/exec/cgroup.procs" ] || echo 0 >"$dir/exec/cgroup.procs"; done
        exec nsenter -t "$init" -m -u -i -n -C -- "$@"' sh "$(cat "$D/init")" "$(cgroup_dirs)" \
        /usr/bin/env -i HOME=/root USER=root LOGNAME=root SHELL=/bin/bash LANG=C.UTF-8 TERM="${TERM:-dumb}" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /bin/sh -c 'cd /root; exec "$@"' sh "$@"
}

fail_boot() { [ ! -s "$D/log" ] || cat "$D/log" >&2; down; die "$@"; }

# The supervisor (unshare) stays as the parent of PID 1; it must hold on to none of the caller's files.
start_supervisor() {
    (
        local fd
        for fd in /proc/$BASHPID/fd/*; do fd=${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-"; done
        exec setsid unshare --pid --fork --mount --propagation private --ipc --uts --net bash "$SELF" __namespaced "$NAME"
    ) </dev/null >"$D/log" 2>&1 &
    echo $! >"$D/supervisor"
}

find_init() {
    local supervisor pid='' turn
    supervisor=$(cat "$D/supervisor")
    for ((turn = 0; turn < 1000; turn++)); do
        pid=$(tr -d ' ' <"/proc/$supervisor/task/$supervisor/children" 2>/dev/null || true)
        # a child that is still in our own pid namespace is setsid's fork, not yet PID 1
        if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/ns/pid")" != "$(readlink /proc/self/ns/pid)" ]; then break; fi
        kill -0 "$supervisor" 2>/dev/null || fail_boot "'$NAME': unshare failed"
        sleep 0.01
    done
    [ -n "$pid" ] || fail_boot "'$NAME': no PID 1 after 10 s"
    readlink "/proc/$pid/ns/pid" >"$D/pidns"
    echo "$pid" >"$D/init"
    ln -sfn "/proc/$pid/root" "$D/root"
}

await_manager() {
    local pid turn
    pid=$(cat "$D/init")
    for ((turn = 0; turn < BOOT_SECONDS * 100; turn++)); do
        if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = systemd ] && [ -S "/proc/$pid/root/run/systemd/private" ]; then return; fi
        [ -e "/proc/$pid" ] || fail_boot "'$NAME': PID 1 died"
        sleep 0.01
    done
    fail_boot "'$NAME': the manager did not open its socket in $BOOT_SECONDS s"
}

up() {
    local answer dir turn
    ! alive || die "'$NAME' is already up"
    down
    export SANDBOX_CGROUP=${SANDBOX_CGROUP:-unified} SANDBOX_BIND=${SANDBOX_BIND:-} SANDBOX_STATE=$STATE
    mkdir -p "$D/mnt"
    chmod 700 "$STATE"
    if [ -n "${SANDBOX_OWNER:-}" ]; then
        identity "$SANDBOX_OWNER" | { read -r _ start; echo "$SANDBOX_OWNER $start"; } >"$D/owner"
    fi
    hierarchies >"$D/cgroups"
    create_cgroups
    start_supervisor
    find_init
    await_manager
    # On a busy machine the manager's socket may be there before the manager answers on it: no answer is asked again.
    for ((turn = 0; turn < BOOT_SECONDS * 10; turn++)); do
        answer=$(enter timeout $BOOT_SECONDS systemctl is-system-running --wait 2>/dev/null || true)
        [ -z "$answer" ] || break
        sleep 0.1
    done
    for dir in $(cgroup_dirs); do cgroup_mkdir "$dir/exec"; done
    case $answer in
    running) ;;
    degraded) enter systemctl list-units --failed --no-pager --no-legend >&2 || true ;;
    *)
        enter timeout 5 systemctl list-jobs --no-pager >&2 || true
        enter timeout 5 journalctl -b --no-pager -n 30 >&2 || true
        fail_boot "'$NAME' did not come up: ${answer:-no answer}"
        ;;
    esac
    [ ! -e "$D/owner" ] || setsid --fork bash "$SELF" __guard "$NAME" "$SANDBOX_OWNER" </dev/null >/dev/null 2>&1
}

# Waits for the owner's end, then cleans up after it: so also a SIGKILLed test leaves nothing behind.
guard() {
    while alive && ! owner_gone; do sleep 0.5; done
    ! alive || down
}

# Loop devices are the kernel's, not a namespace's: those whose file lives in this sandbox.
own_loops() {
    local loop device inode file
    while read -r loop device inode file; do
        [ "$(stat -c '%Hd:%Ld %i' "$D/root$file" 2>/dev/null)" != "$device $inode" ] || echo "$loop"
    done < <(losetup -ln -O NAME,BACK-MAJ:MIN,BACK-INO,BACK-FILE 2>/dev/null || true)
}

down() {
    [ -d "$D" ] || return 0
    exec 9>"$STATE/.$NAME.lock"     # a guard and a test may both be at it
    flock 9
    [ -d "$D" ] || return 0
    local pid supervisor loops='' loop turn
    supervisor=$(cat "$D/supervisor" 2>/dev/null || true)
    if alive; then
        pid=$(cat "$D/init")
        loops=$(own_loops)
        kill -KILL "$pid" 2>/dev/null || true       # takes every process of the pid namespace along
        for ((turn = 0; turn < 500; turn++)); do alive || break; sleep 0.02; done
        ! alive || die "'$NAME': PID 1 ($pid) does not end"
    elif [ -n "$supervisor" ] && [ ! -e "$D/init" ] &&
        command_line "/proc/$supervisor" | grep -qs "__namespaced $NAME "; then
        kill -KILL "$(tr -d ' ' <"/proc/$supervisor/task/$supervisor/children")" "$supervisor" 2>/dev/null || true
    fi
    [ -z "$supervisor" ] || for ((turn = 0; turn < 100; turn++)); do
        grep -qs '^State:.[^Z]' "/proc/$supervisor/status" || break
        sleep 0.02
    done
    for loop in $loops; do [ ! -e "/sys/block/${loop#/dev/}/loop" ] || losetup -d "$loop" 2>/dev/null || true; done
    remove_cgroups
    rm -rf --one-file-system "$D"
    rm -f "$STATE/.$NAME.lock"
}

command_line() { { tr '\0' ' ' <"$1/cmdline"; } 2>/dev/null || true; }

traces() {
    [ ! -e "$D" ] || echo "state $D"
    find "$CGFS" -type d -name "hostward-$NAME" -printf 'cgroup %p\n' 2>/dev/null || true
    grep -F "hostward-$NAME " /proc/self/mountinfo | sed 's/^/mount /' || true
    losetup -ln -O NAME,BACK-FILE 2>/dev/null | grep -F "/$NAME/" | sed 's/^/loop /' || true
    # processes name their sandbox in the cgroup path; the scripts that run it do in their command line
    local dir
    for dir in /proc/[0-9]*; do
        if grep -qs "/hostward-$NAME\(/\|$\)" "$dir/cgroup" ||
            command_line "$dir" | grep -qs "__\(namespaced\|guard\) $NAME\( \|$\)"; then
            grep -qs '^State:.Z' "$dir/status" || echo "process ${dir#/proc/} $(command_line "$dir")"
        fi
    done
}

each_sandbox() {
    for D in "$STATE"/*/; do
        [ -d "$D" ] || continue
        D=${D%/}
        NAME=${D##*/}
        "$1"
    done
}

list_one() { ! alive || echo "$NAME"; }
sweep_one() { if owner_gone; then down; fi; }
