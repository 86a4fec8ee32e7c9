#!/usr/bin/env bash
# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs the first command of the README on bare Debian systems, as a user without rights, with the packages that the
# project names and no others: bare.sh bookworm trixie. BARE_COMMAND is another command than 'make quickstart', and
# BARE_PACKAGES are more packages. Needs root, mmdebstrap and systemd-nspawn. The systems are made once,
# in $BARE_STATE, and what the commands printed is beside them.
set -euo pipefail

: "${BARE_STATE:=/var/lib/choria-molecule/bare}"
: "${BARE_COMMAND:=make quickstart}"
: "${BARE_PACKAGES:=}"
packages=python3,python3-venv,make${BARE_PACKAGES:+,$BARE_PACKAGES}
user=newcomer

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$(dirname "$0")/../.."
# A clone, since tests ask git, with what is not committed yet
git clone --quiet . "$folder/streams"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create | tar -x -C "$folder/streams"
tar --create --directory="$folder" --file="$folder/checkout.tar" streams
chmod 755 "$folder"

make_base() {  # SUITE
  local base=$BARE_STATE/$1
  if [[ -e $base.complete && $(cat "$base.complete") == "$packages" ]]; then return; fi
  rm -rf --one-file-system "$base" "$base.complete"
  mkdir -p "$BARE_STATE/cache"
  mmdebstrap --quiet --variant=minbase --include="$packages" --aptopt='Acquire::Languages "none"' "$1" "$base"
  chroot "$base" useradd --create-home "$user"
  # Installers of Debian write both
  printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$1" > "$base/etc/hosts"
  chown "$(chroot "$base" id -u "$user")" "$BARE_STATE/cache"
  echo "$packages" > "$base.complete"
}

run_in() {  # SUITE
  # What pip needs here it needs there: this machine's authorities, a mirror, a folder of wheels
  local options=(--bind-ro=/etc/ssl/certs --bind-ro="$folder:/checkout" --bind="$BARE_STATE/cache:/cache") name
  [[ ! -d ${PIP_FIND_LINKS:-} ]] || options+=(--bind-ro="$PIP_FIND_LINKS")
  [[ ! -f /etc/pip.conf ]] || options+=(--bind-ro=/etc/pip.conf)
  for name in $(compgen -e | grep -iE '^(PIP_.*|(https?|no)_proxy)$'); do options+=(--setenv="$name=${!name}"); done
  systemd-nspawn --quiet --register=no --keep-unit --as-pid2 --volatile=overlay --directory="$BARE_STATE/$1" \
    --user="$user" "${options[@]}" --setenv=PIP_CACHE_DIR=/cache --setenv=LC_ALL=C --pipe \
    sh -c "tar -xf /checkout/checkout.tar -C ~ && cd ~/streams && $BARE_COMMAND" < /dev/null
}

failed=
for suite in "$@"; do
  make_base "$suite"
  began=$SECONDS
  if run_in "$suite" > "$BARE_STATE/$suite.log" 2>&1; then
    echo "bare: '$BARE_COMMAND' passed on $suite in $((SECONDS - began)) s"
  else
    failed+=" $suite"
    tail -n 40 "$BARE_STATE/$suite.log"
    echo "bare: '$BARE_COMMAND' failed on $suite: $BARE_STATE/$suite.log"
  fi
done
[[ -z $failed ]]
