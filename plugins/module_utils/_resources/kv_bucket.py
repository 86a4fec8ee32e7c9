# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Key-value buckets: a table over the stream ``KV_<name>``, after nats.go's jetstream/kv.go and what Choria makes."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._options import codecs, fields, names
from . import rows, stream_backed
from .stream import SPEC as STREAM_ROWS
from .stream import WITH_DATA
from .stream_facts import facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._connection import wire

_MIRROR, _SOURCES = rows.origins(
    codecs.mapped(
        {"type": "str"},
        lambda name: name if str(name).startswith(names.BUCKET_PREFIX) else f"{names.BUCKET_PREFIX}{name}",
        lambda value: str(value).removeprefix(names.BUCKET_PREFIX),
    )
)

SPEC = fields.Spec(
    (
        fields.Field("name", names.BUCKET_NAME, argument_extra={"required": True}),
        rows.DESCRIPTION,
        fields.Field("history", codecs.whole(1, 64, zero=1), wire="max_msgs_per_subject"),
        fields.Field("ttl", codecs.duration(0.1), wire="max_age"),
        rows.REPLICAS,
        fields.Field("max_value_size", codecs.size((1 << 31) - 1), wire="max_msg_size"),
        fields.Field("max_bucket_size", codecs.size(), wire="max_bytes"),
        rows.STORAGE,
        fields.Field(
            "compression",
            codecs.mapped(
                {"type": "bool"}, lambda on: "s2" if on else "none", lambda value: value == "s2", zero="none"
            ),
        ),
        fields.Field("mirror", _MIRROR, update=rows.MIRROR_CHANGE),
        fields.Field("sources", _SOURCES),
        fields.Field("republish", rows.REPUBLISH),
        fields.Field("placement", rows.PLACEMENT),
        rows.METADATA,
        fields.Field("limit_marker_ttl", codecs.duration(1), wire="subject_delete_marker_ttl", since=rows.V2_11),
    ),
    {"mutually_exclusive": [("mirror", "sources")]},
)


class BucketResource(stream_backed.StreamBacked):
    noun = "bucket"
    prefix = names.BUCKET_PREFIX
    spec = SPEC
    implied = tuple(row for row in STREAM_ROWS if row.path not in {row.path for row in SPEC})
    states: Mapping[str, Any] = WITH_DATA

    def fixed(self, name: str, collective: str | None, server: wire.Server) -> dict[str, Any]:
        # Older servers never change it, and what else is asked for must not be refused for that
        changeable = {"max_consumers": rows.UNLIMITED} if server.version >= rows.V2_12 else {}
        return {
            "subjects": [f"$KV.{name}.>"],
            "discard": "new",
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "max_msgs": rows.UNLIMITED,
            **changeable,
        }

    def complete(self, name: str, desired: dict[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
        if not current:
            # Others may leave direct reads out, with 'choria kv add --no-direct'
            desired = {"max_msgs_per_subject": 1, "allow_direct": True, **desired}
        if "max_age" in desired and int(current.get("max_age") or 0) != desired["max_age"]:
            desired["duplicate_window"] = stream_backed.window_for(desired["max_age"])
        if desired.get("subject_delete_marker_ttl"):
            desired["allow_msg_ttl"] = True
        mirrored = current.get("mirror")
        if desired.get("mirror", mirrored):
            # A mirror has its origin's subjects. It serves reads for it, where the server lets it.
            desired.pop("subjects")
            return desired if current else {**desired, "mirror_direct": True}
        if mirrored:
            desired["mirror_direct"] = False
            if mirrored["name"] != f"{names.BUCKET_PREFIX}{name}":
                raise _errors.Refused(
                    f"mirror: the keys of bucket {name} carry the name of its origin {mirrored['name']}, and could not "
                    "be read any more: make a bucket with sources instead.",
                    code="update_refused",
                    option="mirror",
                )
        for source in desired.get("sources") or []:
            if "subject_transforms" not in source:
                source["subject_transforms"] = [_moved(source, name)]
        return desired

    def unmanaged(
        self, name: str, desired: Mapping[str, Any], current: Mapping[str, Any], server: wire.Server
    ) -> dict[str, Any]:
        from .exact import hidden_defaults, keep_mirror

        keep_mirror(f"bucket {name}", desired, current)
        hidden = hidden_defaults(self.implied, current, server)
        wanted = {**hidden, **super().unmanaged(name, desired, current, server)}
        for path in ("subjects", "mirror_direct", "duplicate_window"):
            del wanted[path]
        if not (desired.get("mirror") or desired.get("sources")):
            wanted["duplicate_window"] = stream_backed.window_for(desired.get("max_age"))
        return {**wanted, "max_msgs_per_subject": 1, "allow_direct": True}

    def result(self, info: Mapping[str, Any]) -> dict[str, Any]:
        told = facts(info)
        state = told.pop("state")
        return {
            "name": info["config"]["name"].removeprefix(names.BUCKET_PREFIX),
            "stream": info["config"]["name"],
            **self.options_of(info["config"]),
            "value_count": state["messages"],
            "key_count": state["subjects"],
            "revision": state["last_seq"],
            "bytes": state["bytes"],
            **told,
        }


def _moved(source: dict[str, Any], name: str) -> dict[str, str]:
    """The transform of a source's keys into those of the bucket ``name``. It takes the place of a filter."""
    theirs = f"$KV.{source['name'].removeprefix(names.BUCKET_PREFIX)}."
    taken = source.pop("filter_subject", f"{theirs}>")
    given = count(1)
    words = [f"{{{{wildcard({next(given)})}}}}" if word == "*" else word for word in taken.split(".")]
    return {"src": taken, "dest": ".".join(words).replace(theirs, f"$KV.{name}.", 1)}


BUCKET = BucketResource()
