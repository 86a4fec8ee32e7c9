# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of choria_kv_sync: a dict or a folder becomes the keys below a prefix, or the reverse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api.kv.kv_snapshot import normal_prefix
from ..._options import codecs, fields, mask, names, values
from ..._resources.kv.entry_table import LIFETIME
from .pull import pull
from .push import push

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..._connection import sessions

SPEC = fields.Spec(
    (
        fields.Field("bucket", names.BUCKET_NAME, argument_extra={"required": True}),
        fields.Field("prefix", codecs.text(), argument_extra={"default": ""}),
        fields.Field("data", codecs.Codec({"type": "dict"})),
        fields.Field("src", codecs.Codec({"type": "path"})),
        fields.Field("dest", codecs.Codec({"type": "path"})),
        fields.Field("encoding", codecs.choice(*values.ENCODINGS), argument_extra={"default": values.TEXT}),
        fields.Field("separator", codecs.choice(".", "/"), argument_extra={"default": "."}),
        LIFETIME,
        fields.Field("prune", codecs.boolean(), argument_extra={"default": False}),
        fields.Field("prune_state", codecs.choice("absent", "purged"), argument_extra={"default": "absent"}),
        mask.MASK,
        fields.Field("allow_data_loss", codecs.boolean(), argument_extra={"default": False}),
        fields.Field("mode", codecs.Codec({"type": "raw"}), argument_extra={"default": "0600"}),
        fields.Field("directory_mode", codecs.Codec({"type": "raw"}), argument_extra={"default": "0700"}),
    ),
    {"mutually_exclusive": [("data", "src", "dest")], "required_one_of": [("data", "src", "dest")]},
)


def shown(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options as results and logs may show them: without the values of masked keys."""
    data, patterns = options.get("data"), options.get("mask")
    if data is None:
        return options
    if not isinstance(data, dict) or not isinstance(patterns, list):
        return {**options, "data": mask.HIDDEN}
    masked = mask.Mask(patterns)
    try:
        prefix = normal_prefix(str(options.get("prefix") or ""))
    except _errors.OptionError:  # the task will fail, and the names of the keys are unknown
        return {**options, "data": mask.HIDDEN}
    return {
        **options,
        "data": {
            name: mask.HIDDEN if masked.hides(f"{prefix}{name}") else mask.nested(value, masked)
            for name, value in data.items()
        },
    }


def sync(
    session: sessions.Session,
    options: Mapping[str, Any],
    check_mode: bool,
    settle: Callable[[str, Any], bool],
    with_diff: bool = True,
) -> dict[str, Any]:
    """Push or pull. Return the whole result."""
    fields.checked(fields.Spec((SPEC.fields[0], LIFETIME)), options.get)
    prefix = normal_prefix(options["prefix"])
    if options["dest"] is None:
        return push(session, options, prefix, check_mode, with_diff)
    if options["ttl"] is not None:
        raise _errors.OptionError("ttl", "means nothing with dest: it belongs to data and src, which write keys.")
    return pull(session, options, prefix, check_mode, settle, with_diff)
