# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A part of a stream or bucket of another JetStream domain, by a filter or a transform, on two joined servers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import messages, reading, streams
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.manage import Manager
from support.regions import two_regions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.choria.streams.plugins.module_utils._resources.stream.base import StreamBacked

pytestmark = pytest.mark.once

TIMEOUT = 30.0
LONDON: dict[str, Any] = {"external": {"api": "$JS.london.API"}}
KEY = "$KV.CFG.app.one"


@pytest.fixture(scope="module", params=["latest", "2.14", "2.10"])
def regions(request: pytest.FixtureRequest) -> Iterator[tuple[Manager, Manager]]:
    """Two joined servers. London has a stream with six messages and a bucket with three keys. Paris has nothing."""
    version = None if request.param == "latest" else request.param
    with (
        two_regions(version) as servers,
        Manager(servers=servers["london"].url) as london,
        Manager(servers=servers["paris"].url) as paris,
    ):
        london.apply(STREAM, name="ORDERS", subjects=["orders.*"])
        london.apply(BUCKET, name="CFG")
        for subject in (*(f"orders.{kind}" for kind in ("new", "done", "new", "lost", "done", "new")), KEY):
            messages.publish(london.session, "Publishing", subject, subject.encode())
        for key in ("app.two", "other"):
            messages.publish(london.session, "Publishing", f"$KV.CFG.{key}", b"x")
        yield london, paris


@pytest.mark.parametrize(
    ("kind", "given", "subjects"),
    [
        (STREAM, {"mirror": {"name": "ORDERS", "filter_subject": "orders.new", **LONDON}}, ["orders.new"] * 3),
        (STREAM, {"sources": [{"name": "ORDERS", "filter_subject": "orders.done", **LONDON}]}, ["orders.done"] * 2),
        (
            STREAM,
            {
                "sources": [
                    {
                        "name": "ORDERS",
                        "subject_transforms": [{"src": "orders.lost", "dest": "found.lost"}],
                        "opt_start_seq": 2,
                        **LONDON,
                    }
                ]
            },
            ["found.lost"],
        ),
        (BUCKET, {"mirror": {"name": "CFG", "filter_subject": "$KV.CFG.app.*", **LONDON}}, [KEY, "$KV.CFG.app.two"]),
        (
            BUCKET,
            {"sources": [{"name": "CFG", "filter_subject": "$KV.CFG.app.>", **LONDON}]},
            ["$KV.PART.app.one", "$KV.PART.app.two"],
        ),
    ],
)
def test_a_part(
    regions: tuple[Manager, Manager], kind: StreamBacked, given: dict[str, Any], subjects: list[str]
) -> None:
    _london, paris = regions
    stream = f"{kind.prefix}PART"
    planned = paris.apply(kind, name="PART", **given)
    assert planned.action == "create"
    assert not paris.plan(kind, name="PART", **given).changed
    deadline = time.monotonic() + TIMEOUT
    while len(found := [one.subject for one in reading.onward(paris.session, stream)]) < len(subjects):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    assert found == subjects
    streams.delete(paris.session, stream)


def test_another_filter(regions: tuple[Manager, Manager]) -> None:
    """For sources it is changed in place. They then also copy later messages that it matches."""
    london, paris = regions
    source = {"name": "ORDERS", **LONDON}
    paris.apply(STREAM, name="PART", sources=[{**source, "filter_subject": "orders.lost"}])
    other = {"sources": [{**source, "filter_subject": "orders.later"}]}
    planned = paris.apply(STREAM, name="PART", **other)
    assert [(change.field, change.effect) for change in planned.changes] == [("sources", "in place")]
    assert not paris.plan(STREAM, name="PART", **other).changed
    messages.publish(london.session, "Publishing", "orders.later", b"x")
    deadline = time.monotonic() + TIMEOUT
    while "orders.later" not in [one.subject for one in reading.onward(paris.session, "PART")]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    streams.delete(paris.session, "PART")
