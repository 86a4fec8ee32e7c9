# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes that are killed during their work."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from itertools import count
from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.module_utils._connection import requests, sessions, wire

if TYPE_CHECKING:
    from collections.abc import Callable


def killed(act: Callable[[], object], writes: int) -> bool:
    """Run `act` in its own process, which is killed when the server has answered this many writes.

    Return False if it ended before that. It has to create its own connection.
    """
    child = os.fork()
    if not child:
        try:
            _kill_after(writes)
            act()
            os._exit(0)
        except BaseException:  # on any exception: the parent's code must not run twice
            traceback.print_exc(file=sys.stderr)
            os._exit(1)
    _pid, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the process failed, see its traceback"
    return False


def is_write(through: sessions.Session, request: wire.Request) -> bool:
    return not requests.is_read(through.settings.api, request.subject)


def _kill_after(writes: int) -> None:
    real, done = sessions.Session.request_many, count(1)

    def request_many(self: sessions.Session, requests: Any, *args: Any, **options: Any) -> Any:
        wanted = list(requests)
        answers = real(self, wanted, *args, **options)
        for request in wanted:
            if is_write(self, request) and next(done) == writes:
                os.kill(os.getpid(), signal.SIGKILL)
        return answers

    sessions.Session.request_many = request_many  # type: ignore[method-assign]
