# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps the compiled code of modules in .build/kept, for the next time that a test runs them.

Python imports this file when it starts. Ansible sends a module to its host as an archive of sources, so that each
of the thousands of runs would compile the same files, which takes half of a module's time.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing would take longer than everything else here
if TYPE_CHECKING:
    from typing import Any


def _keep() -> None:
    import _imp
    import hashlib
    import marshal
    import zipimport

    # No public hook reports the file that Python is about to compile
    importer: Any = zipimport
    names: Any = _imp

    root = os.path.abspath(os.path.join(__file__, *[os.pardir] * 4))
    folder = os.path.join(root, ".build", "kept", "compiled", sys.implementation.cache_tag)
    compiled = importer._compile_source

    def kept(name: str, source: bytes) -> object:
        path = os.path.join(folder, hashlib.sha256(source).hexdigest())
        try:
            with open(path, "rb") as file:
                code = marshal.loads(file.read())  # load() reads a few bytes at a time
            names._fix_co_filename(code, name)
            return code
        except OSError:
            code = compiled(name, source)
        try:
            os.makedirs(folder, exist_ok=True)
            with open(f"{path}.{os.getpid()}", "wb") as new:
                marshal.dump(code, new)
            os.replace(new.name, path)
        except OSError:  # a test's user without permission to write there
            pass
        return code

    importer._compile_source = kept


# A pipelined module is read from standard input. Python 3.9 has no sys.orig_argv yet.
_words = getattr(sys, "orig_argv", [""])
if len(_words) == 1 or any("AnsiballZ_" in word for word in _words):
    _keep()
