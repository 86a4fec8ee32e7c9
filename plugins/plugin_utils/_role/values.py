# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of values that the role writes into units, cron lines, scripts, repositories and configuration files.

A kind is a function that takes a value and raises ValueError with the reason, which completes "VARIABLE …". No kind
lets a line end or another control character through: each value ends up in one line of a file that root reads.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.module_utils._options.quantities import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    Kind = Callable[[Any], None]

_SHOWN = 60
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Folders of the system, which the role never gives to one service: those in the root, some below, and some with all
# that they contain
_SYSTEM_FOLDER = re.compile(
    r"/[^/]*"
    r"|/etc/(apt|choria|cron\.d|ssh|ssl|ssl/certs|ssl/private|systemd|systemd/system)"
    r"|/usr/(include|lib|local|local/bin|local/lib|share|src)"
    r"|/var/(backups|cache|lib|lib/choria|local|log|mail|opt|run|spool|spool/cron|tmp)"
    r"|/(bin|boot|dev|lib|lib32|lib64|proc|run|sbin|sys|usr/bin|usr/sbin)/.*"
)
_DIGITS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
_CRON_WORDS = ("@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CRON_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _DAYS),
)


def shown(value: Any) -> str:
    """Return the value as a message may show it: on one line, and not too long."""
    text = repr(value if isinstance(value, (int, float)) else str(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def text(pattern: str, shape: str, *, empty: bool = False) -> Kind:
    """Return the kind of texts that match the whole pattern; ``shape`` says what they look like."""
    expression = re.compile(pattern)

    def check(value: Any) -> None:
        if empty and value == "":
            return
        if not isinstance(value, str) or not expression.fullmatch(value):
            raise ValueError(f"is {shown(value)}: give {shape}")

    return check


def number(low: int, high: int) -> Kind:
    """Return the kind of whole numbers between two bounds, also written as text."""

    def check(value: Any) -> None:
        digits = str(value).strip()
        whole = not isinstance(value, (bool, float)) and len(digits) < 20 and re.fullmatch(r"-?\d+", digits, re.ASCII)
        if not whole or not low <= int(digits) <= high:
            raise ValueError(f"is {shown(value)}: give a number between {low} and {high}")

    return check


def each(kind: Kind, *, different: bool = True) -> Kind:
    """Return the kind of lists of such values."""

    def check(value: Any) -> None:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"is {shown(value)}: give a list")
        for item in value:
            try:
                kind(item)
            except ValueError as error:
                raise ValueError(f"has an entry that {error}") from error
        texts = [str(item) for item in value]
        twice = next((item for item in texts if texts.count(item) > 1), None)
        if different and twice is not None:
            raise ValueError(f"has {shown(twice)} twice: name it once")

    return check


def mapping(names: Kind, values: Kind) -> Kind:
    """Return the kind of dicts with such names and values."""

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"is {shown(value)}: give a dict")
        for name, item in value.items():
            try:
                names(name)
            except ValueError as error:
                raise ValueError(f"has a name that {error}") from error
            try:
                values(item)
            except ValueError as error:
                raise ValueError(f"has {shown(name)}, which {error}") from error

    return check


def boolean(value: Any) -> None:
    """Check a boolean. Templates treat the text false, which -e and INI inventories give, as true."""
    if not isinstance(value, bool):
        raise ValueError(f"is {shown(value)}: give true or false without quotes, and with -e as JSON")


def anything(value: Any) -> None:
    """Accept every value: something else checks it."""


def plain(value: Any) -> None:
    """Check a value that becomes text in a script."""
    if value is None or isinstance(value, (dict, list)) or "\0" in str(value):
        raise ValueError("is not text: give text or a number")


def secret(value: Any) -> None:
    """Check a secret, which no message shows."""
    if not isinstance(value, str) or _CONTROL.search(value) or value != value.strip():
        raise ValueError("has a line end, a space at its ends or another character that the file can't hold")


def one_line(value: Any) -> None:
    """Check a text that is not empty and has one line."""
    if not isinstance(value, str) or not value.strip() or _CONTROL.search(value):
        raise ValueError("has to be one line of text, without line ends and other control characters")


def document(value: Any) -> None:
    """Check a text that becomes a whole file."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("has to be text that is not empty")


def duration(value: Any) -> None:
    """Check a duration such as 5m, longer than nothing."""
    try:
        right = not isinstance(value, bool) and parse_duration(value) > 0
    except ValueError:
        right = False
    if not right:
        raise ValueError(f"is {shown(value)}: give a duration such as 90s, 5m or 7d")


def host(value: Any) -> None:
    """Check the name or address of a host, without a port."""
    name = text(
        r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*", ""
    )
    try:
        name(value)
    except ValueError:
        try:
            ipaddress.ip_address(value if isinstance(value, str) else "")
        except ValueError:
            raise ValueError(
                f"is {shown(value)}: give the name or address of a host, without scheme and port"
            ) from None


def host_port(value: Any) -> None:
    """Check HOST:PORT."""
    name, _colon, port = str(value).rpartition(":")
    try:
        host(name.strip("[]"))
        number(1, 65535)(port)
    except ValueError:
        raise ValueError(f"is {shown(value)}: give host:port") from None


def address(value: Any) -> None:
    """Check an address to listen on."""
    try:
        ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"is {shown(value)}: give an IP address, such as '::' for all") from None


def network(value: Any) -> None:
    """Check an address, or a network such as 192.0.2.0/24."""
    try:
        ipaddress.ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"is {shown(value)}: give an IP address, or a network such as 192.0.2.0/24") from None


def path(value: Any) -> None:
    """Check an absolute path in characters that units, cron and shells read as they are."""
    shape = "an absolute path of letters, digits and . _ @ + -, without .. and without a slash at its end"
    text(r"(/[A-Za-z0-9._@+-]+)+", shape)(value)
    if {".", ".."} & set(value.split("/")):
        raise ValueError(f"is {shown(value)}: give {shape}")


def own_folder(value: Any) -> None:
    """Check the path of a folder that the role may give to one service alone."""
    path(value)
    if _SYSTEM_FOLDER.fullmatch(value):
        raise ValueError(
            f"is {shown(value)}, which belongs to the system: give a folder of its own, such as {value}/choria"
        )


def own_file(value: Any) -> None:
    """Check the path of a file that the role may remove."""
    path(value)
    if _SYSTEM_FOLDER.fullmatch(value) and not value.startswith("/run/"):
        raise ValueError(f"is {shown(value)}, which belongs to the system: give the path of a file")


def config_folder(value: Any) -> None:
    """Check the path of the folder of Choria's configuration."""
    if value != "/etc/choria":
        own_folder(value)


def optional(kind: Kind) -> Kind:
    """Return the kind of such values, or of an empty text for none."""

    def check(value: Any) -> None:
        if value not in ("", None):
            kind(value)

    return check


def member(value: Any) -> None:
    """Check the path of a file inside an archive."""
    shape = "a path inside the archive, without .. and without a slash at its beginning"
    text(r"[A-Za-z0-9._@+-]+(/[A-Za-z0-9._@+-]+)*", shape)(value)
    if ".." in value.split("/"):
        raise ValueError(f"is {shown(value)}: give {shape}")


def checksum(value: Any) -> None:
    """Check ALGORITHM:HEX."""
    algorithm, _colon, digits = str(value).partition(":")
    if not re.fullmatch(r"[0-9a-fA-F]+", digits) or _DIGITS.get(algorithm) != len(digits):
        raise ValueError(f"is {shown(value)}: give one such as sha256: and 64 hexadecimal digits")


def cron(value: Any) -> None:
    """Check when cron runs a job: a word such as @daily, or five fields."""
    fields = str(value).split(" ") if isinstance(value, str) and not _CONTROL.search(value) else []
    fields = [field for field in fields if field]
    if value in _CRON_WORDS:
        return
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError(f"is {shown(value)}: give five fields such as '*/30 * * * *', or a word such as @daily")
    for field, (name, low, high, words) in zip(fields, _CRON_FIELDS):
        if not all(_is_cron_part(part, low, high, words) for part in field.split(",")):
            raise ValueError(f"is {shown(value)}, whose {name} {shown(field)} is not between {low} and {high}")


def _is_cron_part(part: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    """Return True for ``*``, ``7``, ``1-5``, ``*/10`` or the name of a month or day."""
    span, slash, step = part.partition("/")
    if slash and not (re.fullmatch(r"[0-9]{1,2}", step) and int(step)):
        return False
    if span == "*":
        return True
    ends = [_cron_value(end, low, words) for end in span.split("-")]
    return len(ends) <= 2 and all(low <= end <= high for end in ends) and ends == sorted(ends)


def _cron_value(end: str, low: int, words: tuple[str, ...]) -> int:
    if end.lower() in words:
        return words.index(end.lower()) + low
    return int(end) if re.fullmatch(r"[0-9]{1,2}", end) else -1


def command(value: Any) -> None:
    """Check a command that a shell can split into words."""
    one_line(value)
    try:
        shlex.split(value)
    except ValueError as error:
        raise ValueError(f"can't be split into words ({error}): close each quotation mark") from error


def url(*schemes: str) -> Kind:
    """Return the kind of URLs with one of these schemes. ``file`` stands for ``file:/path`` and ``file:///path``."""
    begin = "|".join("file:/" if scheme == "file" else f"{scheme}://" for scheme in schemes)
    shown = " or ".join("http or https" if scheme == "https?" else scheme for scheme in schemes)
    return text(rf"({begin})[^\s\x00-\x1f\x7f\"'\\]+", f"a URL with {shown}")
