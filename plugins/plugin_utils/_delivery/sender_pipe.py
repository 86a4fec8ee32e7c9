# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One process that sends, and the two pipes between it and the run. Neither blocks the run.

The run writes its job, then events, a line each, and at last how many there were. The process answers whether it can do
the job, how far it is, and at last with the report. All but the events is JSON without spaces.
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
_PIPE_SIZE = 1 << 20
_READ_AT_ONCE = 1 << 16
# What ends a run from outside is often sent to all processes that it has
_NOT_FOR_IT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The ends of pipes that are for this process, and not for its forks
_ours: set[int] = set()


def _close_in_fork() -> None:
    """A worker of Ansible's may outlive the run, whose end would go unnoticed then."""
    while _ours:
        os.close(_ours.pop())


os.register_at_fork(after_in_child=_close_in_fork)


class Job(NamedTuple):
    """What the process has to know. ``connection`` has the options of the connection as users gave them.

    ``started`` is when the run began, in seconds since 1970. For a process that takes over from one that died,
    ``settled`` and ``dropped`` count the events that the run needs not hand over again, and ``sequence`` is the number
    of the last of them.
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


class SenderPipe:
    """The run's end of the pipes."""

    def __init__(self, job: Job) -> None:
        """Starts the process. Raises Refused when that fails."""
        self.dead = False
        """Whether the process has ended. It is noticed when the pipe is used."""
        events, self._events = os.pipe()
        self._told, told = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_IT)  # which is handed down
        try:
            self._process = subprocess.Popen(
                # -P: nothing is imported from the folder that the run was started in
                [sys.executable, "-P", "-c", _START, _PLUGINS],
                stdin=events,
                stdout=told,
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
            os.close(told)
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
        """Writes as much as the pipe takes now. The rest goes with the next write."""
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
        """The answers that came since the last call. Sets ``dead`` when there is no more to come."""
        try:
            told = os.read(self._told, _READ_AT_ONCE)
        except BlockingIOError:
            return []
        self.dead |= not told
        *lines, self._answers = (self._answers + told).split(b"\n")
        return [json.loads(line) for line in lines]

    def await_answer(self, deadline: float) -> bool:
        """Waits for something to listen to. False when the time is up."""
        return _await(self._told, select.POLLIN, deadline)

    def end(self, count: int, deadline: float) -> None:
        """Writes how many events there were, and closes the pipe of events."""
        self.write(to_json(count))
        while self._waiting and _await(self._events, select.POLLOUT, deadline):
            self.write(b"")
        self._close(self._events)

    def close(self) -> None:
        """Closes what is open. The process ends by itself, and may still write to disk what would be lost."""
        for handle in (self._events, self._told):
            self._close(handle)
        if self.dead:
            self._process.wait()

    def _close(self, handle: int) -> None:
        if handle in _ours:
            _ours.discard(handle)
            os.close(handle)


def to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _await(handle: int, event: int, deadline: float) -> bool:
    """Whether there is something to do with a pipe before the time is up."""
    poll = select.poll()
    poll.register(handle, event)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
