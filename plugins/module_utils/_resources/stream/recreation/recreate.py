# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option ``recreate``, and by what a stream is known that is being copied. Copying itself is in copying.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .... import _errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...._api import answers

NO, BY_DELETION, BY_COPY = "false", "true", "copy"
OPTION: dict[str, Any] = {"recreate": {"type": "str", "choices": [NO, BY_DELETION, BY_COPY], "default": NO}}

# Keys of metadata: the mark says which part a stream plays in a copy. The record, in the temporary stream, holds all
# that a later run needs to continue
MARK, RECORD = "choria.streams.copy", "choria.streams.copy_of"
# The mark of a stream that is being renamed begins with this
RENAMED = "renamed to "


class Copying(NamedTuple):
    """The progress of a copy. ``origin`` is the stream before an earlier run changed it, or None.

    ``holder`` is the stream that has all messages, ``done`` the number of finished steps. ``leftover`` is True if there
    is a temporary stream. ``consumers`` are infos, and ``again`` the names of those to create again. ``kept`` are the
    future infos of those that only the record has.
    """

    origin: answers.StreamInfo | None = None
    holder: str = ""
    done: int = 0
    leftover: bool = False
    consumers: tuple[answers.ConsumerInfo, ...] = ()
    again: tuple[str, ...] = ()
    sourcing: tuple[str, ...] = ()
    kept: tuple[dict[str, Any], ...] = ()

    @property
    def under_way(self) -> bool:
        """True if an earlier run has begun to change the stream."""
        return self.origin is not None or self.done > 0

    @property
    def unfinished(self) -> bool:
        """True if there is something to finish or to remove."""
        return self.under_way or self.leftover


NOT_COPYING = Copying()


def check_free(config: Mapping[str, Any], mode: str) -> None:
    """Raise Refused if the stream is part of an unfinished copy that this task does not finish."""
    metadata, name = config.get("metadata") or {}, config.get("name", "")
    mark, option, reason = str(metadata.get(MARK, "")), "name", ""
    if mark.startswith(RENAMED):
        new = mark[len(RENAMED) :]
        reason = f"stream {name} is being renamed to {new}, and that was not finished: run the task for {new} with "
        reason += f"renamed_from: {name} again"
    elif mark and mode != BY_COPY:
        option, reason = "recreate", f"stream {name} is being copied, and that was not finished: run the task with "
        reason += "recreate: copy again"
    elif RECORD in metadata and not config.get("mirror"):
        reason = f"{name} holds the messages of a stream that is being copied or renamed, and that was not finished: "
        reason += "run the task that began it again, with recreate: copy or renamed_from"
    if reason:
        raise _errors.Refused(f"{option}: {reason}.", code="copy_under_way", option=option)
