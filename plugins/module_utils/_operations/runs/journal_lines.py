# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of a journal. Each begins with a checksum, which detects lines that a crash left incomplete."""

from __future__ import annotations

import os
import zlib

# The length of the line that says how far a journal is delivered
HEAD = 21


def line(text: bytes) -> bytes:
    """Return the line that holds a text."""
    return b"%08x %s\n" % (zlib.crc32(text), text)


def checked(written: bytes) -> bytes | None:
    """Return what a line holds, or None if it is not as it was written."""
    text = written[9:]
    return text if written[:9] == b"%08x " % zlib.crc32(text) else None


def position(end: int) -> bytes:
    """Return the first line of a journal that is delivered up to the byte ``end``."""
    return line(b"%011d" % end)


def checked_position(written: bytes) -> int:
    """Return what such a line says, 0 if it is not as it was written."""
    text = checked(written.rstrip(b"\n"))
    return int(text) if text and text.isdigit() else 0


def write(handle: int, data: bytes, start: int) -> tuple[int, OSError | None]:
    """Write ``data`` at the byte ``start``. Return how many bytes the disk took, and the error that ended it."""
    written, view = 0, memoryview(data)
    while written < len(data):
        try:
            written += os.pwrite(handle, view[written:], start + written)
        except OSError as error:
            return written, error
    return written, None
