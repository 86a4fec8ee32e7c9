# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""choria_run_info with streams that lack events, have duplicates, or hold other messages."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, PermissionMissing, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.runs import reading as run_reading
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.events import new_run_id
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.info import SPEC, read
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.summary import rfc3339
from support.connect import settings
from support.runs import PREFIX, STREAM, declare, event, result, store, whole_run
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeServer

pytestmark = pytest.mark.once

# The newest server with batches, a stream without direct reads, and a server without batches
WAYS = {"batches": (None, True), "leader": (None, False), "old": ("2.10", True)}
ALL = ["ok", "changed", "failed", "skipped", "unreachable", "ignored"]


def ask(session: Session, **given: Any) -> dict[str, Any]:
    checked = ArgumentSpecValidator(SPEC.argument_spec(), **SPEC.rules).validate(given)
    assert not checked.error_messages
    return read(session, checked.validated_parameters)


def one(session: Session, run_id: str, **given: Any) -> dict[str, Any]:
    [run] = ask(session, run_id=run_id, **given)["runs"]
    assert run["run_id"] == run_id
    return dict(run)


def ids(answer: dict[str, Any]) -> list[str]:
    return [run["run_id"] for run in answer["runs"]]


def messages() -> list[Request]:
    """Return the messages of eight runs, from the first to the last, with other messages among them."""
    hour_ago = time.time() - 3600
    whole = whole_run("whole", [("web1", "ok"), ("web2.example.net", "changed")])
    gaps = whole_run("gaps", [("web1", "ok"), ("web2", "failed"), ("web3", "ok"), ("web4", "ok")], outcome="failed")
    late = whole_run("late", [("web1", "ok"), ("web2", "ok")])
    ended = whole_run("no-start", [("db1", "ok")])
    strange = [
        Request(f"{PREFIX}.run_started", b"\xff not JSON"),
        Request(f"{PREFIX}.run_started", b"[" * 100_000),
        Request(f"{PREFIX}.run_started", b'{"type": "io.example", "data": {"run_id": "x", "sequence": 1}}'),
        Request(f"{PREFIX}.run_started", b'{"data": []}'),
        event("strange", 1, "run_started", moment=hour_ago),
        event(
            "strange", 2, "task_result", host="web1", status=["ok"], task="text", duration="long", governor=7, play=3
        ),
        event("strange", 3, "of_a_later_release", something={"else": 1}),
        event("strange", 4, "run_finished", outcome=None, events="many", duration=1e300, hosts=["web1"]),
    ]
    running = [
        event("running", 1, "run_started"),
        result("running", 2, "web1", "ok"),
        result("running", 4, "web9", "failed", msg="Broke", rc=3, governor={"name": "G", "waited": 2.5, "held": 1.5}),
    ]
    return [
        *whole[:3],
        *gaps[:2],
        *strange,
        *gaps[3:5],  # without event 3
        whole[3],
        gaps[4],  # event 5 again
        gaps[4],
        whole[4],
        *gaps[6:],  # without event 6
        late[0],
        *late[2:],
        *ended[1:],
        late[1],
        result("middle", 7, "web1", "ok"),
        *running,
    ]


@pytest.fixture(scope="module", params=WAYS)
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    version, direct = WAYS[request.param]
    with NatsServer(version=version) as server:
        with Session(settings(servers=server.url)) as writing:
            declare(writing, allow_direct=direct)
            streams.create(writing, {"name": "OTHER", "subjects": ["orders.>"], "allow_direct": direct})
            store(writing, messages())
        with Session(settings(servers=server.url), read_only=True) as reading_only:
            yield reading_only


def test_complete_run(session: Session) -> None:
    run = one(session, "whole", statuses=ALL)
    assert run["complete"] is True
    assert run["outcome"] == "succeeded"
    assert run["duration"] == 1.5
    assert run["about"] == {"playbook": "/site.yml", "user": "ann"}
    events = run["events"]
    assert (events["found"], events["expected"], events["missing"], events["duplicates"]) == (5, 5, [], [])
    assert {name: run["counts"][name] for name in ("ok", "changed", "failed")} == {"ok": 1, "changed": 1, "failed": 0}
    assert run["counts"]["duration"] == 1.0
    assert [(row["host"], row["status"], row["sequence"]) for row in run["results"]] == [
        ("web1", "ok", 3),
        ("web2.example.net", "changed", 4),
    ]
    assert [(row["host"], row["ok"], row["changed"]) for row in run["hosts"]] == [
        ("web1", 1, 0),
        ("web2.example.net", 0, 1),
    ]
    [task] = run["tasks"]
    assert (task["task"], task["longest"], task["ok"], task["changed"]) == ("A task", 0.5, 1, 1)
    assert [play["name"] for play in run["plays"]] == ["A play"]
    assert run["failures"] == []
    assert run["recap"] == {"web1": {"ok": 1}, "web2.example.net": {"ok": 1}}


def test_gaps_and_duplicates(session: Session) -> None:
    run = one(session, "gaps")
    assert run["complete"] is False
    assert run["events"] == {
        "found": 5,
        "expected": 7,
        "missing": [{"first": 3, "last": 3}, {"first": 6, "last": 6}],
        "missing_count": 2,
        "duplicates": [{"first": 5, "last": 5}],
        "duplicate_count": 2,
        "first_in_stream": 4,
        "last_in_stream": run["events"]["last_in_stream"],
    }
    assert [(row["host"], row["rescued"]) for row in run["failures"]] == [("web2", False)]
    assert run["counts"]["ok"] == 1


def test_late_event_is_found(session: Session) -> None:
    run = one(session, "late")
    assert run["complete"] is True
    assert run["plays"][0]["name"] == "A play"
    # The last event of the run in the stream is not its end
    assert run["events"]["last_in_stream"] > run["events"]["first_in_stream"] + 4


def test_start_is_missing(session: Session) -> None:
    run = one(session, "no-start")
    assert run["complete"] is False
    assert run["outcome"] == "succeeded"
    assert (run["about"], run["start_missing"]) == ({}, True)
    assert run["events"]["missing"] == [{"first": 1, "last": 1}]
    assert run["finished"] > run["started"]


def test_start_and_end_are_missing(session: Session) -> None:
    run = one(session, "middle")
    assert run["outcome"] == "running"
    assert run["events"]["missing"] == [{"first": 1, "last": 6}]
    assert run["events"]["expected"] is None


def test_run_under_way(session: Session) -> None:
    run = one(session, "running")
    assert (run["outcome"], run["complete"], run["finished"]) == ("running", False, None)
    assert run["events"]["expected"] is None
    assert run["events"]["missing"] == [{"first": 3, "last": 3}]
    assert run["counts"]["waited"] == 2.5
    [failure] = run["failures"]
    assert (failure["msg"], failure["rc"], failure["governor"]["name"]) == ("Broke", 3, "G")
    assert one(session, "running", lost_after="0")["outcome"] == "lost"


def test_events_with_unexpected_values(session: Session) -> None:
    run = one(session, "strange", statuses=ALL)
    assert run["complete"] is True
    assert run["outcome"] == ""
    assert run["duration"] == 0
    assert run["counts"]["ok"] == 0
    [host] = run["hosts"]
    assert (host["host"], host["waited"]) == ("web1", 0)
    assert [task["task"] for task in run["tasks"]] == ["text"]


def test_times_and_outcomes_that_are_none(make_server: MakeServer) -> None:
    def at(moment: str, request: Request) -> Request:
        return request._replace(payload=json.dumps({**json.loads(request.payload), "time": moment}).encode())

    late, early = "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"
    with Session(settings(servers=make_server().url)) as session:
        declare(session)
        for run_id, moment in (("late", late), ("early", early)):
            store(session, [at(moment, request) for request in whole_run(run_id, [("web1", "failed")])])
        store(session, [event("list", 1, "run_started"), event("list", 2, "run_finished", outcome=["failed"])])
        store(session, [event("half \ud800", 1, "run_started")])
        today = rfc3339(time.time())[:10]
        for run_id in ("late", "early"):
            run = one(session, run_id, statuses=ALL)
            assert run["complete"] is True
            assert [run["started"][:10], run["finished"][:10], run["results"][0]["time"][:10]] == [today] * 3
        answer = ask(session)
        assert (ids(answer), answer["unreadable"]) == (["list", "early", "late"], 1)
        assert ids(ask(session, since="1h")) == ["list", "early", "late"]
        assert ids(ask(session, outcomes=["succeeded"])) == ["early", "late"]
        assert [row["host"] for row in ask(session, last_results=True)["last_results"]] == ["web1"]


def test_no_such_run(session: Session) -> None:
    assert ask(session, run_id="nothing")["runs"] == []


def test_newest_runs(session: Session) -> None:
    answer = ask(session)
    # Runs are listed by their starts, or else by their ends. A run with neither is read by its id
    assert ids(answer) == ["running", "late", "gaps", "whole", "no-start", "strange"]
    assert [run["run_id"] for run in answer["runs"] if run["start_missing"]] == ["no-start"]
    assert answer["unreadable"] >= 4
    assert answer["stream"]["name"] == STREAM
    assert answer["stream"]["messages"] == answer["stream"]["last_sequence"] == len(messages())
    assert ids(ask(session, limit=1)) == ["running"]
    assert [run["complete"] for run in answer["runs"]] == [False, True, False, True, False, True]


def test_selected_runs(session: Session) -> None:
    assert ids(ask(session, outcomes=["failed"])) == ["gaps"]
    assert ids(ask(session, outcomes=["succeeded"], limit=1)) == ["late"]
    assert ids(ask(session, outcomes=["running"], limit=1)) == ["running"]
    assert ids(ask(session, outcomes=["lost"], lost_after="0")) == ["running"]
    assert ids(ask(session, hosts=["web9"])) == ["running"]
    assert ids(ask(session, hosts=["db1"])) == ["no-start"]
    assert ids(ask(session, hosts=["db1"], since="30m", limit=1)) == ["no-start"]
    assert ids(ask(session, hosts=["db1"], until="30m")) == []
    assert ids(ask(session, hosts=["web3", "web2.example.net"])) == ["gaps", "whole"]
    assert ids(ask(session, until="30m")) == ["strange"]
    assert ids(ask(session, since="30m")) == ["running", "late", "gaps", "whole", "no-start"]
    assert ids(ask(session, since="30m", limit=2)) == ["running", "late"]
    assert ids(ask(session, since="2h", until="30m")) == ["strange"]


def test_runs_of_some_playbooks(session: Session) -> None:
    assert ids(ask(session, playbooks=["site.yml"])) == ["late", "gaps", "whole"]
    assert ids(ask(session, playbooks=["/si*"], limit=1)) == ["late"]
    assert ids(ask(session, playbooks=["!site.yml"])) == ["running", "no-start", "strange"]
    assert ids(ask(session, playbooks=["*.yml", "!/site.*"])) == []


def test_results_of_some_hosts(session: Session) -> None:
    run = one(session, "gaps", hosts=["web4"], statuses=ALL)
    assert [row["host"] for row in run["results"]] == []  # its event is missing
    assert run["failures"] == []
    assert run["counts"]["failed"] == 1
    assert [row["host"] for row in one(session, "whole", hosts=["web1"], statuses=ALL)["results"]] == ["web1"]


def test_most_results(session: Session) -> None:
    run = one(session, "whole", statuses=ALL, max_results=1)
    assert [row["host"] for row in run["results"]] == ["web1"]
    assert run["left_out"] == {"failures": 0, "results": 1}


def test_last_results(session: Session) -> None:
    answer = ask(session, last_results=True)
    assert "runs" not in answer
    found = {row["host"]: (row["run_id"], row["status"]) for row in answer["last_results"]}
    assert found == {
        "db1": ("no-start", "ok"),
        "web1": ("middle", "ok"),  # this result is later than those of "running"
        "web2": ("late", "ok"),
        "web2.example.net": ("whole", "changed"),
        "web3": ("gaps", "ok"),
        "web9": ("running", "failed"),
    }
    some = ask(session, last_results=True, hosts=["web1", "web2.example.net", "nobody"])["last_results"]
    assert [row["host"] for row in some] == ["web1", "web2.example.net"]
    assert [row["host"] for row in ask(session, last_results=True, statuses=["failed"])["last_results"]] == ["web9"]
    assert ask(session, last_results=True, until="30m")["last_results"] == []


def test_refusals(session: Session) -> None:
    with pytest.raises(StreamsError, match=r"^stream: there is no stream NONE: create it with choria_stream"):
        ask(session, stream="NONE")
    with pytest.raises(
        OptionError, match=r"^stream: OTHER is not a stream of results: it takes orders\.>, and no ansible\."
    ):
        ask(session, stream="OTHER")
    with pytest.raises(
        OptionError, match=r"^stream: ANSIBLE_RUNS is not a stream of results: .* and no elsewhere\.run_sta"
    ):
        ask(session, subject_prefix="elsewhere")
    with pytest.raises(OptionError, match=r"^since: 'soon' is neither a time nor a duration"):
        ask(session, since="soon")
    with pytest.raises(OptionError, match=r"^until: 'soon' is neither a time nor"):
        ask(session, until="soon")
    with pytest.raises(OptionError, match=r"^subject_prefix: 'a\.>' is not allowed: write words"):
        ask(session, subject_prefix="a.>")
    with pytest.raises(OptionError, match=r"^run_id: means nothing with last_results"):
        ask(session, last_results=True, run_id="whole")
    with pytest.raises(OptionError, match=r"^lost_after: 'never' is not a duration"):
        ask(session, lost_after="never")


USERS = """
accounts {
  A {
    jetstream: enabled
    users: [
      {user: writer, password: w}
      {user: reader, password: r, permissions: {
        publish: ["$JS.API.STREAM.INFO.ANSIBLE_RUNS", "$JS.API.DIRECT.GET.ANSIBLE_RUNS"]
        subscribe: "_INBOX.>"}}
      {user: stranger, password: s, permissions: {publish: "x", subscribe: "_INBOX.>"}}
    ]
  }
}
"""


def test_user_who_may_only_read(make_server: MakeServer) -> None:
    server = make_server(USERS)
    with Session(settings(servers=server.url, user="writer", password="w")) as writing:
        declare(writing, allow_direct=True)
        store(writing, whole_run("whole", [("web1", "ok"), ("web2", "ok")]))
    with Session(settings(servers=server.url, user="reader", password="r"), read_only=True) as session:
        assert one(session, "whole")["complete"] is True
        assert len(ask(session, last_results=True)["last_results"]) == 2
    with (
        Session(settings(servers=server.url, user="stranger", password="s"), read_only=True) as session,
        pytest.raises(PermissionMissing, match=r"may not publish to \$JS\.API\.STREAM\.INFO\.ANSIBLE_RUNS"),
    ):
        ask(session)


def test_items_that_are_events(make_server: MakeServer) -> None:
    server = make_server()
    with Session(settings(servers=server.url)) as session:
        declare(session)
        started, _play, failed, finished = whole_run("items", [("web1", "failed")], outcome="failed")
        task = {"name": "A task", "uuid": "uuid-A task"}
        items = [
            event("items", 10 + index, "item_result", host="web1", task=task, label=label, status=status, msg="Broke")
            for index, (label, status) in enumerate((("a", "ok"), ("b", "failed"), ("c", "unreachable")))
        ]
        store(session, [started, *items, failed, finished])
        [row] = one(session, "items")["failures"]
    assert [(item["label"], item["status"], item["msg"]) for item in row["items"]] == [
        ("b", "failed", "Broke"),
        ("c", "unreachable", "Broke"),
    ]


def test_only_the_range_of_a_run_is_read(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module reads all starts and ends, and the events between those of this run."""
    server = make_server()
    with Session(settings(servers=server.url)) as session:
        declare(session, allow_direct=True)
        for number in range(20):
            store(session, whole_run(f"run-{number}", [(f"web{host}", "ok") for host in range(50)]))
        seen: list[int] = []
        onward = run_reading.reading.onward

        def counted(*args: Any, **options: Any) -> Iterator[Any]:
            for message in onward(*args, **options):
                seen.append(message.sequence)
                yield message

        monkeypatch.setattr(run_reading.reading, "onward", counted)
        assert one(session, "run-7")["events"]["found"] == 53
        # Eight starts and ends, and the requested messages. One in the range belongs to another run
        assert len(seen) <= 8 + 8 + 53 + 1


def test_the_search_begins_at_the_time_in_the_id(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The starts of earlier runs are not read, unless the controller's clock was wrong."""
    server = make_server()
    monkeypatch.setattr(run_reading, "_CLOCKS", timedelta(milliseconds=100))
    monkeypatch.setattr(run_reading, "_AT_ONCE", 0.05)
    with Session(settings(servers=server.url)) as session:
        declare(session, allow_direct=True)
        late, results = new_run_id(), [("web1", "ok")]
        for number in range(20):
            store(session, whole_run(f"before-{number}", results))
        time.sleep(0.3)
        run_id = new_run_id()
        future = f"0f{run_id[2:]}"  # its controller's clock is wrong by years
        for stored in (run_id, late, future):
            store(session, whole_run(stored, results))
        seen: list[int] = []
        onward = run_reading.RunReader._onward

        def noted(*args: Any) -> Iterator[Any]:
            for message in onward(*args):
                seen.append(message.sequence)
                yield message

        monkeypatch.setattr(run_reading.RunReader, "_onward", noted)
        assert one(session, run_id)["complete"] is True
        assert min(seen) == 20 * len(whole_run("", results)) + 1
        for known in (late, future, "before-7"):
            assert one(session, known)["complete"] is True
        assert ask(session, run_id=new_run_id())["runs"] == []


def test_the_stream_is_created_again_while_it_is_read(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of the old stream lacks the unread events, and contains no event of the new stream."""
    server = make_server()
    with Session(settings(servers=server.url)) as session:
        declare(session, allow_direct=True)
        store(session, whole_run("old", [(f"web{host}", "ok") for host in range(50)]))
        find = run_reading.RunReader.find

        def created_again(reader: run_reading.RunReader, run_id: str) -> run_reading.Mark | None:
            mark = find(reader, run_id)
            streams.delete(session, STREAM)
            declare(session, allow_direct=True)
            store(session, whole_run("new", [(f"web{host}", "failed") for host in range(100)]))
            return mark

        assert one(session, "old")["complete"] is True
        monkeypatch.setattr(run_reading.RunReader, "find", created_again)
        assert ask(session, run_id="old")["runs"] == []
        monkeypatch.undo()
        assert ids(ask(session)) == ["new"]
        page = run_reading.reading._page

        def then_again(*args: Any) -> Any:
            found = page(*args)
            if found[1]:
                monkeypatch.undo()
                streams.delete(session, STREAM)
                declare(session, allow_direct=True)
                store(session, whole_run("newer", [(f"web{host}", "ok") for host in range(110)]))
            return found

        monkeypatch.setattr(run_reading.reading, "_PAGE_MESSAGES", 64)
        monkeypatch.setattr(run_reading.reading, "_page", then_again)
        run = one(session, "new")
        assert run["complete"] is False
        assert run["events"]["found"] < 103
        assert {row["status"] for row in run["results"]} <= {"failed"}


def test_runs_without_start_among_others(make_server: MakeServer) -> None:
    """Every third start is missing. The newest runs are returned once each, for any number of requested runs."""
    server = make_server()
    with Session(settings(servers=server.url)) as session:
        declare(session, allow_direct=True)
        began = time.time() - 1000
        for number in range(40):
            moment = began + 10 * number
            if number % 3:
                store(session, [event(f"run-{number}", 1, "run_started", moment)])
            ended = {"outcome": "succeeded", "events": 2, "duration": 1.5, "hosts": {}}
            store(session, [event(f"run-{number}", 2, "run_finished", moment + 1.5, **ended)])
        newest = [f"run-{number}" for number in reversed(range(40))]
        for limit in (1, 2, 7, 40, 100):
            assert ids(ask(session, limit=limit)) == newest[:limit]
        times = {"since": rfc3339(began + 145), "until": rfc3339(began + 205)}
        assert ids(ask(session, limit=100, **times)) == newest[19:25]
        assert ids(ask(session, playbooks=["!site.yml"], outcomes=["failed"])) == []


def test_more_hosts_than_one_batch(make_server: MakeServer) -> None:
    server = make_server()
    with Session(settings(servers=server.url)) as session:
        declare(session, allow_direct=True)
        store(session, whole_run("large", [(f"host{number}", "ok") for number in range(2500)]))
        assert len(ask(session, last_results=True)["last_results"]) == 2500
        assert len(one(session, "large")["hosts"]) == 2500


def test_mirror(make_server: MakeServer) -> None:
    server = make_server()
    with Session(settings(servers=server.url)) as session:
        declare(session, allow_direct=True)
        store(session, whole_run("whole", [("web1", "ok")]))
        streams.create(session, {"name": "COPY", "mirror": {"name": STREAM}, "allow_direct": True})
        deadline = time.monotonic() + 30
        while not ids(ask(session, stream="COPY")):
            assert time.monotonic() < deadline
        assert one(session, "whole", stream="COPY")["complete"] is True
