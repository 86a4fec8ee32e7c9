# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event transport through the spool of this host's Choria Server. It is imported only if it is used."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

from ...module_utils import _errors
from ...module_utils._api import lists
from ...module_utils._choria.spool import find_spool
from ...module_utils._choria.submission_message import MAX_TTL, Message, subject_of
from ...module_utils._connection.sessions import Session
from .transport import CONTENT_TYPE, Sent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...module_utils._choria.spool import Spool
    from ...module_utils._connection.settings import Settings
    from ...module_utils._operations.runs.journal import Outgoing

# More tries than Choria Server makes in MAX_TTL
_MAX_TRIES = 1_000_000
_PRIORITY = 4
# How many seconds the end of a run waits for the check of the stream, if brokers don't answer
_CHECK_FOR = 1.0


def _spool(server_config: str | None) -> Spool:
    try:
        return find_spool(None, server_config)
    except _errors.OptionError as error:
        raise _errors.OptionError("server_config", error.reason) from error


class ChoriaSpool:
    """Submits events to this host's Choria Server, as reliable messages of the lowest priority."""

    window = 16  # each waits for the disk

    def __init__(self, server_config: str | None, settings: Settings, prefix: str, *, check: bool) -> None:
        """With ``check`` the servers of ``settings`` are asked whether a stream takes what Choria Server publishes.

        Raises StreamsError when there is no spool.
        """
        spool = _spool(server_config)
        self.place = f"in the spool of Choria Server, {spool.path}"
        self.target = {"transport": "spool", "path": str(spool.path), "prefix": prefix}
        self._spool = spool
        self._identity = settings.identity or (spool.config.identity if spool.config else "") or socket.getfqdn()
        self._warning = ""
        self._checking: threading.Thread | None = None
        if check and spool.config:
            subject = subject_of(spool.config.main_collective, prefix)
            self._checking = threading.Thread(target=self._check_stream, args=(settings, subject), daemon=True)
            self._checking.start()

    @property
    def warning(self) -> str:
        if self._checking:
            self._checking.join(_CHECK_FOR)
        return self._warning

    def _check_stream(self, settings: Settings, prefix: str) -> None:
        """Check that a stream stores the events. Otherwise Choria Server silently discards them after MAX_TTL."""
        try:
            with Session(settings, read_only=True) as session:
                if not lists.stream_names(session, f"{prefix}.run_started"):
                    self._warning = (
                        f"No stream takes {prefix}.>, on which Choria Server publishes these events: they stay in "
                        f"its spool for 31 days, until a stream does. Add '{prefix}.>' to the subjects of the stream."
                    )
        except _errors.StreamsError:
            pass  # this host need not reach brokers, nor may everyone ask for streams

    def meanwhile(self, seconds: float, call: Callable[[], None]) -> None:
        """Do nothing, since the spool never waits."""

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
        """Do nothing, since nothing is open."""
