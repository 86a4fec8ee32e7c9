# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's conclusions from the answers of all brokers. tests/interop uses real ones."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.plugin_utils._role.brokers import STREAMS, brokers

DAY = 86400.0
RETENTION = {"event": "2d"}


def answer(name: str, *streams: dict[str, Any], problems: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"item": name, "broker": {"problems": list(problems), "streams": list(streams)}}


def stream(kind: str, replicas: int = 3, max_age: float = 2 * DAY) -> dict[str, Any]:
    return {"name": STREAMS[kind], "replicas": replicas, "max_age": max_age}


def drift(*changed: dict[str, Any], without: str = "", **variables: Any) -> list[str]:
    """Return the variables for brokers with correct streams, changed by the given ones."""
    streams = {STREAMS[kind]: stream(kind) for kind in STREAMS if kind != without}
    streams.update((one["name"], one) for one in changed)
    first, *others = streams.values()
    found = brokers(
        [answer("b1", first), answer("b2", *others), answer("b3")],
        variables.get("replicas", 3),
        variables.get("retention", RETENTION),
        "b1",
    )
    return [one["text"] for one in found["drift"]]


def test_streams_that_are_right_do_not_differ() -> None:
    assert drift() == []
    assert drift(replicas="3") == []


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (stream("machine", replicas=1), "CHORIA_MACHINE has 1 replicas in place of 3"),
        (stream("event", max_age=7200.0), "CHORIA_EVENTS keeps messages for 7200s in place of 172800s"),
        (
            stream("event", 1, 1.5),
            "CHORIA_EVENTS has 1 replicas in place of 3 and keeps messages for 2s in place of 172800s",
        ),
    ],
)
def test_different_streams_are_named(changed: dict[str, Any], text: str) -> None:
    assert drift(changed) == [text]


def test_retention_is_compared_only_if_set() -> None:
    assert drift(stream("machine", max_age=1.0)) == []
    assert drift(stream("machine", max_age=1.0), retention={"machine": "1s"}) == []


def test_a_stream_that_no_broker_leads() -> None:
    assert drift(without="executor") == ["CHORIA_EXECUTOR is missing, or has no leader"]
    assert drift(without="executor", retention={"executor": "0s"}) == []


def test_all_ill_brokers_are_named_with_their_problems() -> None:
    found = brokers(
        [
            answer("b1"),
            answer("b2", problems=("its cluster has no leader", "stream ORDERS has no leader")),
            {"item": "b3", "unreachable": True, "msg": "Failed to connect to the host via ssh."},
            {"item": "b4"},
        ],
        1,
        {},
        "b1",
    )
    assert found["ill"] == ["b2", "b3", "b4"]
    assert found["problems"] == (
        "b2 (its cluster has no leader; stream ORDERS has no leader); "
        "b3 (Failed to connect to the host via ssh); b4 (no answer)"
    )


def test_an_ill_broker_may_still_hold_its_streams() -> None:
    expired = answer("b1", problems=("clients can't use it: its certificate has expired",))
    expired["broker"].update(well=True, whole=True)
    found = brokers([expired, {"item": "b2"}], 1, {}, "b1")
    assert (found["ill"], found["not_well"], found["not_whole"]) == (["b1", "b2"], ["b2"], "b2 (no answer)")


@pytest.mark.parametrize(
    ("broker", "not_well", "only_not_whole", "reason"),
    [
        ("b1", [], [], ""),
        ("b1", ["b1"], [], ""),
        ("b2", ["b1"], [], "b1 (ill)"),
        ("b1", ["b1"], ["b3"], ""),
        ("b1", [], ["b1"], "b1 (ill)"),
        ("b1", ["b1", "b2"], [], "b1 (ill); b2 (ill)"),
        ("b3", ["b1", "b2"], [], "b1 (ill); b2 (ill)"),
    ],
)
def test_brokers_that_the_cluster_can_not_spare(
    broker: str, not_well: list[str], only_not_whole: list[str], reason: str
) -> None:
    answers = [answer(name) for name in ("b1", "b2", "b3")]
    for one in answers:
        if one["item"] in (*not_well, *only_not_whole):
            one["broker"].update(problems=["ill"], well=one["item"] in only_not_whole, whole=False)
    assert brokers(answers, 1, {}, broker)["cannot_spare"] == reason
