# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of events by the spool of this host's Choria Server. Imported where it is taken."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from ..module_utils import _errors
from ..module_utils._services.spool import find_spool
from ..module_utils._services.submission_message import MAX_TTL, Message
from ._transport import CONTENT_TYPE, Sent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..module_utils._services.results_journal import Outgoing

# As often as in a month, which is as long as it keeps them
_MAX_TRIES = 1_000_000
_PRIORITY = 4


class ChoriaSpool:
    """Hands events to this host's Choria Server, as reliable messages of the lowest priority."""

    window = 16  # each waits for the disk

    def __init__(self, choria_config: str | None, identity: str, prefix: str) -> None:
        """Raises StreamsError where there is no spool."""
        spool = find_spool(None, choria_config)
        self.place = f"in the spool of Choria Server, {spool.path}"
        self.target = {"transport": "spool", "path": str(spool.path), "prefix": prefix}
        self._spool = spool
        self._identity = identity or (spool.config.identity if spool.config else "") or socket.getfqdn()

    def meanwhile(self, seconds: float, call: Callable[[], None]) -> None:
        """Nothing is waited for."""

    def send(self, events: Sequence[Outgoing]) -> Sent:
        sent = Sent()
        for event in events:
            message = Message(
                subject=event.subject,
                payload=event.payload,
                sender=f"user {os.geteuid()}",
                identity=self._identity,
                reliable=True,
                priority=_PRIORITY,
                ttl=MAX_TTL,
                max_tries=_MAX_TRIES,
                headers={"Content-Type": CONTENT_TYPE},
                id=event.id,
            )
            try:
                message.check()
                message.check_size()
                self._spool.write(message)
            except _errors.OptionError:
                sent.lost += 1
            except _errors.StreamsError as error:
                sent.problem = error.message
                break
            sent.settled += 1
        return sent

    def close(self) -> None:
        """Nothing is open."""
