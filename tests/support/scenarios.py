# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run of each module and lookup, on a server that has one object of each kind."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request

from .connect import settings
from .filling import delete_streams, publish_many
from .in_process import result_of
from .lookups import Lookups

if TYPE_CHECKING:
    from pathlib import Path

    from .server import NatsServer

IMPATIENT = {"timeout": "1s", "connect_timeout": "2s"}


class Scenario(NamedTuple):
    """A module, or a lookup with its terms."""

    name: str
    arguments: dict[str, Any]
    terms: list[Any] | None = None
    check_mode: bool = False


_MESSAGES = [{"subject": "orders.new", "data": "x"}, {"subject": "orders.new", "data": "y"}]
SCENARIOS: dict[str, Scenario] = {
    "stream created": Scenario("choria_stream", {"name": "NEW", "subjects": ["new"]}),
    "stream created in check mode": Scenario("choria_stream", {"name": "NEW"}, check_mode=True),
    "stream changed": Scenario("choria_stream", {"name": "ORDERS", "max_age": "1h"}),
    "stream recreated": Scenario(
        "choria_stream", {"name": "ORDERS", "storage": "file", "recreate": "copy", "wait_timeout": "2s"}
    ),
    "stream deleted": Scenario("choria_stream", {"name": "ORDERS", "state": "absent", "allow_data_loss": True}),
    "streams": Scenario("choria_stream_info", {}),
    "stream by name": Scenario("choria_stream_info", {"names": ["ORDERS"]}),
    "consumer created": Scenario("choria_consumer", {"stream": "ORDERS", "name": "NEW"}),
    "consumer changed": Scenario("choria_consumer", {"stream": "ORDERS", "name": "C", "description": "x"}),
    "consumer deleted": Scenario("choria_consumer", {"stream": "ORDERS", "name": "C", "state": "absent"}),
    "consumers": Scenario("choria_consumer_info", {"stream": "ORDERS"}),
    "consumer by name": Scenario("choria_consumer_info", {"stream": "ORDERS", "names": ["C"]}),
    "bucket created": Scenario("choria_kv_bucket", {"name": "NEW"}),
    "bucket changed": Scenario("choria_kv_bucket", {"name": "CFG", "history": 9}),
    "bucket compacted": Scenario("choria_kv_bucket", {"name": "CFG", "compact": "0", "allow_data_loss": True}),
    "buckets": Scenario("choria_kv_bucket_info", {}),
    "governor created": Scenario("choria_governor", {"name": "NEW", "capacity": 1, "expire": "1h"}),
    "governor changed": Scenario("choria_governor", {"name": "G", "capacity": 5, "expire": "1h"}),
    "governors": Scenario("choria_governor_info", {}),
    "seat taken": Scenario("choria_governor_lease", {"name": "G", "state": "acquired", "max_wait": "1s"}),
    "seat taken away": Scenario("choria_governor_lease", {"name": "G", "state": "evicted", "identity": "me"}),
    "seats taken away": Scenario("choria_governor_lease", {"name": "G", "state": "reset"}),
    "key written": Scenario("choria_kv", {"bucket": "CFG", "key": "new", "value": "x"}),
    "key changed": Scenario("choria_kv", {"bucket": "CFG", "key": "a", "value": "x"}),
    "key deleted": Scenario("choria_kv", {"bucket": "CFG", "key": "a", "state": "absent"}),
    "keys pushed": Scenario("choria_kv_sync", {"bucket": "CFG", "prefix": "new", "data": {"k": "v"}}),
    "keys pruned": Scenario("choria_kv_sync", {"bucket": "CFG", "prefix": "p", "data": {"k": "v"}, "prune": True}),
    "keys pulled": Scenario("choria_kv_sync", {"bucket": "CFG", "prefix": "p", "dest": "{folder}/pulled"}),
    "key awaited": Scenario("choria_kv_watch", {"bucket": "CFG", "keys": ["a"], "max_wait": "1s"}),
    "document": Scenario(
        "choria_resources",
        {
            "owner": "me",
            "prune": True,
            "streams": [{"name": "NEW"}],
            "consumers": [{"stream": "ORDERS", "name": "NEW"}],
            "kv_buckets": [{"name": "CFG", "history": 9}],
            "governors": [{"name": "G", "capacity": 4}],
            "keys": [{"bucket": "CFG", "key": "new", "value": "x"}],
        },
    ),
    "message published": Scenario("choria_stream_message", {"subject": "orders.new", "data": "x"}),
    "batch published": Scenario("choria_stream_message", {"messages": _MESSAGES}),
    "messages published": Scenario("choria_stream_message", {"messages": _MESSAGES, "atomic": False}),
    "messages deleted": Scenario("choria_stream_message", {"stream": "ORDERS", "sequences": [1, 2], "state": "absent"}),
    "message deleted": Scenario("choria_stream_message", {"stream": "ORDERS", "sequence": 1, "state": "absent"}),
    "messages purged": Scenario(
        "choria_stream_message", {"stream": "ORDERS", "state": "purged", "allow_data_loss": True}
    ),
    "messages": Scenario("choria_stream_message_info", {"stream": "ORDERS"}),
    "message by sequence": Scenario("choria_stream_message_info", {"stream": "ORDERS", "sequence": 1}),
    "message submitted": Scenario("choria_submit", {"subject": "x", "payload": "x", "transport": "direct"}),
    "backup": Scenario("choria_backup", {"stream": "ORDERS", "path": "{folder}"}),
    "restore": Scenario("choria_restore", {"path": "{backup}", "stream": "NEW", "subjects": ["new"]}),
    "runs": Scenario("choria_run_info", {"stream": "RESULTS", "subject_prefix": "results"}),
    "machines": Scenario("choria_machine_info", {"max_wait": "1s"}),
    "looked-up key": Scenario("choria_kv", {"bucket": "CFG"}, ["a"]),
    "looked-up keys": Scenario("choria_kv", {"bucket": "CFG"}, ["a", "p.x"]),
    "looked-up prefix": Scenario("choria_kv", {"bucket": "CFG", "prefix": True}, ["p"]),
    "looked-up history": Scenario("choria_kv", {"bucket": "CFG", "history": True}, ["a"]),
    "looked-up revision": Scenario("choria_kv", {"bucket": "CFG", "revision": 1}, ["a"]),
    "looked-up message": Scenario("choria_stream", {}, ["ORDERS"]),
    "looked-up messages": Scenario("choria_stream", {"last": 2}, ["ORDERS"]),
    "looked-up seats": Scenario("choria_governor", {}, ["G"]),
}


class World:
    """A real server with one object of each kind. ``url`` is the address that runs get: of a proxy, for example."""

    def __init__(self, server: NatsServer, folder: Path) -> None:
        self.url = server.url
        self.folder = folder
        self.session = Session(settings(servers=server.url))
        self.lookups = Lookups()
        self.make()
        made = result_of("choria_backup", {"stream": "ORDERS", "path": str(folder / "good"), "servers": [server.url]})
        self.backup = made["backup"]["path"]

    def close(self) -> None:
        self.lookups.stop()
        self.session.close()

    def make(self) -> None:
        """Create all objects again."""
        shutil.rmtree(self.folder / "pulled", ignore_errors=True)
        delete_streams(self.session)
        memory = {"storage": "memory"}
        kept = {"max_msgs_per_subject": 5, "allow_rollup_hdrs": True, "allow_direct": True, "deny_delete": True}
        seats = {"max_msgs": 2, "discard": "new", "max_age": 3600 * 10**9, "duplicate_window": 3600 * 10**9}
        for config in (
            {"name": "ORDERS", "subjects": ["orders.>"], **memory, "allow_atomic": True},
            {"name": "KV_CFG", "subjects": ["$KV.CFG.>"], **kept, **memory, "discard": "new"},
            {"name": "GOVERNOR_G", "subjects": ["mcollective.governor.G"], **seats, **memory},
            {"name": "SUBMITTED", "subjects": ["mcollective.submission.in.>"], **memory},
            {"name": "RESULTS", "subjects": ["results.>"], **memory},
            {"name": "CHORIA_MACHINE", "subjects": ["choria.machine.>"], **memory},
        ):
            streams.create(self.session, config)
        subjects = ("orders.a", "orders.b", "orders.a", "$KV.CFG.a", "$KV.CFG.p.x", "$KV.CFG.p.y", "$KV.CFG.a")
        wanted = [Request(subject, b"value") for subject in subjects] + [Request("mcollective.governor.G", b"me")]
        for answer in publish_many(self.session, "Filling", wanted):
            assert isinstance(answer, dict)
        consumer = {"durable_name": "C", "ack_policy": "explicit"}
        consumers.create(self.session, "ORDERS", consumer)

    def run(self, scenario: Scenario, **options: str) -> tuple[Any, str, float]:
        """Return the result, the error, and the duration. Raises RawError."""
        given = {**scenario.arguments, **IMPATIENT, **options, "servers": self.url}
        for option, value in given.items():
            if isinstance(value, str):
                given[option] = value.replace("{folder}", str(self.folder)).replace("{backup}", self.backup)
        began = time.monotonic()
        if scenario.terms is None:
            result = result_of(scenario.name, {**given, "servers": [self.url]}, check_mode=scenario.check_mode)
            found: tuple[Any, str] = (result, result["msg"] if result.get("failed") else "")
            if result.get("failed"):
                assert result["failure"]["code"] != "bug", result
        else:
            found = self.lookups.run(scenario.name, scenario.terms, **given)
        return (*found, time.monotonic() - began)
