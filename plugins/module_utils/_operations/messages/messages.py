# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of choria_stream_message. Each state accepts only its own options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import codecs, fields, names
from . import batch
from .outgoing import PUBLISH
from .publish import publish
from .removal import delete, purge
from .selection import ENCODING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions

_STATES = {"present": publish, "absent": delete, "purged": purge}
_BELONG = {
    **{row.option: ("present",) for row in (*PUBLISH, batch.BATCH)},
    "subject": ("present", "purged"),
    "atomic": ("present",),
    "sequence": ("absent", "purged"),
    "sequences": ("absent",),
    "erase": ("absent",),
    "keep": ("purged",),
}


class _Sequences(codecs.Codec):
    """A list of sequence numbers."""

    def to_wire(self, value: Any) -> list[int]:
        return [_SEQUENCE.to_wire(each) for each in value]


_SEQUENCE = codecs.whole(1)
SPEC = fields.Spec(
    (
        fields.Field("state", codecs.choice(*_STATES), argument_extra={"default": "present"}),
        fields.Field("stream", names.STREAM_NAME),
        *PUBLISH,
        batch.BATCH,
        fields.Field("atomic", codecs.boolean()),
        ENCODING,
        fields.Field("sequence", _SEQUENCE),
        fields.Field("sequences", _Sequences({"type": "list", "elements": "int"})),
        fields.Field("erase", codecs.boolean()),
        fields.Field("keep", codecs.whole(1)),
        fields.Field("allow_data_loss", codecs.boolean(), argument_extra={"default": False}),
    ),
    {
        "required_if": [
            ("state", "present", ("subject", "messages"), True),
            ("state", "absent", ("stream",)),
            ("state", "absent", ("sequence", "sequences"), True),
            ("state", "purged", ("stream",)),
        ],
        "mutually_exclusive": [
            ("keep", "sequence"),
            ("sequences", "sequence"),
            *(("messages", row.option) for row in PUBLISH),
        ],
    },
)


def act(session: sessions.Session, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Publish, delete or purge. Return the whole result."""
    state = options["state"]
    for option, states in _BELONG.items():
        if options[option] is not None and state not in states:
            raise _errors.OptionError(
                option, f"means nothing with state: {state}, it belongs to {' and '.join(states)}."
            )
    if options["atomic"] is not None and options["messages"] is None:
        raise _errors.OptionError("atomic", "means nothing without messages.")
    if options["sequences"] is not None:
        return batch.delete(session, options, check_mode)
    if options["messages"] is not None:
        return batch.publish(session, options, check_mode)
    return _STATES[state](session, options, check_mode)
