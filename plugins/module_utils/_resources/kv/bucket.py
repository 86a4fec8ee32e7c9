# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Key-value buckets: what makes a stream one, after nats.go's jetstream/kv.go and what Choria makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import names
from .. import shared_fields
from ..stream import base as stream_base
from ..stream.stream import WITH_DATA
from ..stream.table import SPEC as STREAM_ROWS
from ..stream.windows import window_for
from . import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import answers
    from ..._connection import wire

# The largest history that clients request. Other tools' buckets may keep more values.
_MOST_HISTORY = 64


class BucketResource(stream_base.StreamBacked):
    noun = "bucket"
    prefix = names.BUCKET_PREFIX
    spec = table.SPEC
    implied = tuple(row for row in STREAM_ROWS if row.path not in {row.path for row in table.SPEC})
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
        history = desired.get("max_msgs_per_subject")
        if history not in (None, current.get("max_msgs_per_subject")) and not 1 <= history <= _MOST_HISTORY:
            raise _errors.OptionError("history", f"{history} is out of range: give between 1 and {_MOST_HISTORY}.")
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
                    "be read any more: create a bucket with sources instead.",
                    code="update_refused",
                    option="mirror",
                )
        if desired.get("sources"):
            desired["sources"] = [table.moved_source(source, name) for source in desired["sources"]]
        return desired

    def unmanaged(
        self, name: str, desired: Mapping[str, Any], current: Mapping[str, Any], server: wire.Server
    ) -> dict[str, Any]:
        from ..exact import hidden_defaults, keep_mirror

        keep_mirror(f"bucket {name}", desired, current)
        hidden = hidden_defaults(self.implied, current, server)
        values = {**hidden, **super().unmanaged(name, desired, current, server)}
        for path in ("subjects", "mirror_direct"):
            del values[path]
        values["duplicate_window"] = window_for(desired.get("max_age"))
        return {**values, "max_msgs_per_subject": 1, "allow_direct": True}

    def result(self, config: Mapping[str, Any], info: answers.StreamInfo | None) -> dict[str, Any]:
        return table.result(config, info)


BUCKET = BucketResource()
