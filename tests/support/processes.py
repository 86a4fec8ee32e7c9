# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A test's process with its descendants, and their connections."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_ESTABLISHED = "01"


def children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    return [pid, *(below for child in children(pid) for below in descendants(child))]


def with_environment(text: str) -> list[int]:
    """Return the processes whose environment contains the text."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text.encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
    return found


def is_connected(pid: int, port: int) -> bool:
    """Return True if the process or a descendant has a connection to the port on this machine."""
    tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if row[2].endswith(f":{port:04X}") and row[3] == _ESTABLISHED}
    for each in descendants(pid):
        with contextlib.suppress(OSError):
            for file in Path(f"/proc/{each}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(file).removeprefix("socket:[").removesuffix("]") in inodes:
                        return True
    return False
