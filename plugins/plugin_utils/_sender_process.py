# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sender in a process of its own, to which a run hands its events through a pipe.

Ansible forks itself for each task on each host, and what it touches after that is copied, page by page. A connection
touches much, a pipe next to nothing. The end of the run, of whatever kind, is the end of the pipe: what the process has
by then is sent, or goes to disk.

The run writes its job, then events, a line each, and at last how many there were. The process answers with whether it
can do the job, and at last with what became of the events. All but the events is JSON without spaces.
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
from typing import TYPE_CHECKING, Any, NamedTuple

from ..module_utils import _errors
from ._outbox import MOST_BYTES
from ._sender import GRACE, Report, Sender

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The collection's plugins for a Python that knows no collections: they import each other relatively
_START = """
import sys, types
package = sys.modules["plugins"] = types.ModuleType("plugins")
package.__path__ = [sys.argv[1]]
from plugins.plugin_utils._sender_process import main
main()
"""
_PIPE_SIZE = 1 << 20
_READ_AT_ONCE = 1 << 16
# For its start, in the shortest runs on the busiest machines
_MARGIN = 2.0
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
    """What the process has to know. ``connection`` has the options of the connection as users gave them."""

    run_id: str
    connection: Mapping[str, Any]
    transport: str
    choria_config: str | None
    stream: str
    prefix: str
    spool: str | None
    spool_size: int
    flush_timeout: float


class SenderProcess:
    """The side of the run, which waits in ``finish`` alone. What happened to the process is told there as well."""

    def __init__(self, job: Job) -> None:
        """Raises Refused where no process can be started."""
        # It ends within this once it has seen the end of the run
        self._patience = job.flush_timeout + GRACE + _MARGIN
        events, self._events = os.pipe()
        self._told, told = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_IT)  # which is handed down
        try:
            self._process = subprocess.Popen(
                # -P: nothing is imported from the folder that the run was started in
                [sys.executable, "-P", "-c", _START, os.path.dirname(os.path.dirname(__file__))],
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
        _ours.add(self._events)
        os.set_blocking(self._events, False)
        os.set_blocking(self._told, False)
        with suppress(AttributeError, OSError):  # other systems have other limits
            fcntl.fcntl(self._events, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._waiting = bytearray()
        self._count = 0
        self._answers = b""
        self._write(_json(job._asdict()))

    def put(self, subject: str, event_id: str, payload: bytes) -> None:
        """Hands over an event. Where memory is full it is dropped: a run never waits for its reports.

        Raises Refused where the process can't do its job, which is known a moment after the start.
        """
        self._count += 1
        if len(self._waiting) + len(payload) < MOST_BYTES:
            self._write(b"%s %s %s\n" % (subject.encode(), event_id.encode(), payload))
        if not self._answers:
            self._listen()
            self._answer()

    def finish(self) -> Report:
        """Waits until all is delivered, and at most for ``flush_timeout``; what is left then stays on disk.

        Raises Refused where the process could not do its job.
        """
        deadline = time.monotonic() + self._patience
        self._write(_json(self._count))
        while self._waiting and _await(self._events, select.POLLOUT, deadline):
            self._write(b"")
        self._close()
        ended = False
        while not ended and _await(self._told, select.POLLIN, deadline):
            ended = not self._listen()
        os.close(self._told)
        if ended:
            self._process.wait()
        found = self._answer()
        return Report(**found) if found else self._unknown("was killed" if ended else "does not answer")

    def _unknown(self, why: str) -> Report:
        """It is not killed, since it ends by itself, and may still write to the disk what would be lost."""
        text = f"what became of {self._count} events is not known: the process that sends them {why}."
        return Report(0, 0, 0, f"{text} A later run delivers what is on disk.", False)

    def _write(self, data: bytes) -> None:
        self._waiting += data
        try:
            while self._waiting:
                del self._waiting[: os.write(self._events, self._waiting)]
        except BlockingIOError:
            pass
        except OSError:  # it has ended, and why is told at the end
            self._waiting.clear()

    def _listen(self) -> bool:
        """Takes what the process has told. False where there is no more to come."""
        try:
            told = os.read(self._told, _READ_AT_ONCE)
        except BlockingIOError:
            return True
        self._answers += told
        return bool(told)

    def _answer(self) -> dict[str, Any]:
        """The last whole answer, or an empty one."""
        lines = self._answers.split(b"\n")[:-1]
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        if "refused" in found:
            raise _errors.Refused(found["refused"], code="process")
        return found

    def _close(self) -> None:
        _ours.discard(self._events)
        os.close(self._events)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _await(handle: int, event: int, deadline: float) -> bool:
    """Whether there is something to do with a pipe before the time is up."""
    poll = select.poll()
    poll.register(handle, event)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


# The side of the process


def main() -> None:
    """Sends what comes through the standard input, whatever else happens to the run."""
    try:
        answer = _send_all()
    except _errors.StreamsError as error:
        answer = {"refused": error.message}
    except Exception as error:  # without its words, which may be of an event
        answer = {"refused": f"{type(error).__name__} in the process that sends, which is a bug of choria.streams."}
    _tell(answer)
    os._exit(0)  # a disk that does not answer would hold the thread that waits for it


def _send_all() -> dict[str, Any]:
    lines = sys.stdin.buffer
    job = Job(**json.loads(lines.readline()))
    sender = _sender(job)
    _tell({})
    try:
        sender.missed(_hand_over(lines, sender))
    except Exception:
        sender.finish(0)  # what there is so far goes to disk
        raise
    return sender.finish(job.flush_timeout)._asdict()


def _hand_over(lines: Iterable[bytes], sender: Sender) -> int:
    """Gives all events to the sender. Returns how many the run could not hand over."""
    for count, line in enumerate(lines):
        parts = line.split(b" ", 2)
        if not line.endswith(b"\n"):  # the run was killed while it wrote
            break
        if len(parts) < 3:  # the last one
            return int(json.loads(line)) - count
        sender.put(parts[0].decode(), parts[1].decode(), parts[2][:-1])
    return 0


def _sender(job: Job) -> Sender:
    from ..module_utils._connection.settings import Settings
    from ._journal import Spool, spool_path
    from ._transport import Direct, Transport

    settings = Settings.from_options(job.connection.get)
    transport: Transport
    if job.transport == "direct":
        transport = Direct(settings, job.prefix, job.stream)
    else:
        from ._transport_spool import ChoriaSpool

        transport = ChoriaSpool(job.choria_config, settings.identity, job.prefix)
    return Sender(transport, Spool(spool_path(job.spool), job.spool_size), job.run_id)


def _tell(answer: Mapping[str, Any]) -> None:
    with suppress(OSError):  # the run has ended
        os.write(sys.stdout.fileno(), _json(answer))
