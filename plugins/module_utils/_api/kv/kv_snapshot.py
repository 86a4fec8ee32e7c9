# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read all keys below a prefix as of one moment, during writes of others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ... import _errors
from ..._options import names
from .. import last_messages
from . import kv

if TYPE_CHECKING:
    from ..._connection import sessions

_TRIES = 5
_PAUSE = 0.01  # seconds, doubled at each try: writes come in bursts


def snapshot(session: sessions.Session, bucket: kv.Bucket, prefix: str) -> dict[str, kv.Entry]:
    """Return the newest revision of all keys below a prefix by their full names, including markers of deleted keys.

    With nats-server 2.11 and at most 1,024 keys, that is one request. Otherwise keys are listed, read as of that
    moment, and checked: if a key has changed, all are read again. Servers before 2.11 can't read the past, so that each
    write counts as a change; with 2.11 only writes to keys without history do. Raises StreamsError if writes were too
    fast each time.
    """
    found = kv.last_below(session, bucket, selection(prefix))
    if found is None:
        found = _listed(session, bucket, prefix)
    return {key: found[key] for key in sorted(found) if key.startswith(prefix)}


def normal_prefix(prefix: str) -> str:
    """Return a prefix that ends where a word of a key ends: ``auth`` becomes ``auth.``, ``hosts/`` stays.

    Raises OptionError.
    """
    if not prefix or prefix.endswith("/"):
        return _checked(prefix, prefix)
    return _checked(prefix, f"{prefix.rstrip('.')}.")


def selection(prefix: str) -> str:
    """Return the narrowest wildcard that selects all keys with the prefix. Servers know only words between dots."""
    return f"{prefix[: prefix.rfind('.') + 1]}>"


def _checked(given: str, prefix: str) -> str:
    try:
        if prefix:
            names.EXISTING_KEY.to_wire(f"{prefix}x")
    except ValueError:
        raise _errors.OptionError(
            "prefix", f"'{given}' is not the beginning of a key: {names.EXISTING_KEY.shape}."
        ) from None
    return prefix


def _listed(session: sessions.Session, bucket: kv.Bucket, prefix: str) -> dict[str, kv.Entry]:
    for tried in range(_TRIES):
        if tried:
            time.sleep(_PAUSE * 2**tried)
        now, listed = kv.open_bucket(session, bucket.name, selection(prefix))
        wanted = [key for key in listed if key.startswith(prefix)]
        found = _read(session, now, wanted, by_leader=tried > 0)
        if len(found) == len(wanted):
            return found
    raise _errors.StreamsError(
        f"The keys below '{prefix}' of bucket {bucket.name} changed each of {_TRIES} times while they were read: try "
        "again, read fewer keys at once, or give the bucket a history of 2 or more (and nats-server 2.11).",
        code="changing",
    )


def _read(session: sessions.Session, bucket: kv.Bucket, keys: list[str], *, by_leader: bool) -> dict[str, kv.Entry]:
    """Return the keys as of the moment when the bucket was opened, without those that changed since.

    Before nats-server 2.11 a mirror without the key may answer unnoticed. Then the leader is asked, if that is allowed.
    """
    if by_leader and bucket.direct and session.server.version < last_messages.BATCHES_SINCE:
        try:
            return kv.last_many(session, bucket.by_leader(), keys, bucket.last_sequence)
        except _errors.PermissionMissing:
            pass
    return kv.last_many(session, bucket, keys, bucket.last_sequence)
