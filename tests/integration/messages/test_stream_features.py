# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Schedules, counters and batches: the behaviour of the server, and what check mode predicts."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, Refused
from ansible_collections.choria.streams.plugins.module_utils._operations.messages import publish as message_publish
from ansible_collections.choria.streams.plugins.module_utils._operations.messages.messages import SPEC, act
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.manage import Manager
from support.server import NatsServer
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

pytestmark = pytest.mark.once

NEVER = "2126-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def manager() -> Iterator[Manager]:
    with NatsServer() as server, Manager(servers=server.url) as manager:
        manager.apply(STREAM, name="LATER", subjects=["later.>"], allow_msg_schedules=True, allow_msg_ttl=True)
        manager.apply(STREAM, name="COUNTS", subjects=["counts.>"], allow_msg_counter=True, allow_atomic=True)
        manager.apply(STREAM, name="BOTH", subjects=["both.>"], allow_atomic=True)
        yield manager


def published(manager: Manager, check_mode: bool = False, **given: Any) -> dict[str, Any]:
    found = ArgumentSpecValidator(SPEC.argument_spec(), **SPEC.rules).validate(given)
    assert not found.error_messages, found.error_messages
    return act(manager.session, found.validated_parameters, check_mode)


def count(manager: Manager, stream: str) -> int:
    info = streams.info(manager.session, stream)
    assert info
    return int(info["state"]["messages"])


def test_a_schedule(manager: Manager) -> None:
    given: dict[str, Any] = {"subject": "later.plan", "data": "x"}
    given["schedule"] = {"at": NEVER, "target": "later.done", "ttl": "1h"}
    assert published(manager, check_mode=True, **given)["changed"]
    assert count(manager, "LATER") == 0
    assert [published(manager, **given)["changed"] for _run in range(2)] == [True, False]
    assert published(manager, check_mode=True, **given)["changed"] is False
    other = {**given, "data": "y"}
    assert [published(manager, **other)["changed"] for _run in range(2)] == [True, False]
    assert count(manager, "LATER") == 1
    every = {**given, "schedule": {"every": "1s", "target": "later.done"}}
    assert [published(manager, **every)["changed"] for _run in range(2)] == [True, False]
    wait_until(lambda: count(manager, "LATER") == 2)
    assert not published(manager, **every)["changed"]
    over = {**given, "subject": "later.over", "schedule": {"at": "2020-01-01T00:00:00Z", "target": "later.done"}}
    assert published(manager, **over)["message"] is None


def test_a_schedule_by_the_servers_clock(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of this host is years ahead, so that the moment seems to be over."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Self:
            return cls(2200, 1, 1, tzinfo=tz)

    monkeypatch.setattr(message_publish, "datetime", Ahead, raising=False)
    given: dict[str, Any] = {"subject": "later.clock", "data": "x", "schedule": {"at": NEVER, "target": "later.done"}}
    assert published(manager, **given)["changed"]


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        ({"target": "later.done"}, "schedule: needs one of at, every and cron."),
        ({"at": NEVER, "every": "1s", "target": "later.done"}, "schedule: needs one of at, every and cron."),
        ({"at": NEVER, "target": "both.done"}, "schedule: the target both.done has to be another subject of stream"),
        ({"at": NEVER, "target": "later.plan"}, "schedule: the target later.plan has to be another subject"),
        ({"cron": "* * *", "target": "later.done"}, "schedule: cron: '* * *' is not allowed: give six fields"),
        ({"at": NEVER}, "schedule: needs target too."),
    ],
)
def test_a_schedule_that_is_none(manager: Manager, schedule: dict[str, Any], reason: str) -> None:
    for check_mode in (True, False):
        with pytest.raises((OptionError, Refused)) as refused:
            published(manager, check_mode=check_mode, subject="later.plan", data="x", schedule=schedule)
        assert refused.value.message.startswith(reason)


def test_a_counter(manager: Manager) -> None:
    for increment, value in (("5", 5), ("-2", 3), ("+1", 4)):
        given: dict[str, Any] = {"subject": "counts.a", "increment": increment}
        assert published(manager, check_mode=True, **given)["message"]["value"] == value
        assert published(manager, **given)["message"]["value"] == value
    with pytest.raises(Refused, match=r"^increment: stream COUNTS holds counters, and takes increments alone"):
        published(manager, subject="counts.a", data="5")
    with pytest.raises(Refused, match=r"^increment: stream BOTH has no counters"):
        published(manager, check_mode=True, subject="both.a", increment="1")
    with pytest.raises(OptionError, match=r"^data: give the payload, or increment for a counter, and not both"):
        published(manager, subject="counts.a", increment="1", data="x")


def test_a_batch(manager: Manager) -> None:
    batch = [{"subject": "both.a", "data": "1", "expected_last_sequence": 0}, {"subject": "both.b", "data": "2"}]
    planned = published(manager, check_mode=True, messages=batch)
    assert count(manager, "BOTH") == 0
    done = published(manager, messages=batch)
    assert done["changed"]
    assert done["changes"] == planned["changes"]
    assert [(each["subject"], each["sequence"], each["data"]) for each in done["messages"]] == [
        ("both.a", 1, "1"),
        ("both.b", 2, "2"),
    ]
    for check_mode in (True, False):
        with pytest.raises(Refused, match=r"^expected_last_sequence: the last message in the stream is 2, not 0"):
            published(manager, check_mode=check_mode, messages=batch)
    batch = [
        {"subject": "both.c", "data": "1"},
        {"subject": "both.a", "data": "2", "expected_last_subject_sequence": 7},
    ]
    for check_mode in (True, False):
        with pytest.raises(Refused, match=r"^expected_last_subject_sequence: the last message on both.a is"):
            published(manager, check_mode=check_mode, messages=batch)
    assert count(manager, "BOTH") == 2
    many = [{"subject": "both.many", "data": str(number)} for number in range(1000)]
    assert published(manager, messages=many)["messages"][-1]["sequence"] == 1002


def test_a_batch_that_is_none(manager: Manager) -> None:
    for batch, reason in (
        ([], "messages: has no entries: give one message or more."),
        ([{"subject": "both.a", "data": "1"}, {"subject": "later.a", "data": "1"}], "messages: the subjects belong to"),
        ([{"subject": "later.a", "data": "1"}], "messages: stream LATER takes no batches: set allow_atomic: true"),
        ([{"subject": "both.a"}], "messages[0].data: give the payload, or increment for a counter"),
    ):
        with pytest.raises((OptionError, Refused)) as refused:
            published(manager, messages=batch)
        assert refused.value.message.startswith(reason)
    assert (
        published(manager, messages=[{"subject": "counts.b", "increment": "2"}] * 2)["messages"][1]["data"]
        == '{"val":"4"}'
    )
