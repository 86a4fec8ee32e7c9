# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sender process and the two pipes between it and the run. They never block the run.

The run writes its job, then events, a line each, and at last their number. The process reports whether it can do the
job, its progress, and at last the report. All but the events is JSON without spaces.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...module_utils import _errors

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLUGINS = str(Path(__file__).parents[2])
# The collection's plugins for a Python that knows no collections: they import each other relatively
_START = """
import sys, types
package = sys.modules["plugins"] = types.ModuleType("plugins")
package.__path__ = [sys.argv[1]]
from plugins.plugin_utils._delivery.sender_main import main
main()
"""
# Events that do not fit into this memory, on each side, are dropped
MOST_BYTES = 24 << 20
# The seconds after flush_timeout that a slow disk gets
GRACE = 1.0
_PIPE_SIZE = 1 << 20
_READ_AT_ONCE = 1 << 16
# A signal that ends a run from outside is often sent to all its processes
_NOT_FOR_IT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The ends of pipes that are for this process, and not for its forks
_ours: set[int] = set()


def _close_in_fork() -> None:
    """Close the pipe in workers of Ansible. One that outlives the run would hide the end of the run."""
    while _ours:
        os.close(_ours.pop())


os.register_at_fork(after_in_child=_close_in_fork)


class Job(NamedTuple):
    """The job of the process. ``connection`` has the connection options as users gave them.

    ``started`` is when the run began, in seconds since 1970. For a process that replaces a dead one, ``settled`` and
    ``dropped`` count the events that the run need not send again, and ``sequence`` is the number of the last of them.
    """

    run_id: str
    connection: Mapping[str, Any]
    transport: str
    server_config: str | None
    stream: str
    prefix: str
    spool: str | None
    spool_size: int
    flush_timeout: float
    max_size: int
    started: float
    restarted: bool = False
    settled: int = 0
    dropped: int = 0
    sequence: int = 0


class Report(NamedTuple):
    """The delivery of a run's events. ``text`` describes it, ``fine`` is True without problems."""

    stored: int
    spooled: int
    dropped: int
    text: str
    fine: bool


class SenderPipe:
    """The run's end of the pipes."""

    def __init__(self, job: Job) -> None:
        """Start the process. Raises Refused if that fails."""
        self.dead = False
        """Whether the process has ended. It is noticed when the pipe is used."""
        events, self._events = os.pipe()
        self._told, answers = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_IT)  # which is handed down
        try:
            self._process = subprocess.Popen(
                # -P: nothing is imported from the folder that the run was started in
                [sys.executable, "-P", "-c", _START, _PLUGINS],
                stdin=events,
                stdout=answers,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._events)
            os.close(self._told)
            raise _errors.Refused(f"No process can be started for it: {error.strerror}.", code="process") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(events)
            os.close(answers)
        self.pid = self._process.pid
        _ours.update((self._events, self._told))
        os.set_blocking(self._events, False)
        os.set_blocking(self._told, False)
        with suppress(AttributeError, OSError):  # other systems have other limits
            fcntl.fcntl(self._events, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._waiting = bytearray()
        self._answers = b""
        self.write(to_json(job._asdict()))

    def write(self, data: bytes) -> None:
        """Write as much as the pipe takes now. The rest is written with the next call."""
        self._waiting += data
        try:
            while self._waiting:
                del self._waiting[: os.write(self._events, self._waiting)]
        except BlockingIOError:
            pass
        except OSError:
            self.dead = True
            self._waiting.clear()

    def listen(self) -> list[dict[str, Any]]:
        """Return the answers since the last call. Sets ``dead`` after the last answer."""
        try:
            data = os.read(self._told, _READ_AT_ONCE)
        except BlockingIOError:
            return []
        self.dead |= not data
        *lines, self._answers = (self._answers + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def await_answer(self, deadline: float) -> bool:
        """Wait for an answer. Returns False after the deadline."""
        return _await(self._told, select.POLLIN, deadline)

    def end(self, count: int, deadline: float) -> None:
        """Write the number of events, and close the pipe of events."""
        self.write(to_json(count))
        while self._waiting and _await(self._events, select.POLLOUT, deadline):
            self.write(b"")
        self._close(self._events)

    def close(self) -> None:
        """Close the pipes. The process ends by itself, and may still write events to disk."""
        for handle in (self._events, self._told):
            self._close(handle)
        if self.dead:
            self._process.wait()

    def _close(self, handle: int) -> None:
        if handle in _ours:
            _ours.discard(handle)
            os.close(handle)


def to_json(value: Any) -> bytes:
    """Return a line of JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _await(handle: int, event: int, deadline: float) -> bool:
    """Wait until a pipe is ready. Returns False after the deadline."""
    poll = select.poll()
    poll.register(handle, event)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
