# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Shared by rootfs.sh, create.sh and destroy.sh: settings and helpers. Sourced, never run.
# shellcheck shell=bash disable=SC2034  # used by the scripts that source it
#
# Everything the scripts make is named after NSPAWN_ID, so that destroy.sh can find it again even if
# create.sh died half way:
#   $NSPAWN_STATE/base/<suite>        the base rootfs, made once and shared read-only by all hosts of that suite
#   $NSPAWN_STATE/debs/<suite>        what debs.sh collected
#   $NSPAWN_STATE/run/<id>/<host>/    per host: overlay upper/work/root, console.log, pid
#   $NSPAWN_STATE/run/<id>/ssh/       key pair, known_hosts
#   netns <id>-<host>, bridge <id>br0, veth <id>-<n>
#   nft table inet <id>_nat           (NSPAWN_NAT=1)
#   cgroup /<id>/<host>               in the one hierarchy (cgroup v2) or in each of cgroup_hierarchies

set -euo pipefail

: "${NSPAWN_ID:=chmol}"                        # 1 to 9 of a-z0-9: interface names are built from it
: "${NSPAWN_STATE:=/var/lib/choria-molecule}"
: "${NSPAWN_SUITE:=bookworm}"
: "${NSPAWN_SUBNET:=10.213.77}"                # a /24; the bridge is .1, the hosts .11, .12, …
: "${NSPAWN_MEMORY:=768M}"                     # hard limit per host, tmpfs and page cache included
: "${NSPAWN_PIDS:=512}"
: "${NSPAWN_NAT:=1}"                           # 1: let the hosts out through this machine's default route
: "${NSPAWN_APT_PROXY:=}"                      # e.g. http://10.213.77.1:3142 (apt-cacher-ng on the bridge)
: "${NSPAWN_BIND_RO:=}"                        # space separated SRC:DST, e.g. a local repository of .debs
: "${NSPAWN_UPPER:=disk}"                      # disk | tmpfs: where the hosts' changes are kept
: "${NSPAWN_BOOT_TIMEOUT:=60}"
: "${NSPAWN_TRUST:=1}"                         # 1: the hosts trust the CAs this machine trusts
: "${NSPAWN_HOSTS:=node1 node2 node3}"         # NAME or NAME:SUITE, e.g. "node1 node2:trixie node3:bullseye"

run=$NSPAWN_STATE/run/$NSPAWN_ID
bridge=${NSPAWN_ID}br0
nat_table=${NSPAWN_ID}_nat
cgroup_hierarchies="memory pids systemd unified"   # where cgroups are v1 or hybrid

die() { echo "nspawn: $*" >&2; exit 1; }
log() { printf 'nspawn: %7.2fs %s\n' "$(elapsed)" "$*" >&2; }
elapsed() { awk -v a="$script_start" -v b="$(date +%s.%N)" 'BEGIN{printf "%.2f", b-a}'; }
script_start=$(date +%s.%N)

[ "$(id -u)" = 0 ] || die "needs root"
[[ $NSPAWN_ID =~ ^[a-z][a-z0-9]{0,8}$ ]] || die "NSPAWN_ID must be 1 to 9 of a-z and 0-9, a letter first"

hosts=                    # the names
declare -A suite_of ip_of
_n=11
for _h in $NSPAWN_HOSTS; do
    hosts+="${_h%%:*} "
    suite_of[${_h%%:*}]=$NSPAWN_SUITE
    case $_h in *:*) suite_of[${_h%%:*}]=${_h#*:} ;; esac
    ip_of[${_h%%:*}]=$NSPAWN_SUBNET.$_n
    _n=$((_n + 1))
done

# Each host needs a cgroup of its own. Without one, `systemd-nspawn --keep-unit` puts every payload into
# the same <cgroup>/payload and the systemds inside share (and clean up) each other's services.
# Like docker's cgroupfs driver the scripts make a top-level cgroup, so they need no systemd on this machine.
cgroup_dirs() {  # HOST -> the directories, according to this machine's layout
    local c
    if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
        echo "/sys/fs/cgroup/$NSPAWN_ID/$1"
        return
    fi
    for c in $cgroup_hierarchies; do
        if [ -d "/sys/fs/cgroup/$c" ]; then echo "/sys/fs/cgroup/$c/$NSPAWN_ID/$1"; fi
    done
}
cgroup_enter() {  # HOST: make them, set the limits that there is a controller for, move the calling process in
    local d c
    for d in $(cgroup_dirs "$1"); do
        mkdir -p "$d"
        if [ "$d" = "/sys/fs/cgroup/$NSPAWN_ID/$1" ]; then
            for c in memory pids; do
                echo "+$c" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
                echo "+$c" >"/sys/fs/cgroup/$NSPAWN_ID/cgroup.subtree_control" 2>/dev/null || true
            done
        fi
        if [ -e "$d/memory.limit_in_bytes" ]; then echo "$NSPAWN_MEMORY" >"$d/memory.limit_in_bytes"; fi
        if [ -e "$d/memory.max" ]; then echo "$NSPAWN_MEMORY" >"$d/memory.max"; fi
        if [ -e "$d/pids.max" ]; then echo "$NSPAWN_PIDS" >"$d/pids.max"; fi
        echo "$BASHPID" >"$d/cgroup.procs"
    done
}
cgroup_kill() {  # HOST: SIGKILL whatever is left in our own cgroups
    local d p
    for d in $(cgroup_dirs "$1"); do
        [ -d "$d" ] || continue
        find "$d" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u | while read -r p; do
            kill -KILL "$p" 2>/dev/null || true
        done
    done
}
cgroup_remove() {  # HOST
    local d
    for d in $(cgroup_dirs "$1"); do
        [ -d "$d" ] || continue
        find "$d" -depth -type d -exec rmdir {} \; 2>/dev/null || true
        rmdir "$(dirname "$d")" 2>/dev/null || true
    done
}

nspawn_alive() {  # HOST
    local p
    p=$(cat "$run/$1/pid" 2>/dev/null) || return 1
    # neither another process that got the same pid, nor a zombie
    grep -qsE '^[0-9]+ \(systemd-nspawn\) [^ZX]' "/proc/$p/stat"
}

# Several instances may want forwarding: the first saves what it found, the last restores it.
forward_on() {
    (
        flock 7
        [ -e "$NSPAWN_STATE/run/ip_forward" ] || cat /proc/sys/net/ipv4/ip_forward >"$NSPAWN_STATE/run/ip_forward"
        touch "$run/forwards"
        echo 1 >/proc/sys/net/ipv4/ip_forward
    ) 7>"$NSPAWN_STATE/run/ip_forward.lock"
}
forward_off() {
    (
        flock 7
        rm -f "$run/forwards"
        if [ -e "$NSPAWN_STATE/run/ip_forward" ] &&
            [ -z "$(find "$NSPAWN_STATE/run" -mindepth 2 -maxdepth 2 -name forwards)" ]; then
            cat "$NSPAWN_STATE/run/ip_forward" >/proc/sys/net/ipv4/ip_forward
            rm -f "$NSPAWN_STATE/run/ip_forward"
        fi
    ) 7>"$NSPAWN_STATE/run/ip_forward.lock"
}

lock() {
    mkdir -p "$NSPAWN_STATE/run"
    exec 9>"$NSPAWN_STATE/run/$NSPAWN_ID.lock"
    flock -w 120 9 || die "another create or destroy holds the lock"
}
