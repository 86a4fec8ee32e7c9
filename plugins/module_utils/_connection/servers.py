# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The URLs of servers: check them, and take the credentials out of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from .. import _errors

if TYPE_CHECKING:
    from collections.abc import Iterable
    from urllib.parse import SplitResult

_SCHEMES = ("nats", "tls", "ws", "wss")
# Such as nats:/user:password@host, whose scheme would be taken for a user or a host. A host may be called nats.
_HALF_A_SCHEME = re.compile(rf"({'|'.join(_SCHEMES)}):(?!//|\d+$)", re.IGNORECASE)
_LONGEST_HOST = 253
_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]+(%[\w.-]+)?")
_IN_URL = re.compile(r"\s*(?:\w+:/+)?(.+)@")
_URLS = (
    "write nats://host:4222 (or tls://, ws:// and wss://), and percent-encode : / ? # @ and , in a user and a password."
)


def secrets_of(urls: Iterable[str]) -> set[str]:
    """Return the passwords and tokens in URLs of servers, both encoded and decoded."""
    each = [url for text in urls for url in str(text).split(",")]
    pairs = (match.group(1).partition(":") for match in map(_IN_URL.match, each) if match)
    secrets = {password or user for user, _colon, password in pairs}
    return secrets | set(map(unquote, secrets))


def without_credentials(urls: list[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the URLs without credentials, and the credentials of the first URL that has any."""
    clean, schemes = [], set()
    credentials: dict[str, str] = {}
    entries = [part.strip() for url in urls for part in str(url).split(",") if part.strip()]
    for number, (entry, before) in enumerate(zip(entries, ["", *entries]), start=1):
        try:
            parts, port = _parsed(entry, before)
        except ValueError as problem:
            # No part of the entry is repeated, and the chain is cut: any of it may be a secret
            raise _errors.OptionError("servers", f"entry {number} {problem}: {_URLS}") from None
        if parts.username and not credentials:
            names = ("user", "password") if parts.password else ("token",)
            credentials = dict(zip(names, (unquote(parts.username), unquote(parts.password or ""))))
        schemes.add(parts.scheme in ("ws", "wss"))
        host = parts.hostname or ""
        clean.append(f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}")
    if not clean:
        raise _errors.OptionError("servers", "is empty: give at least one URL such as nats://host:4222.")
    if len(schemes) > 1:
        raise _errors.OptionError("servers", "mixes websocket URLs with others: give one kind.")
    return tuple(clean), credentials


def _parsed(entry: str, before: str) -> tuple[SplitResult, int]:
    """Return the parts of a server's URL, and its port. Raises ValueError with the fault, but without the URL."""
    if re.search(r"[\s\x00-\x1f\x7f]", entry):
        raise ValueError("has blanks or control characters")
    # The second may be the rest of a password with a comma, whose beginning would be taken for a port
    if _HALF_A_SCHEME.match(entry) or (before and "@" in entry and "://" not in entry and "@" not in before):
        raise ValueError("has no whole scheme")
    try:
        parts = urlsplit(entry if "://" in entry else f"nats://{entry}")
        port = parts.port
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if port == 0:
        raise ValueError("has the port 0, on which no server listens")
    if parts.scheme not in _SCHEMES:
        raise ValueError("has none of these schemes")
    # An unescaped / # or ? in a password ends the host, which would be looked up and shown
    if parts.path or "#" in entry or "?" in entry:
        raise ValueError("has a path, a query or a fragment")
    host = parts.hostname or ""
    if not _HOST.fullmatch(host) or len(host) > _LONGEST_HOST or any(len(word) > 63 for word in host.split(".")):
        raise ValueError("has no valid host")
    if "@" in parts.netloc and not parts.username:
        raise ValueError("has no user before its @")
    return parts, port or {"ws": 80, "wss": 443}.get(parts.scheme, 4222)
