#!/usr/bin/env bash
# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs the scenarios named, all where none is, each from nothing to nothing. The last line tells what passed.
# molecule alone is not enough: its notion of what exists goes stale (a reboot, a killed run), and it does not
# destroy when a cleanup playbook fails or when it is killed itself.
# shellcheck disable=SC2317  # functions called by a trap
set -euo pipefail
cd "$(dirname "$0")/../.."

# molecule gives ansible-playbook a session of its own, and it outlives molecule: end the whole tree
kill_tree() {
    local p
    for p in $(pgrep -P "$1"); do kill_tree "$p"; done
    kill -KILL "$1" 2>/dev/null || true
}
molecule=''
finish() {
    local rc=$?
    trap - EXIT
    if [ -n "$molecule" ]; then kill_tree "$molecule"; fi
    extensions/molecule/nspawn/destroy.sh
    exit "$rc"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ $# = 0 ]; then set -- default cluster package upgrade absent changes scale; fi
sums=() status=0
for scenario in "$@"; do
    printf '\n==== molecule: %s\n' "$scenario"
    start=$SECONDS
    extensions/molecule/nspawn/destroy.sh
    molecule reset --scenario-name "$scenario" >/dev/null 2>&1 || true       # forget the state of an earlier run
    molecule test --scenario-name "$scenario" &
    molecule=$!
    # `wait` returns at once on a signal, so the trap runs while molecule is still busy
    rc=0
    wait "$molecule" || rc=$?
    molecule=''
    if [ "$rc" = 0 ]; then outcome=passed; else outcome=failed status=1; fi
    sums+=("$scenario $outcome in $((SECONDS - start)) s")
done
printf -v line ', %s' "${sums[@]}"
echo "molecule: ${line#, }"
exit "$status"
