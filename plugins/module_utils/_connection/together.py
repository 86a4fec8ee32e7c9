# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run many reads at once, and send the requests for which they wait in one exchange.

Each read is a function that sends one request after the other, as if it were alone. It runs in a thread of its own.
When all threads wait for answers, the session's thread sends the requests of all and distributes the answers. So the
number of exchanges is that of the longest read, however many reads there are.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar, Union

from .. import _errors
from . import sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from . import wire

    Answers = list[Union[list[wire.Message], _errors.StreamsError]]

T = TypeVar("T")
# Threads at a time
_MOST = 512
# The options of calls that are no requests: no window, and no timeout
_NEITHER = (0, None)


def read_together(
    session: sessions.Session, reads: Iterable[Callable[[sessions.Session], T]]
) -> list[T | _errors.StreamsError]:
    """Return the result of each read, or the StreamsError that it raises, in their order.

    Each read gets a session for requests that change nothing. It must not subscribe, publish, or share data with
    others.
    """
    listed = list(reads)
    if len(listed) < 2:  # no thread is needed
        return [_result(read, session) for read in listed]
    return _Together(session, listed).run()


def raised(results: Iterable[T | _errors.StreamsError]) -> list[T]:
    """Return the results of reads. Raises the first error among them."""
    good: list[T] = []
    for result in results:
        if isinstance(result, _errors.StreamsError):
            raise result
        good.append(result)
    return good


def _result(read: Callable[[sessions.Session], T], session: sessions.Session) -> T | _errors.StreamsError:
    try:
        return read(session)
    except _errors.StreamsError as error:
        return error


class _Ended(BaseException):
    """The session's thread no longer waits for the reads."""


class _Asked:
    """The wait of a read: for the answers to ``requests``, or for the result of ``call`` with the session."""

    def __init__(
        self,
        requests: list[wire.Request],
        options: tuple[int, float | None],
        call: Callable[[sessions.Session], Any] | None = None,
    ) -> None:
        self.requests, self.options, self.call = requests, options, call
        self.answers: Any = None
        self.error: _errors.StreamsError | None = None
        self.done = threading.Event()


class _Part(sessions.Session):
    """The session that one of the reads gets."""

    def __init__(self, together: _Together) -> None:
        super().__init__(together.session.settings, read_only=True)
        self._together = together

    @property
    def connected(self) -> wire.Server:
        return self._together.connected

    @property
    def server(self) -> wire.Server:
        return self._together.server

    def request_many(
        self, requests: Iterable[wire.Request], window: int = sessions.WINDOW, timeout: float | None = None
    ) -> Answers:
        listed = list(requests)
        for request in listed:
            self._guard(request.subject)
        answers: Answers = self._together.ask(_Asked(listed, (window, timeout))) if listed else []
        return answers

    def gather(self, *arguments: Any) -> list[wire.Message]:
        self._guard(arguments[0])
        messages: list[wire.Message] = self._together.ask(
            _Asked([], _NEITHER, lambda session: session.gather(*arguments))
        )
        return messages

    def _drive(self, work: Coroutine[Any, Any, Any]) -> Any:
        work.close()
        raise TypeError("a read that is done together with others may only send requests")


class _Together:
    def __init__(self, session: sessions.Session, reads: list[Callable[[sessions.Session], Any]]) -> None:
        self.session, self.connected, self.server = session, session.connected, session.server
        self._left = deque(enumerate(reads))
        self._results: list[Any] = [None] * len(reads)
        self._changed = threading.Condition()
        self._running = 0
        self._asked: list[_Asked] = []
        self._ended = False
        self._bug: BaseException | None = None

    def run(self) -> list[Any]:
        """Run the reads to their ends, and return their results."""
        try:
            self._start()
            while self._until_all_wait():
                self._exchange(self._asked)
        finally:
            with self._changed:
                self._ended = True
            for each in self._asked:
                each.done.set()
        if self._bug:
            raise self._bug
        return self._results

    def ask(self, asked: _Asked) -> Any:
        """Wait, in the thread of a read, until the session's thread has the answers."""
        with self._changed:
            if self._ended:
                raise _Ended
            self._asked.append(asked)
            if len(self._asked) >= self._running:
                self._changed.notify()
        asked.done.wait()
        if asked.error is not None:
            raise asked.error
        if asked.answers is None:
            raise _Ended
        return asked.answers

    def _start(self) -> None:
        for thread in range(min(_MOST, len(self._left))):
            with self._changed:
                self._running += 1
            try:
                threading.Thread(target=self._work, daemon=True).start()
            except RuntimeError:  # a limit of the system: the threads that there are do all reads
                with self._changed:
                    self._running -= 1
                if not thread:
                    raise
                return

    def _work(self) -> None:
        part = _Part(self)
        try:
            for number, read in iter(self._next, None):
                self._results[number] = _result(read, part)
        except _Ended:
            pass
        except BaseException as error:
            self._bug = error
        finally:
            with self._changed:
                self._running -= 1
                if len(self._asked) >= self._running:
                    self._changed.notify()

    def _next(self) -> tuple[int, Callable[[sessions.Session], Any]] | None:
        with self._changed:
            return self._left.popleft() if self._left and not self._bug else None

    def _until_all_wait(self) -> bool:
        """Wait until each thread waits or has ended. Return True if there are requests to send."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._asked) >= self._running)
            return bool(self._running)

    def _exchange(self, asked: list[_Asked]) -> None:
        kinds: dict[tuple[int, float | None], list[_Asked]] = {}
        for each in asked:
            kinds.setdefault(each.options, []).append(each)
        for each in kinds.pop(_NEITHER, []):
            try:
                each.answers = each.call(self.session) if each.call else []
            except _errors.StreamsError as error:
                each.error = error
        for options, together in kinds.items():
            try:
                answers = self.session.request_many([one for each in together for one in each.requests], *options)
            except _errors.StreamsError as error:
                for each in together:
                    each.error = error
            else:
                start = 0
                for each in together:
                    each.answers, start = answers[start : start + len(each.requests)], start + len(each.requests)
        with self._changed:
            self._asked = []
        for each in asked:
            each.done.set()
