# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tables of several kinds have in common."""

from __future__ import annotations

from .._options import codecs, fields, names

V2_11, V2_12, V2_14 = (2, 11, 0), (2, 12, 0), (2, 14, 0)
UNLIMITED = -1
RECREATE_BY_HAND = "With recreate: copy it is made anew with its messages, with recreate: true without them."


def limit() -> codecs.Whole:
    return codecs.whole(1, extra=(UNLIMITED,), zero=UNLIMITED, why="-1 is no limit")


TRANSFORM = (fields.Field("src", names.SUBJECT), fields.Field("dest", names.SUBJECT))
PLACEMENT = codecs.obj(fields.Field("cluster", codecs.text()), fields.Field("tags", codecs.names()))
REPUBLISH = codecs.obj(
    fields.Field("src", names.SUBJECT, default=">"),
    fields.Field("dest", names.SUBJECT),
    fields.Field("headers_only", codecs.boolean()),
    needs=("dest",),
)


def origins(name: codecs.Codec) -> tuple[codecs.Object, codecs.Objects]:
    """The codecs of a mirror and of sources; ``name`` is the codec of the origin's name."""
    rest = (
        fields.Field("opt_start_seq", codecs.whole(1)),
        fields.Field("opt_start_time", codecs.timestamp()),
        fields.Field("filter_subject", names.SUBJECT),
        fields.Field(
            "external",
            codecs.obj(
                fields.Field("api", names.SUBJECT, argument_extra={"required": True}),
                fields.Field("deliver", names.SUBJECT),
            ),
        ),
        fields.Field("subject_transforms", codecs.objects(codecs.obj(*TRANSFORM))),
        fields.Field(
            "consumer",
            codecs.obj(
                fields.Field("name", codecs.text(), argument_extra={"required": True}),
                fields.Field("deliver_subject", names.SUBJECT),
            ),
            since=V2_14,
        ),
    )
    source = codecs.obj(fields.Field("name", name, argument_extra={"required": True}), *rest)
    return codecs.obj(fields.Field("name", name), *rest, needs=("name",)), codecs.objects(source)


MIRROR_CHANGE = fields.refused(
    10055,
    "Make another that mirrors it, or end the mirroring with mirror: {} (nats-server 2.12).",
    lambda before, after, release: bool(after) or release < V2_12,
)
DESCRIPTION = fields.Field("description", codecs.text(max_bytes=4096))
METADATA = fields.Field("metadata", codecs.labels())
STORAGE = fields.Field("storage", codecs.choice("file", "memory"), update=fields.refused(10052, RECREATE_BY_HAND))
REPLICAS = fields.Field("replicas", codecs.whole(1, 5, zero=1), wire="num_replicas")
