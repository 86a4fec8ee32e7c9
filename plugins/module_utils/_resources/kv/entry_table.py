# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of an entry, and the checks of their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api.kv import kv
from ..._options import codecs, fields, names, quantities, values
from .. import resource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import wire


class Lifetime(codecs.Duration):
    """The lifetime of a key, which servers count in whole seconds."""

    def to_wire(self, value: Any) -> int:
        length = super().to_wire(value)
        if length % quantities.NANOSECOND:
            raise ValueError(f"'{value}' is not in whole seconds, in which servers count the lifetimes of keys")
        return length


LIFETIME = fields.Field("ttl", Lifetime({"type": "str"}, 0, low=1), since=kv.LIFETIMES_SINCE)
SPEC = fields.Spec(
    (
        fields.Field("bucket", names.BUCKET_NAME, argument_extra={"required": True}),
        # Without no_log, Ansible would take an option named key for a secret
        fields.Field("key", names.EXISTING_KEY, argument_extra={"required": True, "no_log": False}),
        fields.Field("value", codecs.Codec({"type": "raw"})),
        fields.Field("encoding", codecs.choice(*values.ENCODINGS), argument_extra={"default": values.TEXT}),
        fields.Field("create_only", codecs.boolean(), argument_extra={"default": False}),
        fields.Field("revision", codecs.whole(0)),
        LIFETIME,
    )
)


def check_offline(options: Mapping[str, Any]) -> None:
    """Raise OptionError for faults that can be found without the server."""
    for error in resource.invalid(SPEC, options):
        raise error
    if options["create_only"] and options["revision"] is not None:
        raise _errors.OptionError("create_only", "can't be given together with revision: give one of them.")
    if options.get("renew"):
        _check_renew(options)
    if options.get("increment") is not None:
        _check_increment(options)
    elif options.get("revert_to") is not None:
        if options["state"] != "present" or options["value"] is not None or options["create_only"]:
            raise _errors.OptionError(
                "revert_to", "does not go with value, create_only, or another state than present: leave one out."
            )
    elif options["state"] == "present" and not (options.get("renew") and options["value"] is None):
        payload(options)


def _check_renew(options: Mapping[str, Any]) -> None:
    others = [name for name in ("increment", "revert_to") if options.get(name) is not None]
    if options["state"] != "present" or options["create_only"] or others:
        raise _errors.OptionError(
            "renew", "does not go with create_only, increment, revert_to, or another state than present: leave one out."
        )


def _check_increment(options: Mapping[str, Any]) -> None:
    if not options["increment"]:
        raise _errors.OptionError("increment", "is 0, which changes nothing: give another number, or leave it out.")
    others = [name for name in ("value", "revision", "revert_to") if options.get(name) is not None]
    if options["state"] != "present" or options["create_only"] or others:
        raise _errors.OptionError(
            "increment",
            "does not go with value, create_only, revision, revert_to, or another state than present: leave one out.",
        )


def payload(options: Mapping[str, Any]) -> bytes:
    """Return the bytes of the option ``value``. Raises OptionError."""
    if options["value"] is None:
        raise _errors.OptionError("value", "is needed with state: present; an empty text is written as ''.")
    return _errors.checked("value", values.to_bytes, options["value"], options["encoding"])


def check_limits(bucket: kv.Bucket, length: int, ttl: int | None, server: wire.Server, where: str = "value") -> None:
    """Raise Refused if the bucket or the server does not accept a value of ``length`` bytes. ``where`` names it."""
    if ttl and not bucket.lifetimes:
        raise _errors.Refused(
            f"ttl: bucket {bucket.name} does not let keys carry lifetimes: set its limit_marker_ttl with "
            "choria_kv_bucket, or leave ttl out.",
            code="refused",
            option="ttl",
        )
    if ttl and ttl < bucket.shortest_lifetime:
        raise _errors.Refused(
            f"ttl: {ttl}s is shorter than limit_marker_ttl of bucket {bucket.name}, and the server would make it "
            f"{bucket.shortest_lifetime}s: give that or more, or lower limit_marker_ttl with choria_kv_bucket.",
            code="refused",
            option="ttl",
        )
    limits = {"max_value_size of the bucket": bucket.max_value_size, "max_payload of the server": server.max_payload}
    for limit, size in limits.items():
        if 0 < size < length:
            raise _errors.Refused(
                f"{where}: has {length} bytes, and {limit} allows {size}: store less, or raise the limit.",
                code="too_large",
                option=where.partition("[")[0].partition(":")[0],
            )
