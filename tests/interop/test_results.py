# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The callback choria_results with the real Choria: through a server's spool, and directly to a broker."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils._api import reading, streams
from ansible_collections.choria.streams.plugins.module_utils._choria.spool import find_spool
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.info import SPEC, read
from support.connect import settings
from support.infos import stream_info
from support.playbook import PlaybookResult, run_playbook
from support.run_events import NAME, assert_complete, assert_valid
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ansible_collections.choria.streams.plugins.module_utils._api.messages import Stored
    from support.choria import ChoriaBroker, ChoriaServer

STREAM = "ANSIBLE_RUNS"
PLAYS = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{"name": f"Task {number}", "ansible.builtin.debug": {"msg": "hello"}} for number in range(5)],
    }
]


@pytest.fixture
def session(broker: ChoriaBroker) -> Iterator[Session]:
    """An administrator's session, with a stream for events from servers and events sent directly."""
    admin = broker.folder / "client-results"
    client = None if admin.exists() else broker.client("results", "--stream-admin")
    config = client.config if client else admin / "client.conf"
    with Session(settings(choria_config=str(config))) as made:
        subjects = ["ansible.runs.>", f"{broker.collective}.submission.in.ansible.runs.>"]
        streams.create(made, {"name": STREAM, "subjects": subjects, "storage": "memory"})
        yield made
        streams.delete(made, STREAM)


def client_of(broker: ChoriaBroker) -> Path:
    return broker.folder / "client-results" / "client.conf"


def run(client: Path, state: Path, config: Path | None = None, **more: str) -> PlaybookResult:
    env = {
        "ANSIBLE_CALLBACKS_ENABLED": f"task_results,{NAME}",
        # A client's file for modules and callback, and a server's file for its spool, in one environment
        "CHORIA_STREAMS_CHORIA_CONFIG": str(client),
        **({"CHORIA_STREAMS_RESULTS_SERVER_CONFIG": str(config)} if config else {}),
        "XDG_STATE_HOME": str(state),
        **more,
    }
    return run_playbook(PLAYS, inventory=["web1", "web2"], env=env).check()


def arrived(session: Session, count: int) -> list[Stored]:
    deadline = time.monotonic() + 60
    while True:
        found = list(reading.onward(session, STREAM))
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, len(found)
        time.sleep(0.2)


def complete(found: list[Stored]) -> list[dict[str, Any]]:
    for message in found:
        assert_valid(message.data)
    events = [json.loads(message.data) for message in found]
    assert_complete(events)
    return events


def read_runs(session: Session, prefix: str) -> list[dict[str, Any]]:
    """Return the result of choria_run_info."""
    given = ArgumentSpecValidator(SPEC.argument_spec()).validate({"subject_prefix": prefix}).validated_parameters
    return list(read(session, given)["runs"])


def test_through_the_spool_of_choria_server(
    session: Session, broker: ChoriaBroker, server: ChoriaServer, tmp_path: Path
) -> None:
    result = run(client_of(broker), tmp_path, server.config, CHORIA_STREAMS_RESULTS_TRANSPORT="spool")
    match = re.search(
        rf": (\d+) events in the spool of Choria Server, {server.spool}, 0 spooled, 0 dropped", result.stderr
    )
    assert match, result.stderr
    found = arrived(session, int(match[1]))
    sent = complete(found)
    assert len(sent) == int(match[1])
    assert [message.headers["Nats-Msg-Id"] for message in found] == [event["id"] for event in sent]
    assert found[0].subject.endswith(".submission.in.ansible.runs.run_started")
    assert {message.headers["Choria-Priority"] for message in found} == {"4"}
    assert {message.headers["Content-Type"] for message in found} == {"application/cloudevents+json"}
    assert not list(tmp_path.rglob("*.journal"))
    # Besides the events sent directly, in the same stream. Each is read by its own prefix
    run(client_of(broker), tmp_path)
    submitted = f"{broker.collective}.submission.in.ansible.runs"
    for prefix, is_submitted in ((submitted, True), ("ansible.runs", False)):
        [only] = read_runs(session, prefix)
        assert only["complete"] is True
        assert (only["run_id"] == sent[0]["data"]["run_id"]) is is_submitted


def test_a_full_spool_is_filled_again_by_later_runs(
    session: Session, broker: ChoriaBroker, server: ChoriaServer, tmp_path: Path
) -> None:
    """The node is down, and its spool takes only some events. The rest waits in order until it is up again."""
    config = tmp_path / "server.conf"
    config.write_text(server.config.read_text() + "plugin.choria.submission.max_spool_size = 8\n")
    env = {"CHORIA_STREAMS_RESULTS_TRANSPORT": "spool", "CHORIA_STREAMS_RESULTS_FLUSH_TIMEOUT": "1s"}
    server.shutdown()
    try:
        result = run(client_of(broker), tmp_path, config, **env)
        said = re.sub(r"\s+", " ", result.stderr)
        match = re.search(r": 9 events in the spool of Choria Server, \S+, (\d+) spooled in (\S+), 0 dropped: ", said)
        assert match, said
        assert "is full: 9 messages of priority 4 wait" in said
        assert list(tmp_path.rglob("*.journal"))
    finally:
        server.start()
    first = 9 + int(match[1])
    arrived(session, 9)
    spool = find_spool(None, str(server.config))
    deadline = time.monotonic() + 60
    while spool.state()["messages"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert f"and {match[1]} of earlier runs delivered" in run(client_of(broker), tmp_path, server.config, **env).stderr
    found = arrived(session, 2 * first)
    runs: dict[str, list[Stored]] = {}
    for message in found:
        runs.setdefault(message.headers["Nats-Msg-Id"].rpartition(".")[0], []).append(message)
    assert [len(messages) for messages in runs.values()] == [first, first]
    for messages in runs.values():
        complete(messages)
    assert not list(tmp_path.rglob("*.journal"))


def test_a_missing_spool_is_waited_for(
    session: Session, broker: ChoriaBroker, server: ChoriaServer, tmp_path: Path
) -> None:
    config = tmp_path / "server.conf"
    config.write_text(re.sub(r"(submission\.spool) = .*", rf"\1 = {tmp_path}/spool", server.config.read_text()))
    env = {"CHORIA_STREAMS_RESULTS_TRANSPORT": "spool", "CHORIA_STREAMS_RESULTS_FLUSH_TIMEOUT": "0.5s"}
    said = re.sub(r"\s+", " ", run(client_of(broker), tmp_path, config, **env).stderr)
    assert re.search(
        r": 0 events in the spool of .*, \d+ spooled in \S+, 0 dropped: There is no submission spool", said
    )


def test_straight_to_the_broker(session: Session, broker: ChoriaBroker, server: ChoriaServer, tmp_path: Path) -> None:
    result = run(client_of(broker), tmp_path)
    match = re.search(rf": (\d+) events in stream {STREAM}, 0 spooled, 0 dropped", result.stderr)
    assert match, result.stderr
    assert len(complete(arrived(session, int(match[1])))) == int(match[1])


def test_no_stream_takes_what_the_server_publishes(
    session: Session, broker: ChoriaBroker, server: ChoriaServer, tmp_path: Path
) -> None:
    """The stream accepts the direct events, but not the subject of the collective."""
    config = stream_info(session, STREAM)["config"]
    streams.update(session, {**config, "subjects": ["ansible.runs.>"]})
    result = run(client_of(broker), tmp_path, server.config, CHORIA_STREAMS_RESULTS_TRANSPORT="spool")
    said = re.sub(r"\s+", " ", result.stderr)
    subject = f"{broker.collective}.submission.in.ansible.runs.>"
    assert f"No stream takes {subject}, on which Choria Server publishes these events" in said
    assert list(reading.onward(session, STREAM)) == []
    streams.update(session, config)
    spool = find_spool(None, str(server.config))
    wait_until(lambda: not spool.state()["messages"], 120)
    assert len(arrived(session, 18)) == 18
