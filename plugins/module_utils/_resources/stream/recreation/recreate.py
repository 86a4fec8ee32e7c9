# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option ``recreate``, and by what a stream is known that is being copied. Copying itself is in copying.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .... import _errors

if TYPE_CHECKING:
    from collections.abc import Mapping

NO, ANEW, BY_COPY = "false", "true", "copy"
OPTION: dict[str, Any] = {"recreate": {"type": "str", "choices": [NO, ANEW, BY_COPY], "default": NO}}

# In the metadata of a stream that is copied: what it is on that way. In the temporary one's: what is needed to go on.
# How the mark of a stream begins that is being renamed
RENAMED = "renamed to "
MARK, RECORD = "choria.streams.copy", "choria.streams.copy_of"


class Copying(NamedTuple):
    """The progress of a copy. ``origin`` is the stream before an earlier run changed it, or None.

    ``holder`` is the stream that has all messages, ``done`` the number of finished steps. ``leftover`` is True if there
    is a temporary stream. ``consumers`` are infos, and ``again`` the names of those to create again. ``kept`` are the
    future infos of those that only the record has.
    """

    origin: dict[str, Any] | None = None
    holder: str = ""
    done: int = 0
    leftover: bool = False
    consumers: tuple[Mapping[str, Any], ...] = ()
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
    metadata = config.get("metadata") or {}
    mark = str(metadata.get(MARK, ""))
    if mark.startswith(RENAMED):
        new = mark[len(RENAMED) :]
        raise _errors.Refused(
            f"name: stream {config['name']} is being renamed to {new}, and that was not finished: run the task for "
            f"{new} with renamed_from: {config['name']} again.",
            code="copy_under_way",
            option="name",
        )
    if mark and mode != BY_COPY:
        raise _errors.Refused(
            f"recreate: stream {config['name']} is being copied, and that was not finished: run the task with "
            "recreate: copy again.",
            code="copy_under_way",
            option="recreate",
        )
    if RECORD in metadata and not config.get("mirror"):
        raise _errors.Refused(
            f"name: {config['name']} holds the messages of a stream that is being copied or renamed, and that was not "
            "finished: run the task that began it again, with recreate: copy or renamed_from.",
            code="copy_under_way",
            option="name",
        )
