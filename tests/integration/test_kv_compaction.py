# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that go back to an earlier value, and buckets that forget deleted keys."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_write
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, Overtaken, Refused
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.compactable import COMPACTABLE
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.entry import REVERTIBLE
from support.manage import Manager
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.choria.streams.plugins.module_utils._resources.resource import Plan

pytestmark = pytest.mark.once

_numbers = count()


@pytest.fixture(scope="module", params=["latest", "2.10"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    version = None if request.param == "latest" else request.param
    with NatsServer(version=version) as server, Manager(servers=server.url) as manager:
        yield manager


class Bucket:
    def __init__(self, manager: Manager, **given: Any) -> None:
        self.manager, self.name = manager, f"C{next(_numbers)}"
        self.declare(**given)
        self.bucket = kv.open_bucket(manager.session, self.name)[0]

    def declare(self, **given: Any) -> Plan:
        return self.manager.apply(COMPACTABLE, name=self.name, **given)

    def plan(self, **given: Any) -> Plan:
        return self.manager.plan(COMPACTABLE, name=self.name, **given)

    def write(self, key: str, value: str | None) -> int:
        operation = kv.DELETED if value is None else kv.PUT
        return kv_write.write(self.manager.session, self.bucket, key, operation, (value or "").encode())

    def revert(self, key: str, revision: int, **given: Any) -> Plan:
        return self.manager.apply(REVERTIBLE, bucket=self.name, key=key, revert_to=revision, **given)

    @property
    def history(self) -> dict[str, list[bytes]]:
        keys = kv.open_bucket(self.manager.session, self.name, ">")[1]
        return {
            key: [entry.value for entry in kv.history(self.manager.session, self.bucket, key)] for key in sorted(keys)
        }


def test_revert(manager: Manager) -> None:
    bucket = Bucket(manager, history=10)
    first, second = bucket.write("a", "one"), bucket.write("a", "two")
    gone = bucket.write("a", None)
    bucket.write("b", "other")
    plan = bucket.revert("a", first)
    assert plan.action == "create"
    assert plan.diff["after"] == "one"
    assert not bucket.revert("a", first).changed
    assert bucket.revert("a", second).action == "update"
    assert bucket.history == {"a": [b"one", b"two", b"", b"one", b"two"], "b": [b"other"]}
    for revision, says in (
        (gone, f"revert_to: revision {gone} of key a of bucket {bucket.name} is no value, but its deletion: look at"),
        (4, f"revert_to: revision 4 of key a of bucket {bucket.name} is not kept, or is another key's: look at what"),
        (99, f"revert_to: revision 99 of key a of bucket {bucket.name} is not kept, or is another key's: look at what"),
    ):
        with pytest.raises(Refused) as refused:
            bucket.revert("a", revision)
        assert refused.value.message.startswith(says)
    with pytest.raises(OptionError, match="revert_to: does not go with value"):
        bucket.revert("a", first, value="x")


def test_revert_replaces_nothing_unseen(manager: Manager) -> None:
    bucket = Bucket(manager, history=10)
    first = bucket.write("a", "one")
    bucket.write("a", "two")
    plan = manager.plan(REVERTIBLE, bucket=bucket.name, key="a", revert_to=first)
    bucket.write("a", "three")
    with pytest.raises(Overtaken):
        REVERTIBLE.apply(manager.session, plan)
    assert bucket.history["a"][-1] == b"three"


def test_compact(manager: Manager) -> None:
    bucket = Bucket(manager, history=1)
    for key in "abc":
        bucket.write(key, "x")
    bucket.write("a", None)
    bucket.write("b", None)
    assert not bucket.plan(compact="1h").changed
    # The mark is all that is left of a key without history: nothing is lost with it
    plan = bucket.plan(compact="0", description="changes too")
    assert [change.shown for change in plan.changes][-1] == {
        "field": "deleted_keys",
        "before": ["a", "b"],
        "after": [],
        "effect": "in place",
    }
    assert plan.consequences["messages_lost"] == 0
    bucket.write("b", "again")
    COMPACTABLE.apply(manager.session, plan)
    assert bucket.history == {"b": [b"again"], "c": [b"x"]}
    assert manager.config(f"KV_{bucket.name}")["description"] == "changes too"
    assert not bucket.plan(compact="0").changed


def test_compact_asks_before_old_values_go(manager: Manager) -> None:
    bucket = Bucket(manager, history=5)
    for value in ("1", "2", None):
        bucket.write("a", value)
    bucket.write("b", "x")
    with pytest.raises(Refused) as refused:
        bucket.plan(compact="0")
    assert refused.value.message == (
        f"bucket {bucket.name}: removing deleted keys for good would lose 2 messages: set allow_data_loss: true if "
        "that is wanted."
    )
    assert bucket.declare(compact="0", allow_data_loss=True).consequences["messages_lost"] == 2
    assert bucket.history == {"b": [b"x"]}
    with pytest.raises(OptionError, match="compact: 'soon' is not a duration"):
        bucket.plan(compact="soon")
    assert bucket.plan(compact="0", state="absent", allow_data_loss=True).action == "delete"


def test_the_bucket_is_created_again_meanwhile(manager: Manager) -> None:
    """The revision of a mark that was read is one of a value in the new bucket."""
    bucket = Bucket(manager)
    for value in ("1", "2", None):
        bucket.write("a", value)
    plan = bucket.plan(compact="0s", allow_data_loss=True)
    assert plan.changed
    streams.delete(manager.session, bucket.bucket.stream)
    bucket.declare()
    bucket.write("a", "kept")
    with pytest.raises(Overtaken, match=rf"^Bucket {bucket.name} was deleted and created again meanwhile, and no key"):
        COMPACTABLE.apply(manager.session, plan)
    assert bucket.history == {"a": [b"kept"]}
