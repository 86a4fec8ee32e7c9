# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read files and data of unknown origin without hanging, exhausting the memory, or raising unexpected errors.

Files raise OSError with the reason in ``strerror``. Data raises ValueError with a reason that begins with ``is not``.
The reason contains no part of the data, which may be a secret.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 64 << 20  # no message of a server is larger
MOST_CONFIG = 1 << 20  # of a file that a person or a program configures
# Ansible, too, goes down one call for each level
DEEPEST = 200
_MOST_PARTS = 1_000_000
_LONGEST_PATH, _LONGEST_NAME = 4095, 255
# Half a character, and numbers that may not be finite
_SUSPECT = re.compile(r"\\u[dD][89a-fA-F]|[0-9][eE]\+?[0-9]{3}|[0-9]{200}")


def check_path(path: str) -> None:
    """Raise ValueError with the reason if no file can have this path."""
    if "\0" in path:
        raise ValueError("holds a NUL character, which no path may")
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:
        raise ValueError("holds characters that no path may") from None
    if len(raw) > _LONGEST_PATH or any(len(part) > _LONGEST_NAME for part in raw.split(b"/")):
        raise ValueError(
            f"is too long: a path has at most {_LONGEST_PATH} bytes, and each name in it at most {_LONGEST_NAME}"
        )


def open_file(path: str | Path) -> BinaryIO:
    """Open a regular file for reading. Devices and named pipes are refused, since reading them may never end."""
    try:
        check_path(str(path))
    except ValueError as error:
        raise OSError(errno.EINVAL, f"its path {error}", "") from None
    _check_kind(os.stat(path).st_mode, path)  # before it is opened, which may mean something to a device
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check_kind(os.fstat(handle).st_mode, path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _check_kind(mode: int, path: str | Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_bytes(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes."""
    with open_file(path) as file:
        content = file.read(most + 1) or b""
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", str(path))
    return content


def check_pem(*paths: str) -> None:
    """Raise OSError unless each is a file in PEM form. OpenSSL reads pipes, and some files of /proc, without an end."""
    for path in paths:
        if b"-----BEGIN " not in read_bytes(path):
            raise OSError(errno.EINVAL, "it is not PEM", path)


def read_text(path: str | Path, most: int = MOST_CONFIG) -> str:
    """Return the text of a regular file of at most ``most`` bytes. Raises OSError also if it is not UTF-8."""
    try:
        return read_bytes(path, most).decode()
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, f"it is not UTF-8 text (at byte {error.start})", str(path)) from None


def load_json(data: bytes | str) -> Any:
    """Return the value of JSON text. It has a bounded depth, finite numbers and valid characters, as Ansible needs."""
    text = data if isinstance(data, str) else decoded(data)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON (at line {error.lineno}, column {error.colno})") from None
    except _NotFiniteError:
        raise ValueError("is not JSON (it has a number that is not finite)") from None
    except ValueError:
        raise ValueError("is not JSON that can be read: it has a number of too many digits") from None
    except RecursionError:
        raise ValueError("is not JSON that can be read: it is nested too deeply") from None
    # Most texts have neither, and are not looked through
    if text.count("[") + text.count("{") > DEEPEST or _SUSPECT.search(text):
        try:
            check_data(value)
        except ValueError as error:
            raise ValueError(f"is not JSON that can be read: it {error}") from None
    return value


def load_object(data: bytes | str) -> dict[str, Any]:
    """Return the dict of JSON text. Raises ValueError also for other JSON."""
    value = load_json(data)
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    return value


def check_data(value: Any) -> None:
    """Raise ValueError with the reason for data that can't be passed on: as JSON, in a result, to a server.

    YAML aliases count each time they are used, so that a few lines can't exhaust the memory.
    """
    if isinstance(value, str):  # as most are
        return check_scalar(value)
    level, parts = [value], 0
    for _depth in range(DEEPEST + 1):
        below: list[Any] = []
        for part in level:
            if isinstance(part, dict):
                below.extend(part)
                below.extend(part.values())
            elif isinstance(part, (list, tuple, set)):
                below.extend(part)
            else:
                check_scalar(part)
            if len(below) > _MOST_PARTS:
                break
        parts += len(below)
        if parts > _MOST_PARTS:
            raise ValueError(f"has more than {_MOST_PARTS} parts")
        if not below:
            return None
        level = below
    raise ValueError("is nested too deeply")


_INFINITE = float("inf")
_MOST_BITS = 14_000  # some 4,200 digits: Python writes no more than 4,300


def check_scalar(value: Any) -> None:
    """Raise ValueError as ``check_data`` does, for data that is not a list and no dict."""
    if isinstance(value, float) and not -_INFINITE < value < _INFINITE:
        raise ValueError("has a number that is not finite")
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ValueError("has a number of too many digits")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("has a character that UTF-8 does not know") from None


def decoded(data: bytes) -> str:
    """Return bytes in UTF-8 as text."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (at byte {error.start})") from None


class _NotFiniteError(ValueError):
    """NaN or Infinity, which Python's parser accepts and JSON does not allow."""


def _no_constant(name: str) -> Any:
    raise _NotFiniteError(name)


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
