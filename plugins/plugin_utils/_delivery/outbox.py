# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Undelivered events, the oldest first: those of this run, which soon go to disk, and those of earlier runs."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from ...module_utils import _errors
from ...module_utils._operations.runs.journal import number_of
from .sender_pipe import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ...module_utils._operations.runs.journal import Journal, Outgoing
    from ...module_utils._operations.runs.spool import Spool

# An event without an acknowledgement for this many seconds goes to disk. With the clock of the caller of `check`, and
# the time of writing, it is there within a second.
SPILL_AFTER = 0.75
# More than these in memory go to disk at once
SPILL_BYTES = 4 << 20
_OVERHEAD = 300
_AT_ONCE = 256
_SYNC_EVERY = 1.0
_NEXT_TRY = 1.0


class Outbox:
    """The events of this run. The main thread calls ``put`` and never waits; all else is for the sending thread."""

    def __init__(self, spool: Spool, create: Callable[[], Journal]) -> None:
        self.journal: Journal | None = None
        self.delivered = self.lost = 0
        self.problem = ""
        self.full = False
        """Whether there was no room in memory for an event."""
        self.settled = 0
        """How many of the first events need not be put again: they are delivered, on disk or dropped."""
        self.dropped = 0
        """How many of the settled ones are lost: there was no room for them, or the stream refuses them."""
        self.resumed = 0
        """How many events of this run another process has left on disk, without those that are put again."""
        self._spool, self._create = spool, create
        # Events, each with the time of its arrival, and its number in the order of arrival
        self._arrived: deque[tuple[Outgoing, float, int]] = deque()
        self._memory: deque[tuple[Outgoing, float, int]] = deque()
        self._given = 0
        self._last_resumed = 0
        # The main thread writes the first, and the one that sends the second
        self._bytes_in = self._bytes_out = 0
        self._synced = self._failed = float("-inf")

    def resume(self, find: Callable[[], Journal | None]) -> None:
        """Continue the journal of another process of this run, if there is one. Its events may be put again."""
        with suppress(_errors.StreamsError, OSError):  # a later run delivers what this one can't read
            self.journal = find()
            if self.journal:
                self._last_resumed = number_of(self.journal.resume())
                self.resumed = self.journal.count
                if not self.resumed:
                    self._end_journal()

    def put(self, event: Outgoing) -> int:
        """Take an event, or drop it if there is no room. Return how many events the thread has not taken yet."""
        size = len(event.payload) + _OVERHEAD
        self._given += 1
        if self._last_resumed and self._last_resumed >= number_of(event.id):
            self.resumed -= 1  # this process counts it from now on
        elif self._bytes + size <= MOST_BYTES:
            self._bytes_in += size
            self._arrived.append((event, time.monotonic(), self._given))
        else:
            self.full = True
            self.dropped += 1
        return len(self._arrived)

    @property
    def _bytes(self) -> int:
        return self._bytes_in - self._bytes_out

    @property
    def empty(self) -> bool:
        """True if no event waits."""
        return not (self.journal or self._memory or self._arrived)

    @property
    def crowded(self) -> bool:
        """True if memory has more than SPILL_BYTES of events."""
        return self._bytes > SPILL_BYTES

    @property
    def on_disk(self) -> int:
        """The number of events on disk."""
        return self.journal.count if self.journal else 0

    def _take(self) -> None:
        while self._arrived:
            self._memory.append(self._arrived.popleft())

    def window(self, count: int) -> list[Outgoing]:
        """Return the oldest events. Those on disk come before those in memory."""
        if self.journal:
            on_disk = self.journal.window(count)
            if on_disk:
                return on_disk
            self._end_journal()  # nothing of it can be read any more
        self._take()
        events, size = [], 0
        for event, _moment, _number in islice(self._memory, count):
            events.append(event)
            size += len(event.payload)
            if size > SPILL_BYTES:
                break
        return events

    def advance(self, count: int, lost: int) -> None:
        """Remove the first ``count`` events, in memory or on disk. They are delivered, or ``lost``."""
        self.delivered += count - lost
        self.lost += lost
        self.dropped += lost
        # Events that were sent from memory may have moved to disk meanwhile, all of them or some
        held = min(count, self.on_disk)
        if self.journal and held:
            self.journal.advance(held)
            if not self.journal.count:
                self._end_journal()
        for _event in range(count - held):
            self._pop()

    def _end_journal(self) -> None:
        if self.journal:
            self.journal.remove()
            self.journal = None

    def _pop(self) -> None:
        event, _moment, self.settled = self._memory.popleft()
        self._bytes_out += len(event.payload) + _OVERHEAD

    def check(self) -> None:
        """Move events to disk that waited too long, or are too many. Call it several times a second."""
        self._take()
        now = time.monotonic()
        if self._memory and (self.crowded or now - self._memory[0][1] > SPILL_AFTER):
            self.spill()
        if self.journal and now - self._synced > _SYNC_EVERY:
            self.sync()

    def spill(self, *, at_last: bool = False) -> None:
        """Move all events in memory to disk, as far as there is room. After an error it pauses."""
        self._take()
        now = time.monotonic()
        if not self._memory or (now - self._failed < _NEXT_TRY and not at_last):
            return
        try:
            if self.journal is None:
                self.journal = self._create()
            while self._memory:
                for _event in range(
                    self.journal.append([event for event, _moment, _number in islice(self._memory, _AT_ONCE)])
                ):
                    self._pop()
            self.problem = ""
        except _errors.StreamsError as error:
            self._failed, self.problem = now, error.message
        except OSError as error:
            self._failed, self.problem = now, f"{self._spool.path} could not store them: {error.strerror}."
        if self.journal and not self.journal.count:
            self._end_journal()

    def sync(self) -> None:
        """Make the events on disk durable."""
        self._synced = time.monotonic()
        if self.journal:
            try:
                self.journal.sync()
            except OSError as error:
                self.problem = f"{self._spool.path}: {error.strerror}."

    def finish(self) -> None:
        """Leave the rest on disk for another run. Events without room there are dropped."""
        self.spill(at_last=True)
        if self.journal:
            self.sync()
            self.journal.close()


class Earlier:
    """The events that earlier runs left on disk for the same servers, one journal after the other."""

    def __init__(self, spool: Spool, target: Mapping[str, Any]) -> None:
        self.delivered = self.lost = self.damaged = 0
        self.problem = ""
        self._journals = spool.left(target)
        self._spool = spool
        self._journal: Journal | None = None

    @property
    def empty(self) -> bool:
        """True if no event of an earlier run waits. It opens the next journal."""
        try:
            while self._journal is None or not self._journal.window(1):
                self._end()
                self._journal = next(self._journals, None)
                if self._journal is None:
                    return True
        except _errors.StreamsError as error:
            self.problem = error.message
        except OSError as error:
            self._give_up(error)
        return self._journal is None

    def _give_up(self, error: OSError) -> None:
        """Leave a journal that can't be read for another run."""
        self.problem = f"{self._spool.path} can't be read: {error.strerror}."
        self.close()

    def _end(self) -> None:
        """Remove a journal after all of it is delivered."""
        if self._journal:
            self.damaged += self._journal.damaged
            self._journal.remove()
            self._journal = None

    def window(self, count: int) -> list[Outgoing]:
        """Return the oldest undelivered events of the journal, at most ``count``."""
        try:
            return self._journal.window(count) if self._journal else []
        except OSError as error:
            self._give_up(error)
            return []

    def advance(self, count: int, lost: int) -> None:
        """Mark the first events as delivered, except the ``lost`` ones."""
        self.delivered += count - lost
        self.lost += lost
        if self._journal:
            try:
                self._journal.advance(count)
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Leave the rest for another run."""
        if self._journal:
            self._journal.close()
            self._journal = None
