# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sender: takes events without ever blocking, and sends them in order from a thread of its own.

Only that thread touches the connection, and Ansible's workers, which are forked from this process, use none of this:
what they inherit are copies that nobody looks at. What a connection imports is imported before the thread starts,
since a worker that is forked in the middle of an import would wait for its end for ever.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..module_utils._api.messages import publish_many
from ..module_utils._connection.client import preload
from ..module_utils._connection.session import WINDOW, Request, Session
from ..module_utils._errors import ApiError, LibraryMissing, OptionError, PermissionMissing, StreamsError

if TYPE_CHECKING:
    from ..module_utils._connection.settings import Settings

CAPACITY = 10_000
# How long a first event waits for company, so that the run is not interrupted for each
_LINGER = 0.05
_FIRST_PAUSE, _LONGEST_PAUSE, _LAST_PAUSE = 0.2, 2.0, 0.25
CONTENT_TYPE = "application/cloudevents+json"
_MESSAGE_TOO_LARGE, _WRONG_STREAM = 10054, 10060


@dataclass(frozen=True)
class Outgoing:
    """An event as it is sent, on its way to the stream."""

    subject: str
    id: str
    payload: bytes


class Sender:
    """Events for one stream. ``put`` and ``finish`` are for the main thread.

    ``stored`` counts what the stream acknowledged, ``problem`` is a sentence that says why the rest is not there.
    """

    def __init__(self, settings: Settings, prefix: str, stream: str) -> None:
        """Raises LibraryMissing where this Python can't connect."""
        preload(settings)
        self.stored = 0
        self.problem = ""
        self._settings, self._prefix, self._stream = settings, prefix, stream
        self._queue: deque[Outgoing] = deque()
        self._unacknowledged: list[Outgoing] = []
        self._overflown = 0
        self._lost = ""
        self._trusted = False
        self._news, self._end = threading.Event(), threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._work, name="choria_results", daemon=True)
        self._thread.start()

    def put(self, subject: str, event_id: str, payload: bytes) -> None:
        """Hands over an event. Where too many wait already it is dropped: a run never waits for its reports."""
        if len(self._queue) >= CAPACITY:
            self._overflown += 1
            return
        self._queue.append(Outgoing(subject, event_id, payload))
        if not self._news.is_set():
            self._news.set()

    def finish(self, timeout: float) -> None:
        """Waits until all is stored or can't be, and at most ``timeout`` seconds."""
        self._deadline = time.monotonic() + timeout
        self._end.set()
        self._news.set()
        self._thread.join(timeout)
        if not self.problem and self._thread.is_alive():
            self.problem = f"the servers did not acknowledge them within flush_timeout ({timeout:g}s)."
        elif not self.problem and self._overflown:
            self.problem = f"{self._overflown} were dropped while {CAPACITY} others waited for the servers."

    # The thread

    def _work(self) -> None:
        try:
            with Session(self._settings) as session:
                ended = False
                while not ended:
                    self._news.wait()
                    self._news.clear()
                    ended = self._end.wait(_LINGER)
                    self._drain(session)
        except StreamsError as error:
            self.problem = error.message
        except Exception as error:  # whatever it is, the run goes on
            self.problem = f"{type(error).__name__}: {error}, which is a bug of choria.streams."

    def _drain(self, session: Session) -> None:
        """Sends all that waits, again and again until it is stored or the time is over."""
        pause = _FIRST_PAUSE
        while self._queue or self._unacknowledged:
            if self._send(session):
                pause = _FIRST_PAUSE
            elif self._end.is_set():
                if time.monotonic() + _LAST_PAUSE > self._deadline:
                    return
                time.sleep(_LAST_PAUSE)
            else:
                self._end.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _send(self, session: Session) -> bool:
        """Sends one window of events. False where some of them have to be sent again.

        One event goes ahead alone, at first and after trouble: a stream that is just coming up could miss the first of
        a whole window and take the rest, and their order would be lost.
        """
        room = WINDOW if self._trusted else 1
        while len(self._unacknowledged) < room and self._queue:
            self._unacknowledged.append(self._queue.popleft())
        try:
            again = self._exchange(session, self._unacknowledged[:room])
        except (PermissionMissing, LibraryMissing, OptionError):
            raise
        except StreamsError as error:
            self.problem, self._trusted = error.message, False
            return False
        self._unacknowledged[:room] = [event for event, _problem in again]
        self.problem = again[0][1] if again else self._lost
        self._trusted = not again
        return self._trusted

    def _exchange(self, session: Session, events: list[Outgoing]) -> list[tuple[Outgoing, str]]:
        """Sends events and counts what is stored. Returns what has to be sent again, and why."""
        requests = [Request(event.subject, event.payload, self._headers(event)) for event in events]
        again = []
        for event, answer in zip(events, publish_many(session, f"Storing events in {self._stream}", requests)):
            if not isinstance(answer, StreamsError):
                self.stored += 1
            elif isinstance(answer, PermissionMissing):
                raise answer
            elif isinstance(answer, ApiError) and answer.err_code == _MESSAGE_TOO_LARGE:
                self._lost = f"some are larger than max_msg_size of {self._stream}: lower max_size."
            else:
                again.append((event, self._reason(answer)))
        return again

    def _headers(self, event: Outgoing) -> dict[str, str]:
        """What makes it harmless to send an event twice."""
        return {"Nats-Msg-Id": event.id, "Nats-Expected-Stream": self._stream, "Content-Type": CONTENT_TYPE}

    def _reason(self, error: StreamsError) -> str:
        subjects = f"{self._prefix}.>"
        if isinstance(error, ApiError) and error.err_code == _WRONG_STREAM:
            return f"another stream than {self._stream} takes {subjects}: give its name in stream, or other subjects."
        if error.failure.get("code") == "no_responders":
            return (
                f"no stream takes {subjects}: create it with choria.streams.choria_stream "
                f"(name: {self._stream}, subjects: ['{subjects}'])."
            )
        return error.message
