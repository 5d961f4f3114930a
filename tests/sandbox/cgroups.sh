# Cgroups on the host's side: each sandbox gets one cgroup in each hierarchy. Sourced by `sandbox`.
CGFS=/sys/fs/cgroup
MEMORY_CEILING=4G
TASKS_CEILING=4096

pure_cgroup2() { [ "$(stat -fc %T $CGFS)" = cgroup2fs ]; }

# "MOUNTPOINT PARENT" of each hierarchy, one a line. On v1 the parent is our own cgroup, so limits on us hold; on a pure
# cgroup2 host it is the root, which has the controllers and no internal-process rule.
hierarchies() {
    local mountpoint controller
    if pure_cgroup2; then echo "$CGFS /"; return; fi
    for mountpoint in "$CGFS"/*; do
        [ -e "$mountpoint/cgroup.procs" ] && [ ! -L "$mountpoint" ] || continue
        controller=${mountpoint##*/}
        case $controller in unified) controller='' ;; systemd) controller='name=systemd' ;; esac
        awk -F: -v m="$mountpoint" -v c="$controller" '$2 == c {print m, $3}' /proc/self/cgroup
    done
}

cgroup_dirs() {
    local mountpoint parent
    [ -e "$D/cgroups" ] || return 0
    while read -r mountpoint parent; do echo "$mountpoint${parent%/}/hostward-$NAME"; done <"$D/cgroups"
}

put() { [ ! -e "$2" ] || echo "$1" >"$2" 2>/dev/null || true; }

# A v1 cpuset takes no process before it has CPUs and memory nodes.
cgroup_mkdir() {
    local file
    mkdir -p "$1"
    for file in cpuset.cpus cpuset.mems; do [ ! -e "$1/../$file" ] || put "$(cat "$1/../$file")" "$1/$file"; done
}

create_cgroups() {
    local dir controller
    if pure_cgroup2; then
        for controller in cpu memory pids io cpuset; do put "+$controller" $CGFS/cgroup.subtree_control; done
    fi
    for dir in $(cgroup_dirs); do
        cgroup_mkdir "$dir"
        put $MEMORY_CEILING "$dir/memory.limit_in_bytes"; put $MEMORY_CEILING "$dir/memory.max"
        put $TASKS_CEILING "$dir/pids.max"
    done
}

enter_cgroups() { local dir; for dir in $(cgroup_dirs); do echo 0 >"$dir/cgroup.procs"; done; }

remove_cgroups() {
    local dir turn
    for dir in $(cgroup_dirs); do
        for ((turn = 0; turn < 500; turn++)); do
            [ -d "$dir" ] || break
            find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.02
        done
        [ ! -d "$dir" ] || die "'$NAME': cgroup $dir is still in use"
    done
}
