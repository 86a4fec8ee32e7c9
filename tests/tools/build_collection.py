# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build the tarball of the collection into dist/: `build_collection.py [FOLDER]`. The same commit gives the same bytes.

ansible-galaxy builds from a copy of the files that git tracks, so that nothing else gets in. It writes times and the
order of folders into the archive, which is therefore packed anew: sorted, with the time of the commit.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from dev import ROOT, MissingError, prepare_one

# The files that Ansible's tools want first, in this order
FIRST = ("MANIFEST.json", "FILES.json")


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def copy_tracked(folder: Path) -> None:
    """Copy the files that git tracks."""
    for name in filter(None, git("ls-files", "-z").split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def commit_time() -> int:
    """The time for all members, in seconds: SOURCE_DATE_EPOCH, or else that of the commit."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct"))


def repack(source: Path, target: Path, time: int) -> None:
    """Write a tarball of ansible-galaxy anew, so that only the content decides its bytes."""
    with tarfile.open(source) as archive:
        members = {member.name: member for member in archive.getmembers()}
        contents = {name: archive.extractfile(member) for name, member in members.items()}
        data = {name: file.read() for name, file in contents.items() if file}
    listing = json.loads(data["FILES.json"])
    listing["files"].sort(key=lambda entry: entry["name"])
    data["FILES.json"] = json.dumps(listing, indent=True, sort_keys=True).encode()
    manifest = json.loads(data["MANIFEST.json"])
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(data["FILES.json"]).hexdigest()
    data["MANIFEST.json"] = json.dumps(manifest, indent=True).encode()
    # The header of gzip has a time and a name as well
    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in (*FIRST, *sorted(members.keys() - set(FIRST))):
            member = members[name]
            member.mtime = time
            member.pax_headers = {}
            member.size = len(data.get(name, b""))
            archive.addfile(member, io.BytesIO(data[name]) if name in data else None)


def build(folder: Path, galaxy: Path) -> Path:
    """Build the tarball into a folder with that ansible-galaxy, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        tree, built = Path(temporary) / "tree", Path(temporary) / "built"
        copy_tracked(tree)
        command = [str(galaxy), "collection", "build", str(tree), "--output-path", str(built)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        [tarball] = built.glob("*.tar.gz")
        repack(tarball, folder / tarball.name, commit_time())
        return folder / tarball.name


def main() -> int:
    try:
        environment = prepare_one()
    except MissingError as error:
        print(error, file=sys.stderr)
        return 1
    tarball = build(Path(sys.argv[1] if sys.argv[1:] else ROOT / "dist").resolve(), environment.bin / "ansible-galaxy")
    print(f"{hashlib.sha256(tarball.read_bytes()).hexdigest()}  {tarball}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
