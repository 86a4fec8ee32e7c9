# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Key-value buckets: a table over the stream ``KV_<name>``, after nats.go's jetstream/kv.go and what Choria makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import codecs, fields, names
from .. import shared_fields
from ..stream import base as stream_base
from ..stream.facts import facts
from ..stream.stream import SPEC as STREAM_ROWS
from ..stream.stream import WITH_DATA
from ..stream.windows import window_for
from . import origins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import wire

_MIRROR, _SOURCES = shared_fields.origins(origins.Origin, origins.Source)
# What clients ask for at most. Other tools keep more values, and so do buckets that they made.
_MOST_HISTORY = 64

SPEC = fields.Spec(
    (
        fields.Field("name", names.BUCKET_NAME, argument_extra={"required": True}),
        shared_fields.DESCRIPTION,
        fields.Field("history", shared_fields.AtLeastOne({"type": "int"}, 1), wire="max_msgs_per_subject"),
        fields.Field("ttl", codecs.duration(0.1), wire="max_age"),
        shared_fields.REPLICAS,
        fields.Field("max_value_size", codecs.size((1 << 31) - 1), wire="max_msg_size"),
        fields.Field("max_bucket_size", codecs.size(), wire="max_bytes"),
        shared_fields.STORAGE,
        fields.Field(
            "compression",
            codecs.mapped(
                {"type": "bool"}, lambda on: "s2" if on else "none", lambda value: value == "s2", zero="none"
            ),
        ),
        fields.Field("mirror", _MIRROR, update=shared_fields.MIRROR_CHANGE),
        fields.Field("sources", _SOURCES),
        fields.Field("republish", shared_fields.REPUBLISH),
        fields.Field("placement", shared_fields.PLACEMENT),
        shared_fields.METADATA,
        fields.Field(
            "limit_marker_ttl", codecs.duration(1), wire="subject_delete_marker_ttl", since=shared_fields.V2_11
        ),
    )
)


class BucketResource(stream_base.StreamBacked):
    noun = "bucket"
    prefix = names.BUCKET_PREFIX
    spec = SPEC
    implied = tuple(row for row in STREAM_ROWS if row.path not in {row.path for row in SPEC})
    states: Mapping[str, Any] = WITH_DATA

    def fixed(self, name: str, collective: str | None, server: wire.Server) -> dict[str, Any]:
        # Older servers never change it, and what else is asked for must not be refused for that
        changeable = {"max_consumers": shared_fields.UNLIMITED} if server.version >= shared_fields.V2_12 else {}
        return {
            "subjects": [f"$KV.{name}.>"],
            "discard": "new",
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "max_msgs": shared_fields.UNLIMITED,
            **changeable,
        }

    def complete(self, name: str, desired: dict[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
        _check_history(desired.get("max_msgs_per_subject"), current.get("max_msgs_per_subject"))
        if not current:
            # Others may leave direct reads out, with 'choria kv add --no-direct'
            desired = {"max_msgs_per_subject": 1, "allow_direct": True, **desired}
        copies = desired.get("mirror") or desired.get("sources")  # which the server gives none
        age = int(current.get("max_age") or 0)
        if (copies and not current) or desired.get("max_age", age) != age:
            desired["duplicate_window"] = window_for(desired.get("max_age"))
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
        if desired.get("sources"):
            desired["sources"] = [origins.moved(source, name) for source in desired["sources"]]
        return desired

    def unmanaged(
        self, name: str, desired: Mapping[str, Any], current: Mapping[str, Any], server: wire.Server
    ) -> dict[str, Any]:
        from ..exact import hidden_defaults, keep_mirror

        keep_mirror(f"bucket {name}", desired, current)
        hidden = hidden_defaults(self.implied, current, server)
        wanted = {**hidden, **super().unmanaged(name, desired, current, server)}
        for path in ("subjects", "mirror_direct"):
            del wanted[path]
        wanted["duplicate_window"] = window_for(desired.get("max_age"))
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


def _check_history(wanted: int | None, there: int | None) -> None:
    """Raises OptionError for a number of values that clients do not know, unless the bucket has it already."""
    if wanted is not None and wanted != there and not 1 <= wanted <= _MOST_HISTORY:
        raise _errors.OptionError("history", f"{wanted} is out of range: give between 1 and {_MOST_HISTORY}.")


BUCKET = BucketResource()
