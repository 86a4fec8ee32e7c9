#!/bin/sh
# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs nox, and installs it into .venv/nox when needed: nox.sh --session test -- tests/unit. Needs nothing but a Python.
# 'nox.sh check-index' only says whether there is a package index: pip itself would tell that after many lines and minutes.
set -eu
cd "$(dirname "$0")/../.."
nox=.venv/nox pins=tests/tools/requirements.txt

stop() { echo "$*" >&2; exit 1; }

check_index() {
  folder=$(mktemp -d)
  reason=$($nox/bin/python -m pip --quiet --disable-pip-version-check --retries 0 --timeout 20 \
    download --no-deps --dest "$folder" nats-py 2>&1) && failed='' || failed=1
  rm -rf "$folder"
  [ -z "$failed" ] || stop "The package index of Python can't be reached, and the first run installs from it: check" \
    "the network, or the settings of pip (PIP_INDEX_URL, HTTPS_PROXY, PIP_CERT). pip says: $(echo "$reason" | tail -n 1)"
}

install() {
  # The gates need more than 3.11. Shims of pyenv may refuse to run the versions that they name
  pyenv=${PYENV_ROOT:-$HOME/.pyenv}/versions
  for python in python3.13 "$pyenv"/3.13*/bin/python3 python3.12 "$pyenv"/3.12*/bin/python3 python3.14 python3.11 python3 \
    "$pyenv"/*/bin/python3; do
    "$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && break
    python=
  done
  [ -n "$python" ] || stop "No Python from 3.11 on has the modules venv and ensurepip: install python3 and python3-venv."
  echo "Installing $nox" >&2
  "$python" -m venv $nox
  check_index
  $nox/bin/python -m pip --quiet --disable-pip-version-check install -c $pins nox antsibull-nox ansible-builder
  cp $pins $nox/requirements.txt
}

if [ "$*" = check-index ]; then check_index; exit; fi
mkdir -p .venv
# Another run may be installing
cmp -s $pins $nox/requirements.txt || (flock 9; cmp -s $pins $nox/requirements.txt || install) 9> .venv/.lock
exec $nox/bin/nox "$@"
