# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tables of several kinds have in common."""

from __future__ import annotations

from .._options import codecs
from .._options.fields import Field, refused
from .._options.names import SUBJECT

V2_11, V2_12, V2_14 = (2, 11, 0), (2, 12, 0), (2, 14, 0)
UNLIMITED = -1
RECREATE_BY_HAND = "With recreate: copy it is made anew with its messages, with recreate: true without them."


def limit() -> codecs.Whole:
    return codecs.whole(1, extra=(UNLIMITED,), zero=UNLIMITED, why="-1 is no limit")


TRANSFORM = (Field("src", SUBJECT), Field("dest", SUBJECT))
PLACEMENT = codecs.obj(Field("cluster", codecs.text()), Field("tags", codecs.names()))
REPUBLISH = codecs.obj(
    Field("src", SUBJECT, default=">"), Field("dest", SUBJECT), Field("headers_only", codecs.boolean()), needs=("dest",)
)


def origins(name: codecs.Codec) -> tuple[codecs.Object, codecs.Objects]:
    """The codecs of a mirror and of sources; ``name`` is the codec of the origin's name."""
    rest = (
        Field("opt_start_seq", codecs.whole(1)),
        Field("opt_start_time", codecs.timestamp()),
        Field("filter_subject", SUBJECT),
        Field(
            "external", codecs.obj(Field("api", SUBJECT, argument_extra={"required": True}), Field("deliver", SUBJECT))
        ),
        Field("subject_transforms", codecs.objects(codecs.obj(*TRANSFORM))),
        Field(
            "consumer",
            codecs.obj(
                Field("name", codecs.text(), argument_extra={"required": True}), Field("deliver_subject", SUBJECT)
            ),
            since=V2_14,
        ),
    )
    source = codecs.obj(Field("name", name, argument_extra={"required": True}), *rest)
    return codecs.obj(Field("name", name), *rest, needs=("name",)), codecs.objects(source)


MIRROR_CHANGE = refused(
    10055,
    "Make another that mirrors it, or end the mirroring with mirror: {} (nats-server 2.12).",
    lambda before, after, release: bool(after) or release < V2_12,
)
DESCRIPTION = Field("description", codecs.text(max_bytes=4096))
METADATA = Field("metadata", codecs.labels())
STORAGE = Field("storage", codecs.choice("file", "memory"), update=refused(10052, RECREATE_BY_HAND))
REPLICAS = Field("replicas", codecs.whole(1, 5, zero=1), wire="num_replicas")
