# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan for a consumer is made from: the infos of the consumer and its stream, and what is read beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import position

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from . import losses as consumer_losses


@dataclass(frozen=True)
class Current:
    """The state of a consumer: its info and that of its stream, None if missing.

    ``others`` are infos of the stream's other consumers, which only some plans need (``needs_others``). ``holder`` is
    the info of the consumer that keeps the position of one that is being created again, ``target`` the sequence to
    reset to. ``waiting`` is the input of ``consumer_losses``. ``account`` has the limits of the account if a consumer
    is created. ``stored`` are the filters that match stored messages, None if unknown.
    """

    info: dict[str, Any] | None = None
    stream: dict[str, Any] | None = None
    others: tuple[dict[str, Any], ...] = ()
    holder: dict[str, Any] | None = None
    target: int | None = None
    waiting: consumer_losses.Waiting | None = None
    account: Mapping[str, Any] | None = None
    stored: frozenset[str] | None = None

    @property
    def before(self) -> dict[str, Any] | None:
        """The consumer before the change. If it is being created again, its holder with its filter."""
        return self.holder or self.info

    @property
    def by_interest(self) -> bool:
        """True if the stream keeps only messages that some consumer waits for."""
        return bool(self.stream_config.get("retention") == "interest")

    @property
    def is_queue(self) -> bool:
        """True if the stream gives each message to one consumer alone."""
        return bool(self.stream_config.get("retention") == "workqueue")

    @property
    def count(self) -> int:
        """The number of consumers of the stream."""
        return int(((self.stream or {}).get("state") or {}).get("consumer_count") or 0)

    @property
    def ackable(self) -> int:
        """The allowed number of unacknowledged messages, 0 for any."""
        from ..account_limits import max_ack_pending

        return max_ack_pending(self.account or {}, self.stream_config)

    @property
    def created(self) -> str:
        """When the stream was created. Its sequences do not apply to a later stream of its name."""
        return str((self.stream or {}).get("created", ""))

    @property
    def stream_config(self) -> dict[str, Any]:
        return dict(self.stream["config"]) if self.stream else {}

    @classmethod
    def listed(cls, name: str, stream: dict[str, Any] | None, found: Iterable[dict[str, Any]]) -> Current:
        """Return the state from a list of all consumers of the stream."""
        by_name = {info["name"]: info for info in found}
        mine, holder = by_name.pop(name, None), by_name.get(position.holder_of(name))
        return cls(mine, stream, tuple(by_name.values()), holder)
