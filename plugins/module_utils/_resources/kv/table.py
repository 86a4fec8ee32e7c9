# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of key-value buckets over the stream ``KV_<name>``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._options import codecs, fields, names
from .. import shared_fields
from ..stream.facts import facts
from . import origins

if TYPE_CHECKING:
    from collections.abc import Mapping

_MIRROR, _SOURCES = shared_fields.origins(origins.Origin, origins.Source)
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
        fields.Field("allow_direct", codecs.boolean()),
        fields.Field(
            "limit_marker_ttl", codecs.duration(1), wire="subject_delete_marker_ttl", since=shared_fields.V2_11
        ),
    )
)


def result(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bucket for results, from its stream's info."""
    told = facts(info)
    state = told.pop("state")
    return {
        "name": info["config"]["name"].removeprefix(names.BUCKET_PREFIX),
        "stream": info["config"]["name"],
        **SPEC.results_of(info["config"]),
        "value_count": state["messages"],
        "key_count": state["subjects"],
        "revision": state["last_seq"],
        "bytes": state["bytes"],
        **told,
    }
