#!/usr/bin/env bash
# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs the named scenarios, or all of them, each from creation to removal. The last line lists those that passed.
# molecule alone is not enough: its notion of what exists goes stale (a reboot, a killed run), and it does not
# destroy when a cleanup playbook fails or when it is killed itself.
# shellcheck disable=SC2317,SC2329,SC2086  # functions called by a trap; several words
set -euo pipefail
cd "$(dirname "$0")/../.."

stop() { echo "$*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || stop "The hosts that molecule tries the role on are booted by root: run this as root, or by sudo."
CHORIA_BIN=$(realpath "$(command -v "${CHORIA_BIN:-choria}")") ||
    stop "There is no choria program to deploy: put it on PATH, or its path into CHORIA_BIN."
export CHORIA_BIN
missing=$(for each in gpg:gnupg ip:iproute2 mmdebstrap nft:nftables ssh:openssh-client systemd-nspawn:systemd-container; do
    command -v "${each%:*}" >/dev/null || echo "${each#*:}"
done)
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || stop "There is no apt-get, so what boots hosts is yours to install:" $missing
    echo "Installing" $missing
    export DEBIAN_FRONTEND=noninteractive
    apt-get --quiet=2 update && apt-get --quiet=2 install --yes --no-install-recommends $missing
fi

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
