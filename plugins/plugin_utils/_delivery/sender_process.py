# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sender in a process of its own, to which a run sends its events through a pipe.

Ansible forks for each task on each host, and memory that the run touches afterwards is copied page by page. A
connection touches much memory, a pipe hardly any. If the run ends in any way, the pipe ends. Then the process sends
its events, or writes them to disk.

The run keeps each event until the process reports it as stored or on disk. If a process dies, another one continues
with the rest. If that dies before it has settled anything, the run writes to disk itself.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from ...module_utils import _errors
from .sender_pipe import GRACE, MOST_BYTES, Job, Report, SenderPipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from .last_resort import LastResort

__all__ = ["Job", "SenderProcess"]

# Further seconds for the start of the process, in short runs on busy machines
_MARGIN = 2.0
# How often the run asks how far the process is, in seconds
_ASK_EVERY = 0.25


class SenderProcess:
    """The run's side of the process. Only ``finish`` waits. ``warn`` shows a sentence at once."""

    def __init__(self, job: Job, warn: Callable[[str], None]) -> None:
        """Start the process. Raises Refused if that fails."""
        # The process ends within these seconds after the end of the run
        self._patience = job.flush_timeout + GRACE + _MARGIN
        self._job, self._warn = job, warn
        self._pipe: SenderPipe | None = SenderPipe(job)
        self._last_resort: LastResort | None = None
        self._able = False
        self._unsettled: deque[bytes] = deque()
        self._bytes = 0
        # The number of events, and of those that did not fit into memory
        self._count = self._missed = 0
        self._last_id = ""
        # The number of events that the current process has settled, and of those that it has dropped
        self._here_settled = self._here_dropped = 0
        self._report: dict[str, Any] = {}
        self._asked = time.monotonic()

    @property
    def pid(self) -> int:
        """The id of the process, 0 if it has ended."""
        return self._pipe.pid if self._pipe else 0

    def put(self, subject: str, event_id: str, payload: bytes) -> None:
        """Send an event, or drop it if the memory is full. A run never waits for its reports.

        Raises Refused if the process can't do its job, which is known a moment after the start.
        """
        self._count, self._last_id = self._count + 1, event_id
        line = b"%s %s %s\n" % (subject.encode(), event_id.encode(), payload)
        if self._bytes + len(line) >= MOST_BYTES:
            self._listen()
        if self._last_resort:
            self._last_resort.put(line)
        elif self._bytes + len(line) >= MOST_BYTES:
            self._missed += 1
        elif self._pipe:
            self._unsettled.append(line)
            self._bytes += len(line)
            self._pipe.write(line)
            if not self._able or self._pipe.dead or time.monotonic() - self._asked > _ASK_EVERY:
                self._listen()

    def abandon(self) -> None:
        """Stop reporting. The process delivers its events, and reports the run as interrupted."""
        if self._pipe:
            self._pipe.end(self._handed + self._missed, 0)
            self._pipe.close()

    def finish(self) -> Report:
        """Wait until all is delivered, at most ``flush_timeout`` seconds. The rest stays on disk.

        Raises Refused if the process could not do its job.
        """
        deadline = self._end()
        while self._pipe and not (self._pipe.dead and self._report):
            pipe = self._pipe
            if not (pipe.dead or pipe.await_answer(deadline)):
                break
            self._listen()
            if self._pipe is not pipe:  # another process took over
                deadline = self._end()
        if self._last_resort:
            return self._last_resort.finish()
        if self._pipe:
            self._pipe.close()
        return Report(**self._report) if self._report else self._no_answer()

    @property
    def _handed(self) -> int:
        """The number of events that the current process got."""
        return self._here_settled + len(self._unsettled)

    def _end(self) -> float:
        """Send the end of the run. Return the deadline of the process."""
        deadline = time.monotonic() + self._patience
        if self._pipe:
            self._pipe.end(self._handed + self._missed, deadline)
        return deadline

    def _no_answer(self) -> Report:
        """Report a process without an answer. It is not killed, since it may still write events to disk."""
        text = f"it is not known whether {self._count} events were stored: the process that sends them does not answer."
        return Report(0, 0, 0, f"{text} A later run delivers what is on disk.", False)

    def _listen(self) -> None:
        """Read the reports of the process, and replace it if it is dead. Raises Refused."""
        self._asked = time.monotonic()
        pipe = self._pipe
        while pipe and (answers := pipe.listen()):
            for answer in answers:
                self._take(answer)
        if pipe and pipe.dead and not self._report:
            pipe.close()
            self._replace_process()

    def _take(self, answer: dict[str, Any]) -> None:
        if "refused" in answer:
            raise _errors.Refused(answer["refused"], code="process")
        self._able = True
        if "settled" in answer:
            for _event in range(answer["settled"] - self._here_settled):
                self._bytes -= len(self._unsettled.popleft())
            self._here_settled, self._here_dropped = answer["settled"], answer["dropped"]
        elif answer:
            self._report = answer

    def _replace_process(self) -> None:
        """Start another process with the unsettled events, or write to disk from here. Raises StreamsError."""
        from ...module_utils._operations.runs.journal import number_of  # most runs never need it

        before = self._job
        again = before.restarted and not self._here_settled
        self._job = before._replace(
            restarted=True,
            settled=before.settled + self._here_settled,
            dropped=before.dropped + self._here_dropped,
            sequence=number_of(self._last_id),
        )
        self._here_settled = self._here_dropped = 0
        self._pipe = None
        reason = "The process that sends died twice."
        if not again:
            try:
                self._pipe = SenderPipe(self._job)
            except _errors.Refused as error:
                reason = f"The process that sends died. {error.message}"
        if self._pipe:
            for line in self._unsettled:
                self._pipe.write(line)
            return
        self._warn(f"{reason} Events of this run are only written to disk from now on.")
        from .last_resort import LastResort

        self._last_resort = LastResort(self._job, self._missed)
        while self._unsettled:
            self._last_resort.put(self._unsettled.popleft())
