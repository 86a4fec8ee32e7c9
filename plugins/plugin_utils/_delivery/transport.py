# Copyright (c) 2026 The choria.streams developers
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
from ...module_utils._api import lists, messages
from ...module_utils._connection.client import preload
from ...module_utils._connection.sessions import Session
from ...module_utils._connection.wire import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...module_utils._connection.settings import Settings
    from ...module_utils._operations.runs.journal import Outgoing

CONTENT_TYPE = "application/cloudevents+json"
# The last word of a subject of events, and the seconds between two questions why no stream takes them
_ANY, _ASK_AGAIN = "run_started", 5.0
_MESSAGE_TOO_LARGE, _WRONG_STREAM = 10054, 10060
# Errors that do not go away during this run, since its credentials, options and libraries stay
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
    def warning(self) -> str:
        """A sentence for the last line of the run, or an empty text."""

    def meanwhile(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` every ``seconds`` seconds while waiting for servers."""

    def send(self, events: Sequence[Outgoing]) -> Sent:
        """Send events in order, and return which of them are settled."""

    def close(self) -> None:
        """Close the connection."""


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
            # All in one window: the session would send a second window even if the first one failed
            most = min(len(events), messages.window(fitting))
            answers = iter(self._session.request_many(fitting, most))
        except _errors.StreamsError as error:
            return Sent(problem=error.message, hopeless=isinstance(error, _HOPELESS))
        sent = Sent()
        for request, fit in zip(requests, fits):
            try:
                if not fit:
                    raise _errors.Refused("It is too large.", code="too_large")
                messages.acknowledged(f"Storing in {self._stream}", request.headers, next(answers))
                sent.settled += 1
            except _errors.StreamsError as error:
                if not self._settle(sent, error):
                    break
        return sent

    def _headers(self, event: Outgoing) -> dict[str, str]:
        """Return the headers that make an event safe to send twice."""
        return {"Nats-Msg-Id": event.id, "Nats-Expected-Stream": self._stream, "Content-Type": CONTENT_TYPE}

    def _settle(self, sent: Sent, error: _errors.StreamsError) -> bool:
        """Add the error of one event. Returns False if the rest has to be sent again."""
        err_code = error.err_code if isinstance(error, _errors.ApiError) else 0
        if err_code == _MESSAGE_TOO_LARGE or error.failure.get("code") == "too_large":
            sent.settled += 1
            sent.lost += 1
            return True
        sent.problem, sent.hopeless = self._reason(error), isinstance(error, _HOPELESS)
        return False

    def _reason(self, error: _errors.StreamsError) -> str:
        subjects = f"{self._prefix}.>"
        if isinstance(error, _errors.ApiError) and error.err_code == _WRONG_STREAM:
            return f"another stream than {self._stream} takes {subjects}: give its name in stream, or other subjects."
        return self._missing_stream(subjects) if error.failure.get("code") == "no_responders" else error.message

    def _missing_stream(self, subjects: str) -> str:
        """Return why no stream accepts events: it does not exist, or has no leader. Asks servers every few seconds."""
        if not self._why or time.monotonic() - self._asked > _ASK_AGAIN:
            remedy = f"choria.streams.choria_stream (name: {self._stream}, subjects: ['{subjects}'])"
            self._why = (
                self._outage()
                or f"no stream takes {subjects}: create it with {remedy}, or add this subject if it exists."
            )
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
            if not lists.stream_names(self._session, subject):
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
