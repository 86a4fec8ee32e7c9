# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that go back to an earlier value, and buckets that forget deleted keys."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_write
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, Overtaken, Refused
from ansible_collections.choria.streams.plugins.module_utils._options import fields
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.compaction import KV_BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.entry import KV_ENTRY
from support.in_process import result_of
from support.killing import killed
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


@pytest.fixture(scope="module")
def copying_manager() -> Iterator[Manager]:
    """A server that can copy buckets, so that it is 2.12 or later."""
    with NatsServer() as server, Manager(servers=server.url) as manager:
        yield manager


class Bucket:
    def __init__(self, manager: Manager, **given: Any) -> None:
        self.manager, self.name = manager, f"C{next(_numbers)}"
        self.declare(**given)
        self.bucket = kv.open_bucket(manager.session, self.name)[0]

    def declare(self, **given: Any) -> Plan:
        return self.manager.apply(KV_BUCKET, name=self.name, **given)

    def plan(self, **given: Any) -> Plan:
        return self.manager.plan(KV_BUCKET, name=self.name, **given)

    def write(self, key: str, value: str | None) -> int:
        operation = kv.DELETED if value is None else kv.PUT
        return kv_write.write(self.manager.session, self.bucket, key, operation, (value or "").encode())

    def revert(self, key: str, revision: int, **given: Any) -> Plan:
        return self.manager.apply(KV_ENTRY, bucket=self.name, key=key, revert_to=revision, **given)

    def run(self, check: bool = False, **given: Any) -> dict[str, Any]:
        """Return the result of the module."""
        arguments = {"servers": self.manager.session.settings.servers[0], "name": self.name, **given}
        return result_of("choria_kv_bucket", arguments, check_mode=check)

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
        (gone, f"revert_to: revision {gone} of key a of bucket {bucket.name} is a deletion and no value: check"),
        (4, f"revert_to: revision 4 of key a of bucket {bucket.name} is not kept, or is another key's: check what"),
        (99, f"revert_to: revision 99 of key a of bucket {bucket.name} is not kept, or is another key's: check what"),
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
    plan = manager.plan(KV_ENTRY, bucket=bucket.name, key="a", revert_to=first)
    bucket.write("a", "three")
    with pytest.raises(Overtaken):
        KV_ENTRY.apply(manager.session, plan)
    assert bucket.history["a"][-1] == b"three"


def test_compact(manager: Manager) -> None:
    bucket = Bucket(manager, history=1)
    for key in "abc":
        bucket.write(key, "x")
    bucket.write("a", None)
    bucket.write("b", None)
    assert not bucket.plan(compact="1h").changed
    # A key without history consists of its marker only, so no data is lost with it
    plan = bucket.plan(compact="0", description="changes too")
    assert [change.shown for change in plan.changes][-1] == {
        "field": "deleted_keys",
        "before": ["a", "b"],
        "after": [],
        "effect": "in place",
    }
    assert plan.consequences["messages_lost"] == 0
    bucket.write("b", "again")
    KV_BUCKET.apply(manager.session, plan)
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
        fields.checked(KV_BUCKET.checks, {"compact": "soon"}.get)
    assert bucket.plan(compact="0", state="absent", allow_data_loss=True).action == "delete"


def test_the_bucket_is_created_again_meanwhile(manager: Manager) -> None:
    """In the new bucket, the revision of the marker belongs to a value."""
    bucket = Bucket(manager)
    for value in ("1", "2", None):
        bucket.write("a", value)
    plan = bucket.plan(compact="0s", allow_data_loss=True)
    assert plan.changed
    streams.delete(manager.session, bucket.bucket.stream)
    bucket.declare()
    bucket.write("a", "kept")
    with pytest.raises(Overtaken, match=rf"^Bucket {bucket.name} was deleted and created again meanwhile, and no key"):
        KV_BUCKET.apply(manager.session, plan)
    assert bucket.history == {"a": [b"kept"]}


def with_a_deleted_key(manager: Manager) -> Bucket:
    bucket = Bucket(manager, history=3, storage="file")
    for key, value in (("gone", "x"), ("gone", None), ("kept", "x")):
        bucket.write(key, value)
    return bucket


def test_the_bucket_is_created_again_before_it_is_changed(manager: Manager) -> None:
    bucket = with_a_deleted_key(manager)
    given: dict[str, Any] = {"compact": "0s", "description": "new", "allow_data_loss": True}
    plan = bucket.plan(**given)
    streams.delete(manager.session, bucket.bucket.stream)
    bucket.declare(history=3)
    for value in ("1", "2", "3"):
        bucket.write("gone", value)
    KV_BUCKET.apply(manager.session, plan)
    assert manager.config(bucket.bucket.stream)["description"] == "new"
    assert bucket.history == {"gone": [b"1", b"2", b"3"]}


IN_MEMORY: dict[str, Any] = {"storage": "memory", "compact": "0s", "allow_data_loss": True}


@pytest.mark.parametrize(
    ("recreate", "messages_lost", "history"), [("true", 3, {}), ("copy", 1, {"kept": [b"x"]})], ids=["true", "copy"]
)
def test_compact_a_bucket_that_is_created_again(
    copying_manager: Manager, recreate: str, messages_lost: int, history: dict[str, list[bytes]]
) -> None:
    """The result has all that was changed. Each lost message is counted once."""
    bucket = with_a_deleted_key(copying_manager)
    given = {**IN_MEMORY, "recreate": recreate}
    foreseen, done = bucket.run(check=True, **given), bucket.run(**given)
    for part in ("changed", "changes", "consequences", "diff"):
        assert done[part] == foreseen[part], done
    assert [change["field"] for change in done["changes"]] == ["storage", "deleted_keys"]
    assert done["consequences"]["messages_lost"] == messages_lost
    assert (done["bucket"]["storage"], done["bucket"]["value_count"]) == ("memory", len(history))
    assert bucket.history == history
    assert not bucket.run(**given)["changed"]


def test_compact_after_an_interrupted_copy(copying_manager: Manager) -> None:
    """Wherever the copy was killed, one more run completes it, and removes the deleted key."""
    given, done = {**IN_MEMORY, "recreate": "copy"}, 0

    def copied(name: str) -> None:
        with Manager(servers=copying_manager.session.settings.servers[0]) as other:
            other.apply(KV_BUCKET, name=name, storage="memory", recreate="copy")

    for writes in range(1, 100, 3):
        bucket = with_a_deleted_key(copying_manager)
        if not killed(partial(copied, bucket.name), writes):
            break
        result = bucket.run(**given)
        assert result["changed"], result
        assert "deleted_keys" in [change["field"] for change in result["changes"]], writes
        assert bucket.history == {"kept": [b"x"]}, writes
        assert not bucket.run(**given)["changed"]
        done = writes
    assert done > 10


def test_compact_waits_for_origins(manager: Manager) -> None:
    waiting: dict[str, Any] = {"compact": "0s", "allow_data_loss": True, "wait_for_origins": True, "history": 3}
    origin, missing = Bucket(manager), [{"name": "MISSING"}]
    origin.write("theirs", "x")
    bucket = Bucket(manager, sources=missing, history=3)
    for value in ("x", None):
        bucket.write("gone", value)
    failed = bucket.run(**waiting, sources=missing, wait_timeout="1s")
    assert failed["msg"].startswith(f"Stream KV_{bucket.name} does not have all that its origins have after 1 s")
    assert bucket.history == {"gone": [b"x", b""]}
    # A new origin is an update, which is waited for as well
    for sources in ([{"name": origin.name}], None):
        done = bucket.run(**waiting, sources=sources)
        assert done["changed"], done
        assert done["changes"][-1]["field"] == "deleted_keys"
        assert bucket.history == {"theirs": [b"x"]}
        assert not bucket.run(**waiting, sources=sources)["changed"]
        bucket.write("gone", None)
