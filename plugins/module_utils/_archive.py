# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reduce the work of Python for the modules that are imported after this.

Ansible sends a module, and all that it imports, as an archive of sources. Python compiles each of them to run it, and
once before, only to find the name of its file (``get_filename`` in Lib/zipimport.py). Imported objects stay, so
searches for garbage meanwhile would find none.
"""

from __future__ import annotations

import gc
import os
import sys
import zipimport

# The number of new objects after which Python searches for garbage
NEW_OBJECTS = 50_000


class _Archive(zipimport.zipimporter):
    """Finds the names of files in the archive's index."""

    def get_filename(self, fullname: str) -> str:
        path = os.path.join(self.archive, self.prefix + fullname.rpartition(".")[2])
        return os.path.join(path, "__init__.py") if self.is_package(fullname) else f"{path}.py"


def _compile_once() -> None:
    sys.path_hooks.insert(0, _Archive)
    for path, importer in list(sys.path_importer_cache.items()):
        if isinstance(importer, zipimport.zipimporter):
            del sys.path_importer_cache[path]


# Else it is a plugin, which Python imports from files, or a test
if isinstance(globals().get("__loader__"), zipimport.zipimporter):
    _compile_once()
    gc.set_threshold(NEW_OBJECTS)
