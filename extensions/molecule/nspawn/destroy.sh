#!/usr/bin/env bash
# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Remove everything that create.sh made, in any state. Idempotent; a second run does nothing.
# --power-off: shut the hosts down in order first (about 1 s, up to 15 s); the default is to pull the plug.
# --bases: the base rootfs of all suites too.
# shellcheck disable=SC1091,SC2154  # common.sh sets them
. "$(dirname "$0")/common.sh"
lock
power_off='' drop_base=''
for a in "$@"; do
    case $a in
    --power-off) power_off=1 ;;
    --bases) drop_base=1 ;;
    *) die "unknown option $a" ;;
    esac
done

for d in "$run"/*/pid; do
    [ -e "$d" ] || continue
    h=$(basename "$(dirname "$d")")
    case " $hosts " in *" $h "*) ;; *) hosts="$hosts $h" ;; esac
done

if [ -n "$power_off" ]; then
    for host in $hosts; do nspawn_alive "$host" && kill -TERM "$(cat "$run/$host/pid")"; done
    for host in $hosts; do
        for _ in $(seq 150); do nspawn_alive "$host" || break; sleep 0.1; done
    done
    log "powered off"
fi
for host in $hosts; do cgroup_kill "$host"; done
for host in $hosts; do
    for _ in $(seq 100); do
        [ -z "$(for d in $(cgroup_dirs "$host"); do [ -d "$d" ] && find "$d" -name cgroup.procs -exec cat {} +; done 2>/dev/null)" ] && break
        cgroup_kill "$host"
        sleep 0.05
    done
    cgroup_remove "$host"
done
log "processes gone"

for netns in $(ip netns list | awk '{print $1}' | grep "^$NSPAWN_ID-" || true); do ip netns del "$netns"; done
ip link del "$bridge" 2>/dev/null || true
for link in $(ip -o link | sed -nE "s/^[0-9]+: ($NSPAWN_ID-[0-9]+)[@:].*/\1/p"); do ip link del "$link" 2>/dev/null || true; done
nft delete table inet "$nat_table" 2>/dev/null || true
forward_off

# nspawn leaves its lock behind when it is killed
for host in $hosts; do
    [ -d "$run/$host/root" ] && rm -f "/run/systemd/nspawn/locks/inode-$(stat -c '%d:%i' "$run/$host/root")"
done

# deepest first; the state directory is only deleted once nothing is mounted below it
awk -v p="$run/" 'index($2, p) == 1 {print $2}' /proc/mounts | sort -r | while read -r m; do
    umount "$m" || umount -l "$m"
done
if [ -d "$run" ]; then
    grep -q " $run/" /proc/mounts && die "still mounted below $run"
    rm -rf --one-file-system "$run"
fi
for host in $hosts; do
    rmdir "/run/systemd/nspawn/propagate/$NSPAWN_ID-$host" "/run/systemd/nspawn/unix-export/$NSPAWN_ID-$host" 2>/dev/null || true
done
if [ -n "$drop_base" ]; then rm -rf --one-file-system "$NSPAWN_STATE/base"; fi
log "destroyed"
