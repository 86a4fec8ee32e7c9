#!/usr/bin/env bash
# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

# Builds the tarball of the collection into a folder, by the ansible-galaxy on PATH, from the files that git tracks. The
# same commit gives the same bytes: it is packed again, sorted, with the time of the commit or $SOURCE_DATE_EPOCH.
set -euo pipefail
mkdir -p "$1"
target=$(realpath "$1")
cd "$(dirname "$0")/../.."
time=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export LC_ALL=C.UTF-8

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/tree" "$folder/content"
git ls-files -z | tar --create --null --files-from=- | tar --extract --directory="$folder/tree"
ansible-galaxy collection build "$folder/tree" --output-path "$folder" > /dev/null
tarball=$(basename "$folder"/*.tar.gz)
tar --extract --preserve-permissions --directory="$folder/content" --file="$folder/$tarball"

cd "$folder/content"
python3 - << 'PYTHON'
import hashlib, json

files, manifest = (json.load(open(name)) for name in ("FILES.json", "MANIFEST.json"))
files["files"].sort(key=lambda entry: entry["name"])
text = json.dumps(files, indent=True, sort_keys=True)
open("FILES.json", "w").write(text)
manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(text.encode()).hexdigest()
json.dump(manifest, open("MANIFEST.json", "w"), indent=True)
PYTHON
# Ansible's tools want these two first
mapfile -t others < <(find . -mindepth 1 ! -name MANIFEST.json ! -name FILES.json -printf '%P\n' | sort)
tar --create --no-recursion --mtime="@$time" --owner=0 --group=0 --numeric-owner --format=gnu \
  MANIFEST.json FILES.json "${others[@]}" | gzip --no-name --best > "$target/$tarball"
sha256sum "$target/$tarball"
