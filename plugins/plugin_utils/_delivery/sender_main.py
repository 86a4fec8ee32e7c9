# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main program of the sender process, see `_sender_process`.

If the pipe ends without the count of events, the run was killed. Then the process reports the end of the run.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ...module_utils import _errors
from ...module_utils._operations.runs.journal import number_of
from .sender import Before, Sender
from .sender_pipe import Job, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .transport import Transport


class _Handed(NamedTuple):
    """The state of the pipe: the subject and the number of the last event, and the count at the end of the run."""

    subject: str
    number: int
    handed: int
    total: int | None


def main() -> None:
    """Send the events from standard input, even if the run is killed."""
    os.set_blocking(sys.stdout.fileno(), False)
    try:
        answer = _send_all()
    except _errors.StreamsError as error:
        answer = {"refused": error.message}
    except Exception as error:  # without its words, which may be of an event
        answer = {"refused": _errors.bug(error).message}
    os.set_blocking(sys.stdout.fileno(), True)  # the run waits for the last answer
    _tell(answer)
    os._exit(0)  # a disk that does not answer would hold the thread that waits for it


def _send_all() -> dict[str, Any]:
    lines = sys.stdin.buffer
    job = Job(**json.loads(lines.readline()))
    sender = _sender(job)
    _tell({})
    try:
        handed = _hand_over(lines, sender)
        if handed.total is None:
            _report_interruption(job, sender, handed)
        else:
            sender.missed(handed.total - handed.handed)
    except Exception:
        sender.finish(0)  # what there is so far goes to disk
        raise
    return sender.finish(job.flush_timeout)._asdict()


def _hand_over(lines: Iterable[bytes], sender: Sender) -> _Handed:
    """Pass all events to the sender."""
    subject = event_id = ""
    handed = 0
    count = None
    for line in lines:
        parts = line.split(b" ", 2)
        if not line.endswith(b"\n"):  # the run was killed while it wrote
            break
        if len(parts) < 3:  # the last one
            count = int(json.loads(line))
            break
        subject, event_id = parts[0].decode(), parts[1].decode()
        sender.put(subject, event_id, parts[2][:-1])
        handed += 1
    return _Handed(subject, number_of(event_id), handed, count)


def _report_interruption(job: Job, sender: Sender, handed: _Handed) -> None:
    """Send the last event of a killed run. Do nothing if there was no event, or the last one was sent."""
    from .._results import events as _events

    number = handed.number or job.sequence
    if not number or handed.subject == f"{job.prefix}.{_events.RUN_FINISHED}":
        return
    run = _events.Run(job.run_id, number)
    data = _events.finished("interrupted", number + 1, time.time() - job.started, None)
    event = run.event(_events.RUN_FINISHED, time.time(), data)
    sender.put(_events.subject(job.prefix, event), event.id, _events.encode(event, job.max_size))


def transport_of(job: Job) -> Transport:
    """Return the transport of a job. Raises StreamsError."""
    from ...module_utils._connection.settings import Settings
    from .transport import Direct

    settings = Settings.from_options(job.connection.get)
    if job.transport == "direct":
        return Direct(settings, job.prefix, job.stream)
    from .transport_spool import ChoriaSpool

    told = any(job.connection.get(name) for name in ("servers", "choria_config", "context"))
    return ChoriaSpool(job.server_config, settings, job.prefix, look=told)


def _sender(job: Job) -> Sender:
    from ...module_utils._operations.runs.spool import Spool, spool_path

    spool = Spool(spool_path(job.spool), job.spool_size)
    before = Before(job.settled, job.dropped, resume=job.restarted)
    return Sender(transport_of(job), spool, job.run_id, before=before, report_progress=_tell)


def _tell(answer: Mapping[str, Any]) -> None:
    with suppress(OSError):  # the run has ended, or does not listen: a later line repeats the progress
        os.write(sys.stdout.fileno(), to_json(answer))
