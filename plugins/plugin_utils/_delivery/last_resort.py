# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the events of a run to disk from the run itself, if no process can send them. It is imported only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...module_utils._operations.runs.journal import Outgoing
from ...module_utils._operations.runs.spool import Spool, spool_path
from .outbox import Outbox
from .sender_main import Before, accounts, transport_of
from .sender_pipe import Report

if TYPE_CHECKING:
    from .sender_pipe import Job


class LastResort:
    """The journal of a run, written from the run itself. A later run delivers it."""

    def __init__(self, job: Job, missed: int) -> None:
        """``missed`` is how many events were dropped before. Raises StreamsError."""
        self._transport = transport_of(job)
        self._spool = Spool(spool_path(job.spool), job.spool_size)
        target = self._transport.target
        self._outbox = Outbox(self._spool, lambda: self._spool.create(job.run_id, target))
        self._outbox.resume(lambda: self._spool.resume(job.run_id, target))
        self._before = Before(job.settled, job.dropped)
        self._count = missed

    def put(self, line: bytes) -> None:
        """Take an event in the form for the sender process."""
        subject, event_id, payload = line.split(b" ", 2)
        self._count += 1
        self._outbox.put(Outgoing(subject.decode(), event_id.decode(), payload[:-1]))
        self._outbox.spill(at_last=True)

    def finish(self) -> Report:
        """Close the journal, and return the report of the run."""
        self._outbox.finish()
        counted = accounts(self._before, self._count, self._outbox)
        self._transport.close()
        text = f"{counted.text(self._transport.place, self._spool.path)}: the process that sends them died. "
        return Report(*counted, text + (self._outbox.problem or "A later run delivers what is spooled."), False)
