# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the archive of a snapshot: an S2 stream, whose frames are checked without decompressing them.

https://github.com/google/snappy/blob/main/framing_format.txt, and for S2 klauspost/compress.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..._options import untrusted

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

# Files of the server's own store, which hold the stream's name, or single messages (nats-server 2.15)
FILES, MESSAGES = 1, 2

_STREAM_HEADERS = (b"\xff\x06\x00\x00S2sTwO", b"\xff\x06\x00\x00sNaPpY")
_COMPRESSED, _UNCOMPRESSED, _RESERVED_END = 0x00, 0x01, 0x7F
_CHECKSUM = 4
# The first element of compressed data is a literal, since there is nothing yet that it could repeat
_LITERAL_LENGTHS = {60: 1, 61: 2, 62: 3, 63: 4}
_MAGIC = b"NATSARC1"
_TAR_BLOCK = 512


@dataclass(frozen=True)
class Archive:
    """``size`` is in bytes without compression, ``format`` FILES or MESSAGES."""

    format: int
    size: int


def inspect(path: Path) -> Archive:
    """Return the size and format of an archive. Raises ValueError with the reason if it is broken, and OSError.

    The server checks the contents of the frames when it restores them.
    """
    with untrusted.open_file(path) as file:
        start = file.read(len(_STREAM_HEADERS[0]))
        if start not in _STREAM_HEADERS:
            raise ValueError("is not a snapshot of a stream")
        length = path.stat().st_size
        kind, size = 0, 0
        while file.tell() < length:
            found, content = _frame(file, length)
            if not kind and content:
                kind = MESSAGES if content.startswith(_MAGIC) else FILES
            size += found
    if not kind:
        raise ValueError("holds nothing")
    if kind == FILES and size % _TAR_BLOCK:
        raise ValueError("was cut off")
    return Archive(kind, size)


def _frame(file: BinaryIO, length: int) -> tuple[int, bytes]:
    """Read one frame. Return how many bytes it stands for, and some of its first bytes."""
    header = file.read(4)
    body = int.from_bytes(header[1:], "little")
    after = file.tell() + body
    if len(header) < 4 or after > length:
        raise ValueError("was cut off")
    size, content = 0, b""
    if header[0] in (_COMPRESSED, _UNCOMPRESSED):
        start = file.read(min(body, 32))
        if header[0] == _COMPRESSED:
            size, content = _block_start(start[_CHECKSUM:])
        else:
            size, content = body - _CHECKSUM, start[_CHECKSUM:]
        if size < 0:
            raise ValueError("is broken")
    elif header[0] <= _RESERVED_END:
        raise ValueError("is broken")  # a frame that may not be skipped, and that nobody knows
    file.seek(after)
    return size, content


def _block_start(block: bytes) -> tuple[int, bytes]:
    """Return the decompressed length of a block, and some of its first bytes."""
    size = shift = position = 0
    while True:
        if position >= len(block) or shift > 28:
            raise ValueError("is broken")
        byte = block[position]
        size |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            break
    tag = block[position] if position < len(block) else 0
    literal = position + 1 + _LITERAL_LENGTHS.get(tag >> 2, 0)
    return size, block[literal:]
