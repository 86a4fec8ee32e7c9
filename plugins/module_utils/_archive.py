# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reduce the compilations of the modules that are imported after this.

Ansible sends a module, and all that it imports, as an archive of sources. Python compiles each of them to run it, and
once before, only to find the name of its file (``get_filename`` in Lib/zipimport.py).
"""

from __future__ import annotations

import os
import sys
import zipimport


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
