# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role concludes from the answers of all brokers. tests/interop asks real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.choria.streams.plugins.plugin_utils._role.brokers import STREAMS, brokers

DAY = 86400.0
RETENTION = {"event": "2d"}


def answer(name: str, *streams: dict[str, Any], problems: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"item": name, "broker": {"problems": list(problems), "streams": list(streams)}}


def stream(kind: str, replicas: int = 3, max_age: float = 2 * DAY) -> dict[str, Any]:
    return {"name": STREAMS[kind], "replicas": replicas, "max_age": max_age}


def drift(*changed: dict[str, Any], without: str = "", **variables: Any) -> list[str]:
    """The texts for brokers whose streams are right, except those that are given."""
    streams = {STREAMS[kind]: stream(kind) for kind in STREAMS if kind != without}
    streams.update((one["name"], one) for one in changed)
    first, *others = streams.values()
    found = brokers(
        [answer("b1", first), answer("b2", *others), answer("b3")],
        variables.get("replicas", 3),
        variables.get("retention", RETENTION),
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
def test_what_differs_is_named(changed: dict[str, Any], text: str) -> None:
    assert drift(changed) == [text]


def test_how_long_is_compared_where_it_is_wanted() -> None:
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
    )
    assert [one["text"] for one in found["ill"]] == [
        "b2 (its cluster has no leader; stream ORDERS has no leader)",
        "b3 (Failed to connect to the host via ssh)",
        "b4 (no answer)",
    ]


def test_an_ill_broker_may_still_hold_its_streams() -> None:
    expired = answer("b1", problems=("clients can't use it: its certificate has expired",))
    expired["broker"].update(well=True, whole=True)
    found = brokers([expired, {"item": "b2"}], 1, {})["ill"]
    assert [(one["name"], one["well"], one["whole"]) for one in found] == [("b1", True, True), ("b2", False, False)]


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
    """The variables of the role that decide whether a broker may change."""
    ill = [
        {"name": name, "text": f"{name} (ill)", "well": name in only_not_whole, "whole": False}
        for name in (*not_well, *only_not_whole)
    ]
    assert role_variable("_choria_cannot_spare", inventory_hostname=broker, _choria_brokers={"ill": ill}) == reason


def role_variable(name: str, **given: Any) -> Any:
    """A variable of the role's vars/main.yml where others have the given values."""
    path = Path(__file__).resolve().parents[2] / "roles" / "choria" / "vars" / "main.yml"
    texts = yaml.safe_load(path.read_text())
    variables = {key: trust_as_template(value) if isinstance(value, str) else value for key, value in texts.items()}
    return Templar(DataLoader(), variables={**variables, **given}).template(trust_as_template(f"{{{{ {name} }}}}"))
