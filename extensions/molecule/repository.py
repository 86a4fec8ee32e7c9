# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Creates an apt repository with packages of the real program, each with the same binary and its own version.

repository.py FOLDER PROGRAM VERSION …: a flat, signed repository in an empty folder. Its file key.asc is the key.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

UNIT = """\
[Unit]
Description=Choria {kind}

[Service]
ExecStart=/usr/bin/choria {kind} run --config=/etc/choria/{kind}.conf
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""
CONTROL = """\
Package: choria
Version: {version}
Architecture: amd64
Maintainer: The choria.streams developers
Description: The Choria program, for tests
"""


def build(folder: Path, program: Path, version: str) -> Path:
    tree = folder / f"tree-{version}"
    for kind in ("broker", "server"):
        unit = tree / "lib/systemd/system" / f"choria-{kind}.service"
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text(UNIT.format(kind=kind))
        example = tree / "etc/choria" / f"{kind}.conf"
        example.parent.mkdir(parents=True, exist_ok=True)
        example.write_text(f"# An example of {version}\n")
    (tree / "usr/bin").mkdir(parents=True)
    shutil.copy(program, tree / "usr/bin/choria")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(CONTROL.format(version=version))
    (tree / "DEBIAN/conffiles").write_text("/etc/choria/broker.conf\n/etc/choria/server.conf\n")
    package = folder / f"choria_{version}_amd64.deb"
    # Not compressed, since compression takes longer than everything else
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, package], check=True)
    shutil.rmtree(tree)
    return package


def index(folder: Path, packages: list[Path]) -> None:
    entries = []
    for package in packages:
        control = subprocess.run(["dpkg-deb", "--field", package], check=True, capture_output=True, text=True).stdout
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        entries.append(f"{control}Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n")
    listing = folder / "Packages"
    listing.write_text("\n".join(entries))
    digest = hashlib.sha256(listing.read_bytes()).hexdigest()
    release = (
        f"Suite: stable\nDate: Mon, 01 Jan 2024 00:00:00 UTC\nSHA256:\n {digest} {listing.stat().st_size} Packages\n"
    )
    (folder / "Release").write_text(release)


def sign(folder: Path) -> None:
    home = folder / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    subprocess.run([*gpg, "--passphrase", "", "--quick-generate-key", "tests", "ed25519", "sign"], check=True)
    subprocess.run([*gpg, "--clearsign", "--output", folder / "InRelease", folder / "Release"], check=True)
    subprocess.run([*gpg, "--armor", "--output", folder / "key.asc", "--export"], check=True)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
    shutil.rmtree(home)


def main() -> None:
    folder, program, *versions = sys.argv[1:]
    target = Path(folder)
    os.umask(0o022)
    index(target, [build(target, Path(program), version) for version in versions])
    sign(target)


main()
