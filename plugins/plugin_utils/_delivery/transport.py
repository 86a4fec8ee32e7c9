# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Event transports: their interface, and the one that publishes directly to the stream.

A transport sends a window of events. It reports how many of the first are settled, and why the next one is not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, Protocol

from ...module_utils import _errors
from ...module_utils._api import streams
from ...module_utils._api.messages import publish_many
from ...module_utils._connection.client import preload
from ...module_utils._connection.sessions import Session
from ...module_utils._connection.wire import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...module_utils._connection.settings import Settings
    from ...module_utils._operations.runs.journal import Outgoing

CONTENT_TYPE = "application/cloudevents+json"
# A subject that events may have, and after how many seconds servers are asked again why nobody takes them
_ANY, _ASK_AGAIN = "run_started", 5.0
_MESSAGE_TOO_LARGE, _WRONG_STREAM = 10054, 10060
# What does not go away by itself: these credentials, options and libraries are what this run has
_HOPELESS = (_errors.PermissionMissing, _errors.OptionError, _errors.LibraryMissing)


@dataclass
class Sent:
    """The result of a window. The first ``settled`` events are done, and ``lost`` of them can never be delivered.

    ``problem`` is a sentence that says why the next one failed; without one it can be sent at once. ``hopeless`` is
    True if the problem will last for the rest of this run.
    """

    settled: int = 0
    lost: int = 0
    problem: str = ""
    hopeless: bool = False


class Transport(Protocol):
    """The interface. ``target`` identifies the destination for later runs, ``place`` describes it.

    ``warning`` is a sentence on problems with the events there, or empty.
    """

    window: int
    target: dict[str, Any]
    place: str

    @property
    def warning(self) -> str: ...

    def meanwhile(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` every ``seconds`` seconds while waiting for servers."""

    def send(self, events: Sequence[Outgoing]) -> Sent: ...

    def close(self) -> None: ...


class Direct:
    """Publishes with acknowledgements, over one connection.

    A window is sent after the previous one is stored, so that a lost event is sent again before those that follow.
    Within a window order can't be kept. Nats-Expected-Last-Msg-Id would ensure it, but a replicated stream on which it
    fails stops working for good ("critical write error", nats-server 2.14 and 2.15).
    """

    window = 1024
    # Short enough to arrive as one while leaders change
    _window_in_cluster = 64

    def __init__(self, settings: Settings, prefix: str, stream: str) -> None:
        """Prepare the connection. Raises LibraryMissing if this Python can't connect."""
        preload(settings)
        self.place = f"in stream {stream}"
        self.target = {
            "transport": "direct",
            "servers": sorted(settings.servers),
            "api": settings.api,
            "stream": stream,
            "prefix": prefix,
        }
        self._prefix, self._stream = prefix, stream
        self._why, self._asked = "", 0.0
        self._warnings = [*settings.warnings]
        self._session = Session(settings, warn=self._warnings.append)

    @property
    def warning(self) -> str:
        """A warning on the connection, such as a password that was sent in clear."""
        return " ".join(dict.fromkeys(self._warnings))

    def meanwhile(self, seconds: float, call: Callable[[], None]) -> None:
        self._session.meanwhile(seconds, call)

    def send(self, events: Sequence[Outgoing]) -> Sent:
        requests = [Request(event.subject, event.payload, self._headers(event)) for event in events]
        try:
            server = self._session.connected
            requests = requests[: self._window_in_cluster] if server.clustered else requests
            limit = server.max_payload
            fits = [request.size <= limit for request in requests]
            fitting = list(compress(requests, fits))
            # As one window of the session: of several it would send the next one whatever became of the first
            answers = iter(publish_many(self._session, f"Storing in {self._stream}", fitting, len(events)))
        except _errors.StreamsError as error:
            return Sent(problem=error.message, hopeless=isinstance(error, _HOPELESS))
        sent = Sent()
        for fit in fits:
            answer = next(answers) if fit else _errors.Refused("It is too large.", code="too_large")
            if not self._settle(sent, answer):
                break
        return sent

    def _headers(self, event: Outgoing) -> dict[str, str]:
        """Return the headers that make an event safe to send twice."""
        return {"Nats-Msg-Id": event.id, "Nats-Expected-Stream": self._stream, "Content-Type": CONTENT_TYPE}

    def _settle(self, sent: Sent, answer: dict[str, Any] | _errors.StreamsError) -> bool:
        """Add the result of one event. Returns False if the rest has to be sent again."""
        err_code = answer.err_code if isinstance(answer, _errors.ApiError) else 0
        if not isinstance(answer, _errors.StreamsError):
            sent.settled += 1
        elif err_code == _MESSAGE_TOO_LARGE or answer.failure.get("code") == "too_large":
            sent.settled += 1
            sent.lost += 1
        else:
            sent.problem, sent.hopeless = self._reason(answer), isinstance(answer, _HOPELESS)
            return False
        return True

    def _reason(self, error: _errors.StreamsError) -> str:
        subjects = f"{self._prefix}.>"
        if isinstance(error, _errors.ApiError) and error.err_code == _WRONG_STREAM:
            return f"another stream than {self._stream} takes {subjects}: give its name in stream, or other subjects."
        return self._unheard(subjects) if error.failure.get("code") == "no_responders" else error.message

    def _unheard(self, subjects: str) -> str:
        """Return why no stream accepts events: it does not exist, or has no leader. Asks servers every few seconds."""
        if not self._why or time.monotonic() - self._asked > _ASK_AGAIN:
            remedy = f"choria.streams.choria_stream (name: {self._stream}, subjects: ['{subjects}'])"
            self._why = self._outage() or f"no stream takes {subjects}: create it with {remedy}."
            self._asked = time.monotonic()
        return self._why

    def _outage(self) -> str:
        """Return why an existing stream does not answer, or an empty text if it does not exist."""
        subject = f"{self._prefix}.{_ANY}"
        try:
            if not self._session.connected.clustered:
                return ""
            error = self._session.explain(subject, self._stream)
            if error.failure.get("code") == "no_leader":
                return error.message
            if not streams.names(self._session, subject):
                return ""
        except _errors.Unreachable as error:
            return error.message
        except _errors.StreamsError:
            pass  # these credentials may not ask
        return (
            f"nothing listens on {self._prefix}.>: stream {self._stream} has no leader at the moment, or is not there: "
            "check that its servers run, and that it exists."
        )

    def close(self) -> None:
        self._session.close()
