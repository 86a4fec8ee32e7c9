#!/usr/bin/env bash
# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs the first command of the README on bare Debian systems, as a user without rights, with the packages that the
# project names and no others: bare.sh bookworm trixie. Needs root, and mmdebstrap, which makes each system for this.
# $BARE_STATE has what the commands printed.
# shellcheck disable=SC2016  # hooks expand $1, the folder of the system
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${BARE_STATE:=/var/lib/choria-molecule/bare}"
mkdir -p "$BARE_STATE"
failed=
for suite in "$@"; do
  began=$SECONDS
  # What pip needs here it needs there: this machine's authorities, and its settings
  if mmdebstrap --variant=minbase --include=python3,python3-venv,make --format=null \
    --customize-hook='chroot "$1" useradd --create-home newcomer' \
    --customize-hook='printf "127.0.0.1 localhost\n127.0.1.1 %s\n" "$(hostname)" > "$1/etc/hosts"' \
    --customize-hook='copy-in /etc/ssl/certs /etc/ssl' \
    --customize-hook='[ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$1/etc/"' \
    --customize-hook='git ls-files -z --cached --others --exclude-standard |
      tar --create --null --files-from=- | tar --extract --directory="$1/home/newcomer"' \
    --customize-hook='chroot "$1" chown --recursive newcomer /home/newcomer' \
    --customize-hook='chroot "$1" runuser -u newcomer -- env HOME=/home/newcomer LC_ALL=C \
      make --directory=/home/newcomer quickstart' "$suite" > "$BARE_STATE/$suite.log" 2>&1; then
    echo "bare: 'make quickstart' passed on $suite in $((SECONDS - began)) s"
  else
    failed+=" $suite"
    tail -n 40 "$BARE_STATE/$suite.log"
    echo "bare: 'make quickstart' failed on $suite: $BARE_STATE/$suite.log"
  fi
done
[[ -z $failed ]]
