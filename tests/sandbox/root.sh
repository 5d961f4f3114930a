#!/bin/bash
# Second stage, run by `sandbox` as the first process of the new namespaces: builds the root file system, pivots into it,
# becomes systemd. Every path that it changes lies under $R, a mount of its own: it can't touch the machine's files.
set -euo pipefail
D=$1/$2
NAME=$2
R=$D/mnt/root
SIZE=2G     # of the tmpfs that takes all writes

mount_overlay() {
    mount -t tmpfs -o "size=$SIZE,mode=755" "hostward-$NAME" "$D/mnt"
    mkdir "$D/mnt/upper" "$D/mnt/work" "$R"
    mount -t overlay -o "lowerdir=/,upperdir=$D/mnt/upper,workdir=$D/mnt/work" "hostward-$NAME" "$R"
    mountpoint -q "$R" || { echo "sandbox: $R is no mount point, refusing" >&2; exit 1; }
}

# A machine of its own: none of the host's enabled units, mounts, journal or identity.
make_own_machine() {
    local unit
    rm -rf "$R"/etc/systemd/{system,user}/* "$R"/etc/systemd/*.conf.d "$R"/etc/rc?.d/* "$R"/etc/udev/rules.d/* \
        "$R"/var/log/journal/* "$R"/var/lib/systemd/{timers,coredump,linger}/* "$R/etc/resolv.conf" \
        "$R/usr/sbin/policy-rc.d" "$R"/etc/hostward "$R"/var/lib/hostward
    mkdir -p "$R/etc/systemd/system" "$R/etc/systemd/system.conf.d" "$R/var/log/journal"
    : >"$R/etc/fstab"
    : >"$R/etc/resolv.conf"
    tr -d - </proc/sys/kernel/random/uuid >"$R/etc/machine-id"
    echo "$NAME" >"$R/etc/hostname"
    hostname "$NAME"
    printf '127.0.0.1 localhost %s\n::1 localhost\n' "$NAME" >"$R/etc/hosts"
    printf '[Manager]\nDefaultCPUAccounting=yes\n' >"$R/etc/systemd/system.conf.d/50-sandbox.conf"
    for unit in getty.target console-getty.service sys-kernel-{debug,tracing,config}.mount systemd-udevd.service \
        systemd-modules-load.service proc-sys-fs-binfmt_misc.automount apt-daily{,-upgrade}.timer; do
        ln -s /dev/null "$R/etc/systemd/system/$unit"
    done
}

# /proc/sys and /sys are the host kernel's: read-only. The boot id is ours: else every boot has the host's _BOOT_ID.
mount_kernel_files() {
    mount -t proc -o nosuid,nodev,noexec proc "$R/proc"
    mount --bind "$R/proc/sys" "$R/proc/sys"
    mount --bind "$R/proc/sys/net" "$R/proc/sys/net"
    cat /proc/sys/kernel/random/uuid >"$D/mnt/boot_id"
    mount --bind "$D/mnt/boot_id" "$R/proc/sys/kernel/random/boot_id"
    mount -o remount,bind,ro "$R/proc/sys"
    [ ! -e "$R/proc/sysrq-trigger" ] || mount --bind /dev/null "$R/proc/sysrq-trigger"
    mount -t sysfs -o nosuid,nodev,noexec,ro sysfs "$R/sys"
    mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs "$R/run"
    mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$R/tmp"
}

make_devices() {
    local name major minor index
    mount -t tmpfs -o nosuid,mode=755 tmpfs "$R/dev"
    mkdir "$R/dev"/{pts,shm,mqueue,net,hugepages}
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$R/dev/pts"
    mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$R/dev/shm"
    while read -r name major minor; do
        mknod -m 666 "$R/dev/$name" c "$major" "$minor"
    done <<'LIST'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
fuse 10 229
net/tun 10 200
autofs 10 235
loop-control 10 237
LIST
    for index in {0..31}; do mknod -m 660 "$R/dev/loop$index" b 7 "$index"; done
    ln -s pts/ptmx "$R/dev/ptmx"
    ln -s /proc/self/fd "$R/dev/fd"
    ln -s fd/0 "$R/dev/stdin"
    ln -s fd/1 "$R/dev/stdout"
    ln -s fd/2 "$R/dev/stderr"
}

mount_cgroups() {
    local mountpoint name
    if [ "$SANDBOX_CGROUP" = unified ] || [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
        mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$R/sys/fs/cgroup"
        return
    fi
    mount -t tmpfs -o nosuid,nodev,noexec,mode=755 tmpfs "$R/sys/fs/cgroup"
    while read -r mountpoint _; do
        name=${mountpoint##*/}
        mkdir "$R/sys/fs/cgroup/$name"
        case $name in
        unified) mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$R/sys/fs/cgroup/$name" ;;
        systemd) mount -t cgroup -o nosuid,nodev,noexec,none,name=systemd cgroup "$R/sys/fs/cgroup/$name" ;;
        *) mount -t cgroup -o "nosuid,nodev,noexec,$name" cgroup "$R/sys/fs/cgroup/$name" ;;
        esac
    done <"$D/cgroups"
}

bind_paths() {
    local line source target
    while IFS= read -r line; do
        [ -n "$line" ] || continue
        source=${line%%:*}
        target=${line#*:}
        if [ -d "$source" ]; then
            mkdir -p "$R$target"
        else
            mkdir -p "$R${target%/*}"
            [ -e "$R$target" ] || : >"$R$target"
        fi
        mount --rbind "$source" "$R$target"
    done <<<"$SANDBOX_BIND"
}

become_systemd() {
    cd "$R"
    pivot_root . .
    umount -l .     # the machine's whole mount tree is gone from this namespace
    cd /
    # never become init on a root that is not ours
    [ "$(cat /etc/hostname)" = "$NAME" ] || { echo "sandbox: pivot_root left us on the wrong root" >&2; exit 1; }
    exec env -i container=hostward-sandbox container_uuid="$(cat /etc/machine-id)" TERM=dumb LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=multi-user.target --show-status=no
}

mount_overlay
make_own_machine
mount_kernel_files
make_devices
mount_cgroups
bind_paths
become_systemd
