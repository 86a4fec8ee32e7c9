# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Events of runs that are created by hand. The callback would not send some of them."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.events import host_word

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session

STREAM = "ANSIBLE_RUNS"
PREFIX = "ansible.runs"
EVIL = "<script>window.planted = 1</script><img src=x onerror='window.planted = 2'>\"'&"
TYPE = "io.choria.streams.ansible.v1."


def declare(session: Session, **config: Any) -> None:
    # No duplicate window: a message that is published twice is stored twice
    streams.create(session, {"name": STREAM, "subjects": [f"{PREFIX}.>"], **config})


def event(run_id: str, number: int, kind: str, moment: float | None = None, **data: Any) -> Request:
    """Return an event as the callback publishes it, but without the id that prevents duplicates."""
    moment = time.time() if moment is None else moment
    host = str(data.get("host", ""))
    envelope = {
        "specversion": "1.0",
        "id": f"{run_id}.{number}",
        "source": "io.choria.streams.ansible",
        "type": f"{TYPE}{kind}",
        "time": datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="microseconds"),
        "datacontenttype": "application/json",
        "data": {"run_id": run_id, "sequence": number, **data},
        **({"subject": host} if host else {}),
    }
    words = [
        PREFIX,
        kind,
        *([str(data["status"])] if kind == "task_result" else []),
        *([host_word(host)] if host else []),
    ]
    return Request(".".join(words), json.dumps(envelope).encode())


def result(run_id: str, number: int, host: str, status: str, task: str = "A task", **data: Any) -> Request:
    names = {"name": task, "uuid": f"uuid-{task}", "action": "ansible.builtin.command", "path": "/site.yml:3"}
    fields = {"host": host, "status": status, "changed": status == "changed", "play": {"name": "A play", "uuid": "p"}}
    return event(run_id, number, "task_result", **{**fields, "task": names, "duration": 0.5, **data})


def whole_run(run_id: str, statuses: Iterable[tuple[str, str]], *, outcome: str = "succeeded") -> list[Request]:
    """Return a run with one result for each host and status."""
    results = list(statuses)
    recap = {host: {"ok": 1} for host, _status in results}
    return [
        event(run_id, 1, "run_started", playbook="/site.yml", user="ann"),
        event(run_id, 2, "play_started", play={"name": "A play", "uuid": "p"}),
        *(result(run_id, index, host, status) for index, (host, status) in enumerate(results, 3)),
        event(
            run_id,
            len(results) + 3,
            "run_finished",
            outcome=outcome,
            events=len(results) + 3,
            duration=1.5,
            hosts=recap,
        ),
    ]


def evil_run() -> list[Request]:
    """Return a run with markup in each text of its events. It has gaps, and an event twice."""
    names = {"name": EVIL, "uuid": EVIL, "action": EVIL, "path": EVIL}
    governor = {"name": EVIL, "seat": EVIL, "waited": 1.5, "held": EVIL}
    output = {"stdout": EVIL, "stderr": EVIL, "traceback": EVIL}
    more: dict[str, Any] = {
        "msg": EVIL,
        "rc": EVIL,
        "attempts": 2,
        "governor": governor,
        "output": output,
        "task": names,
    }
    more.update(facts={EVIL: EVIL, "list": [{EVIL: EVIL}]}, warnings=[EVIL, {EVIL: [EVIL]}], deprecations=EVIL)
    more.update(play={"name": EVIL}, truncated=[EVIL], items=[{"label": EVIL, "status": EVIL, "msg": {EVIL: EVIL}}])
    diff = [{"before": EVIL, "after": EVIL}, {"prepared": EVIL}, EVIL]
    about: dict[str, Any]
    about = dict.fromkeys(("playbook", "user", "controller", "ansible_version", "limit", "batch"), EVIL)
    about.update(tags=[EVIL], skip_tags=[EVIL], git={"commit": EVIL, "branch": EVIL, "dirty": True})
    job = {"system": EVIL, "id": EVIL, "url": "javascript:window.planted = 3"}
    results = [
        result("evil", number, f"{EVIL}{number}", status, diff=diff, **more)
        for number, status in enumerate(("failed", "changed", "unreachable", "ignored", EVIL), start=2)
    ]
    finished = event("evil", 9, "run_finished", outcome=EVIL, events=9, duration=2.5)
    started = event("evil", 1, "run_started", job=job, **about)
    # The subjects do not matter here
    return [
        request._replace(subject=".".join(request.subject.split(".")[:3]))
        for request in (started, *results, results[0], finished)
    ]


def store(session: Session, requests: Iterable[Request]) -> None:
    for answer in session.request_many(requests):
        assert isinstance(answer, list), answer
        assert "error" not in json.loads(answer[0].data), answer
