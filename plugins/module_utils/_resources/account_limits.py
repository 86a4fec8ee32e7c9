# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the limits of an account as nats-server does (server/jetstream.go).

An account has one set of limits, or one for each number of replicas (``tiers``, by names such as R3). In an account
without tiers each replica counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EXCEEDED = {"file": 10047, "memory": 10028}
_KINDS = {"file": "storage", "memory": "memory"}


class _Limit(NamedTuple):
    """A limit that a configuration exceeds: the field to change, the reason, and JetStream's number of the error."""

    field: str
    reason: str
    err_code: int


def check(
    account: Mapping[str, Any], config: Mapping[str, Any], present: Mapping[str, Any], options: Mapping[str, str]
) -> None:
    """Raise Refused if the account does not allow this stream.

    ``account`` is the answer of INFO, empty if it is unknown. ``present`` is the present configuration. ``options`` has
    the name of the option for each field of the server.
    """
    for limit in _exceeded(account, config, present):
        option = options.get(limit.field, limit.field)
        raise _errors.Refused(
            f"{option}: {limit.reason} (JetStream error {limit.err_code}).",
            code="account_limit",
            option=option,
            err_code=limit.err_code,
        )


def storage_error(
    account: Mapping[str, Any],
    config: Mapping[str, Any],
    present: Mapping[str, Any],
    options: Mapping[str, str],
    error: _errors.ApiError,
) -> _errors.StreamsError:
    """Return the server's error for lack of storage, with whether the account or the server lacks it."""
    try:
        check(account, config, present, options)
    except _errors.Refused as refused:
        return refused
    kind = next(_KINDS[kept] for kept, number in EXCEEDED.items() if number == error.err_code)
    setting = "max_file_store" if kind == "storage" else "max_memory_store"
    # nats-server 2.10 adds what the old number of copies takes once more
    other_tier = bool(present) and not _same_tier(present, config, bool(account.get("tiers")))
    of_server = bool(account) and not other_tier
    owner = (
        "that is the limit of the server, and not of the account" if of_server else "of the account or of the server"
    )
    option = options.get("max_bytes", "max_bytes")
    return _errors.Refused(
        f"{option}: {error.message.partition(' (JetStream')[0]}: {owner} (JetStream error {error.err_code}). Lower "
        f"{option}, delete what nobody needs, or raise {setting} of the server.",
        code="no_storage",
        option=option,
        err_code=error.err_code,
    )


def check_room(account: Mapping[str, Any], config: Mapping[str, Any], *, copied: bool) -> None:
    """Raise Refused if a stream can't be created again, since the trial needs another stream for a moment."""
    limits, used = _tier(account, config)
    if copied and limits.get("max_bytes_required"):
        raise _errors.Refused(
            "recreate: the account requires max_bytes of each stream, and the target of a copy may have no limit "
            "(JetStream error 10113): with recreate: true it is deleted and created again.",
            code="not_copyable",
            option="recreate",
            err_code=10113,
        )
    if 0 < limits.get("max_streams", 0) <= used.get("streams", 0):
        raise _errors.Refused(
            f"recreate: the account may have {limits['max_streams']} streams, and has {used['streams']}: a new "
            "configuration is tried out with one more stream (JetStream error 10027).",
            code="account_limit",
            option="recreate",
            err_code=10027,
        )


def with_stream(account: Mapping[str, Any], config: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """Return the account after this stream was created; both configurations may be empty."""
    changed = {**account, "tiers": {name: dict(tier) for name, tier in (account.get("tiers") or {}).items()}}
    for there, sign in ((present, -1), (config, 1)):
        if there:
            used = changed["tiers"].get(_name(there), changed) if changed["tiers"] else changed
            used["streams"] = used.get("streams", 0) + sign
            kind = f"reserved_{_KINDS[there.get('storage', 'file')]}"
            used[kind] = used.get(kind, 0) + sign * _size(there)
    return changed


def max_ack_pending(account: Mapping[str, Any], stream: Mapping[str, Any]) -> int:
    """Return how many unacknowledged messages a consumer of this stream may have, 0 for any number."""
    of_account = int(_tier(account, stream)[0].get("max_ack_pending") or 0)
    of_stream = int((stream.get("consumer_limits") or {}).get("max_ack_pending") or 0)
    limits = [limit for limit in (of_account, of_stream) if limit > 0]
    return min(limits, default=0)


def max_consumers(account: Mapping[str, Any], stream: Mapping[str, Any]) -> int:
    """Return how many consumers this stream may have, 0 for any number."""
    limits = [int(_tier(account, stream)[0].get("max_consumers") or 0), int(stream.get("max_consumers") or 0)]
    return min((limit for limit in limits if limit > 0), default=0)


def _exceeded(account: Mapping[str, Any], config: Mapping[str, Any], present: Mapping[str, Any]) -> Iterator[_Limit]:
    limits, used = _tier(account, config)
    if not limits:
        if account.get("tiers"):
            yield _Limit("num_replicas", f"the account has no limits for {_name(config)[1:]} copies", 10120)
        return
    size, kind = int(config.get("max_bytes") or 0), _KINDS[config.get("storage", "file")]
    if not present and 0 < limits.get("max_streams", 0) <= used.get("streams", 0):
        yield _Limit("name", f"the account may have {limits['max_streams']} streams, and has {used['streams']}", 10027)
    if limits.get("max_bytes_required") and size <= 0:
        yield _Limit("max_bytes", "the account requires a limit for each stream: give one", 10113)
    most = int(limits.get(f"{kind}_max_stream_bytes") or 0)
    if 0 < most < size:
        yield _Limit("max_bytes", f"{size} bytes are more than the {most} that the account allows one stream", 10122)
    if 0 < limits.get("max_consumers", 0) < int(config.get("max_consumers") or 0):
        reason = f"{config['max_consumers']} are more than the {limits['max_consumers']} that the account allows"
        yield _Limit("max_consumers", reason, 10026)
    yield from _storage(account, config, present, limits, used)


def _storage(
    account: Mapping[str, Any],
    config: Mapping[str, Any],
    present: Mapping[str, Any],
    limits: Mapping[str, Any],
    used: Mapping[str, Any],
) -> Iterator[_Limit]:
    kept, tiers = config.get("storage", "file"), bool(account.get("tiers"))
    kind = _KINDS[kept]
    most, reserved = int(limits.get(f"max_{kind}", -1)), int(used.get(f"reserved_{kind}") or 0)
    if reserved >= 1 << 63:
        reserved = 0  # nats-server 2.10 counts -1 for each stream without a limit
    if present and present.get("storage", "file") == kept and _same_tier(present, config, tiers):
        reserved = max(0, reserved - _size(present))  # servers report no copies, though these count
    needed = max(1, _size(config) * (1 if tiers else int(config.get("num_replicas") or 1)))
    if most >= 0 and reserved + needed > most:
        size = int(config.get("max_bytes") or 0)
        copies = int(config.get("num_replicas") or 1) if not tiers else 1
        cause = f"{size} bytes{f' in {copies} copies' if copies > 1 else ''} are" if size > 0 else "a stream is"
        yield _Limit(
            "max_bytes" if size > 0 else "storage",
            f"{cause} more than the account allows: its limit of {kind} is {most}, of which {reserved} are reserved "
            "for other streams",
            EXCEEDED[kept],
        )


def _tier(account: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the limits for this stream and their use; both empty if there are none."""
    tiers = account.get("tiers")
    used = (tiers.get(_name(config)) or {}) if tiers else account
    return used.get("limits") or {}, used


def _name(config: Mapping[str, Any]) -> str:
    return f"R{int(config.get('num_replicas') or 1)}"


def _same_tier(one: Mapping[str, Any], other: Mapping[str, Any], tiers: bool) -> bool:
    return not tiers or _name(one) == _name(other)


def _size(config: Mapping[str, Any]) -> int:
    return max(0, int(config.get("max_bytes") or 0))
