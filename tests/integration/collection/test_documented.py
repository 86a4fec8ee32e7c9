# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""ansible-doc shows every plugin of the installed tarball, with every ansible-core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

pytestmark = pytest.mark.each_core

BIN = Path(sys.executable).parent
# Folders of plugins/ and how ansible-doc names their kind. Actions are documented among the modules.
KINDS = {"callback": "callback", "filter": "filter", "lookup": "lookup", "modules": "module"}


def test_every_plugin_is_documented(tmp_path: Path) -> None:
    galaxy_first = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([ROOT / "tests" / "tools" / "build.sh", tmp_path], env=galaxy_first, check=True)
    [tarball] = tmp_path.glob("*.tar.gz")
    collections = tmp_path / "collections"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["ANSIBLE_COLLECTIONS_PATH"] = str(collections)  # not the collection of the checkout
    install = ["ansible-galaxy", "collection", "install", str(tarball), "--offline", "-p", str(collections)]
    subprocess.run([BIN / install[0], *install[1:]], env=environment, check=True)
    for folder, kind in KINDS.items():
        names = sorted(f"choria.streams.{path.stem}" for path in (ROOT / "plugins" / folder).glob("choria_*.py"))
        assert names
        command = [str(BIN / "ansible-doc"), "--type", kind, "--json", *names]
        output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
        shown = {name for name, content in json.loads(output).items() if content.get("doc")}
        assert shown == set(names)
