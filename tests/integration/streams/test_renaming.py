# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stream gets another name with its messages, consumers and subjects, also if the renaming is killed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from integration.streams.test_copying import applied, fill, make_orders, published, state, stored, take

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, lists
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, Refused
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.filling import delete_streams
from support.in_process import result_of
from support.killing import killed
from support.manage import Manager
from support.publishing import Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.server import NatsServer

pytestmark = [pytest.mark.once, pytest.mark.parametrize("server", ["latest", "2.14"], indirect=True, scope="module")]


@pytest.fixture
def manager(server: NatsServer) -> Iterator[Manager]:
    """A manager for a server that has no stream after the test."""
    with Manager(servers=server.url) as there:
        yield there
        delete_streams(there.session)


def names_of(manager: Manager, stream: str) -> list[str]:
    return sorted(info["name"] for info in consumers.list_all(manager.session, stream))


def test_others_publish_all_the_while(manager: Manager, server: NatsServer) -> None:
    make_orders(manager, server)
    before, config = stored(manager, "ORDERS"), manager.config("ORDERS")
    wanted = {"name": "SALES", "renamed_from": "ORDERS"}
    with Publisher(server.url, "ORDERS.new") as publisher:
        publisher.wait_for(50)
        planned = manager.plan(STREAM, **wanted)
        plan = manager.apply(STREAM, **wanted)
        publisher.wait_for(50)
    assert [(change.field, change.before, change.after) for change in plan.changes] == [("name", "ORDERS", "SALES")]
    assert planned.change_list == plan.change_list
    assert plan.consequences["consumers_recreated"] == ["worker"]
    assert lists.stream_names(manager.session) == ["SALES"]
    assert stored(manager, "SALES", "ORDERS.old") == before
    numbers = [int(message[3]) for message in stored(manager, "SALES", "ORDERS.new")]
    assert numbers[: publisher.acknowledged] == list(range(publisher.acknowledged))
    after = manager.config("SALES")
    assert {**after, "name": "ORDERS", "metadata": config["metadata"]} == config
    assert take(server, "SALES", "worker", 30)[:2] == [b"12", b"13"]
    assert not manager.plan(STREAM, **wanted).changed
    assert not manager.plan(STREAM, name="SALES").changed


def renamed(server: NatsServer, old: str, new: str) -> Any:
    return applied(server, name=new, renamed_from=old, storage="memory", max_age="1d", recreate="copy")


def test_killed_at_each_step(manager: Manager, server: NatsServer) -> None:
    newest = manager.session.server.version >= (2, 15)
    for writes in range(1, 100, 1 if newest else 4):
        old, new = f"ORDERS{writes}", f"SALES{writes}"
        make_orders(manager, server, old)
        before, number = stored(manager, old), published(manager, old, 0)
        if not killed(partial(renamed, server, old, new), writes):
            break
        number = published(manager, old, number)
        there = lists.stream_names(manager.session)
        renamed(server, old, new)
        number = published(manager, old, number)
        assert stored(manager, new, f"{old}.old") == before, there
        assert [int(message[3]) for message in stored(manager, new, f"{old}.new")] == list(range(number))
        config = manager.config(new)
        assert (config["storage"], config["max_age"], config["subjects"]) == ("memory", 86400 * 10**9, [f"{old}.>"])
        assert {label: text for label, text in config["metadata"].items() if label[0] != "_"} == {"team": "sales"}
        assert [name for name in lists.stream_names(manager.session) if name.endswith(f"S{writes}")] == [new]
        assert not [name for name in lists.stream_names(manager.session) if name.startswith("COPY_OF_")]
        assert take(server, new, "worker", 27 + number)[0] == b"12"
        assert renamed(server, old, new).action == "none"
    assert writes > 8


@pytest.mark.parametrize("given", [{"retention": "interest"}, {"retention": "workqueue"}, {"no_ack": True}], ids=str)
def test_of_other_kinds(manager: Manager, server: NatsServer, given: dict[str, Any]) -> None:
    manager.apply(STREAM, name="OLD", subjects=["old.>"], **given)
    consumers.create(manager.session, "OLD", {"durable_name": "worker", "ack_policy": "explicit"})
    if "no_ack" not in given:
        fill(manager, "old.a", range(20))
        take(server, "OLD", "worker", 5)
    manager.apply(STREAM, name="NEW", renamed_from="OLD", subjects=["old.>", "new.>"])
    assert (lists.stream_names(manager.session), names_of(manager, "NEW")) == (["NEW"], ["worker"])
    assert manager.config("NEW")["retention"] == given.get("retention", "limits")
    if "no_ack" not in given:
        fill(manager, "new.a", range(20, 22))
        assert state(manager, "NEW")["messages"] == 17
        assert take(server, "NEW", "worker", 17) == [str(number).encode() for number in range(5, 22)]


def test_impossible_renames_are_refused(manager: Manager) -> None:
    manager.apply(STREAM, name="OLD", subjects=["old.>"])
    fill(manager, "old.a", range(5))
    with pytest.raises(OptionError, match=r"^renamed_from: OLD is the name itself"):
        manager.plan(STREAM, name="OLD", renamed_from="OLD")
    with pytest.raises(Refused, match=r"max_msgs 2 would lose 3 messages"):
        manager.plan(STREAM, name="NEW", renamed_from="OLD", max_msgs=2)
    with pytest.raises(Refused, match=r"^storage of stream NEW can't be changed from file to memory"):
        manager.plan(STREAM, name="NEW", renamed_from="OLD", storage="memory")
    manager.apply(STREAM, name="COPY", mirror={"name": "OLD"})
    with pytest.raises(Refused, match=r"^renamed_from: stream OLD can't be renamed: COPY would look for it under its"):
        manager.plan(STREAM, name="NEW", renamed_from="OLD")
    with pytest.raises(Refused, match=r"^renamed_from: stream COPY can't be renamed: the messages of a mirror are"):
        manager.plan(STREAM, name="NEW", renamed_from="COPY")
    with pytest.raises(Refused, match=r"^renamed_from: there are both OLD and COPY: leave it out"):
        manager.plan(STREAM, name="COPY", renamed_from="OLD")
    assert manager.plan(STREAM, name="NEW", renamed_from="NONE", subjects=["new"]).action == "create"


def test_half_renamed(manager: Manager, server: NatsServer) -> None:
    """Other tasks change neither stream."""
    make_orders(manager, server)
    assert killed(partial(renamed, server, "ORDERS", "SALES"), 11)
    assert lists.stream_names(manager.session) == ["ORDERS", "SALES"]
    for recreate in ("false", "true", "copy"):
        with pytest.raises(Refused, match=r"^name: stream ORDERS is being renamed to SALES, and that was not finished"):
            manager.plan(STREAM, name="ORDERS", recreate=recreate, description="x")
    plan = renamed(server, "ORDERS", "SALES")
    assert plan.consequences["steps"][-1] == "let worker consume SALES"
    assert lists.stream_names(manager.session) == ["SALES"]


def test_in_a_document(manager: Manager, server: NatsServer) -> None:
    """Neither the stream nor its consumers are pruned. They can be changed at the same time."""
    connection: dict[str, Any] = {"servers": manager.session.settings.servers, "owner": "me", "prune": True}
    old: dict[str, Any] = {
        "streams": [{"name": "OLD", "subjects": ["old.>"]}],
        "consumers": [{"stream": "OLD", "name": "worker"}, {"stream": "OLD", "name": "other"}],
    }
    assert result_of("choria_resources", {**connection, **old})["summary"]["created"] == 3
    fill(manager, "old.a", range(10))
    assert take(server, "OLD", "worker", 4)[-1] == b"3"
    new: dict[str, Any] = {
        "streams": [{"name": "NEW", "renamed_from": "OLD", "subjects": ["old.*"]}],
        "consumers": [{"stream": "NEW", "name": "worker", "description": "x"}, {"stream": "NEW", "name": "other"}],
    }
    wrong = result_of("choria_resources", {**connection, **new, "streams": [*old["streams"], *new["streams"]]})
    assert "streams[0]: stream OLD is renamed by streams[1]: use the new name" in wrong["msg"]
    for check_mode in (True, False):
        result = result_of("choria_resources", {**connection, **new}, check_mode=check_mode)
        assert result.get("summary", result) == {"created": 0, "updated": 2, "deleted": 0, "unchanged": 1, "failed": 0}
    assert (lists.stream_names(manager.session), names_of(manager, "NEW")) == (["NEW"], ["other", "worker"])
    assert take(server, "NEW", "worker", 6)[0] == b"4"
    assert not result_of("choria_resources", {**connection, **new})["changed"]
