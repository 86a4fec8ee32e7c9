# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module and action in check mode, as a user who may only read: it predicts the change and changes nothing.

The objects on the server and the files on the host are compared before and after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import lists, streams
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.entry import ENTRY
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support import runs
from support.manage import Manager
from support.playbook import PlaybookResult, run_playbook
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session

# tests/integration/targets test check mode with each ansible-core, this file with the oldest
pytestmark = pytest.mark.once

READS = [
    f"$JS.API.{call}"
    for call in (
        *("INFO", "STREAM.LIST", "STREAM.NAMES", "STREAM.INFO.>", "STREAM.MSG.GET.>", "DIRECT.GET.>"),
        *("CONSUMER.LIST.>", "CONSUMER.NAMES.>", "CONSUMER.INFO.>"),
    )
]
READER = {"user": "reader", "password": "secret", "permissions": {"publish": READS}}


# A folder that an inner task would create
FOLDER = {"path": "FOLDER/new", "state": "directory"}


class Try(NamedTuple):
    """A task in check mode, and whether it predicts a change. FOLDER contains files, and BACKUP is a backup."""

    module: str
    changed: bool
    given: dict[str, Any]


TRIED = [
    Try("choria_broker_info", False, {"config": "FOLDER/broker.conf"}),
    Try("choria_broker_peer", False, {"config": "FOLDER/broker.conf", "name": "broker5"}),
    Try("choria_stream", True, {"name": "NEW", "subjects": ["new"]}),
    Try("choria_stream", True, {"name": "ORDERS", "max_msgs": 1, "allow_data_loss": True}),
    Try("choria_stream", True, {"name": "ORDERS", "state": "absent", "allow_data_loss": True}),
    Try("choria_stream_info", False, {}),
    Try("choria_consumer", True, {"stream": "ORDERS", "name": "new"}),
    Try("choria_consumer", True, {"stream": "ORDERS", "name": "worker", "description": "other"}),
    Try("choria_consumer", True, {"stream": "ORDERS", "name": "worker", "paused_until": "2100-01-01T00:00:00Z"}),
    Try("choria_consumer", True, {"stream": "ORDERS", "name": "worker", "state": "absent", "allow_data_loss": True}),
    Try("choria_consumer_info", False, {"stream": "ORDERS"}),
    Try("choria_kv_bucket", True, {"name": "NEW"}),
    Try("choria_kv_bucket", True, {"name": "CFG", "history": 9}),
    Try("choria_kv_bucket", True, {"name": "CFG", "state": "absent", "allow_data_loss": True}),
    Try("choria_kv_bucket_info", False, {}),
    Try("choria_kv", True, {"bucket": "CFG", "key": "a", "value": "other"}),
    Try("choria_kv", True, {"bucket": "CFG", "key": "a", "state": "absent"}),
    Try("choria_kv", True, {"bucket": "CFG", "key": "a", "state": "purged"}),
    Try("choria_kv_sync", True, {"bucket": "CFG", "prefix": "x", "data": {"b": "c"}}),
    Try("choria_kv_sync", True, {"bucket": "CFG", "dest": "FOLDER/pulled"}),
    Try("choria_kv_watch", False, {"bucket": "CFG", "keys": ["a"], "max_wait": "5s"}),
    Try("choria_governor", True, {"name": "NEW", "capacity": 1, "expire": "1m"}),
    Try("choria_governor", True, {"name": "SEATS", "capacity": 9}),
    Try("choria_governor", True, {"name": "SEATS", "state": "absent"}),
    Try("choria_governor_info", False, {}),
    Try("choria_governor_lease", True, {"name": "SEATS", "state": "acquired"}),
    Try("choria_governor_lease", True, {"name": "SEATS", "state": "released", "lease_id": 1, "identity": "web1"}),
    Try("choria_governor_lease", True, {"name": "SEATS", "state": "evicted", "lease_id": 1}),
    Try("choria_governor_lease", True, {"name": "SEATS", "state": "reset"}),
    Try("choria_governor_run", True, {"name": "SEATS", "task": {"ansible.builtin.file": FOLDER}}),
    Try("choria_resources", True, {"streams": [{"name": "NEW"}], "governors": [{"name": "SEATS", "capacity": 5}]}),
    Try("choria_stream_message", True, {"subject": "orders.new", "data": "x"}),
    Try("choria_stream_message", True, {"stream": "ORDERS", "state": "absent", "sequence": 1}),
    Try("choria_stream_message", True, {"stream": "ORDERS", "state": "purged", "allow_data_loss": True}),
    Try("choria_stream_message_info", False, {"stream": "ORDERS"}),
    Try("choria_submit", True, {"subject": "a", "payload": "x", "choria_config": "FOLDER/server.conf"}),
    Try("choria_submit", True, {"subject": "a", "payload": "x", "transport": "direct"}),
    Try("choria_submission_info", False, {"choria_config": "FOLDER/server.conf"}),
    Try("choria_backup", True, {"stream": "ORDERS", "path": "FOLDER/other"}),
    Try("choria_backup_info", False, {"path": "FOLDER/backups"}),
    Try("choria_restore", True, {"path": "BACKUP", "stream": "NEW", "subjects": ["restored.>"]}),
    Try("choria_machine", True, {"choria_config": "FOLDER/server.conf", "name": "OLD", "state": "absent"}),
    Try("choria_machine", True, {"choria_config": "FOLDER/server.conf", "state": "purged", "keep": []}),
    Try("choria_machine_info", False, {}),
    Try("choria_run_info", False, {}),
    Try("choria_run_page", True, {"dest": "FOLDER/page.html"}),
    Try("choria_results_journal", True, {"spool": "FOLDER/journals", "state": "absent", "older_than": "0s"}),
    Try("choria_config", True, {"path": "FOLDER/client.conf", "settings": {"identity": "other"}}),
    Try("choria_config_info", False, {"choria_config": "FOLDER/server.conf"}),
    Try("choria_credentials", True, {"folder": "FOLDER/lab", "client_tokens": [{"name": "admin"}]}),
]  # fmt: skip


def filled(value: Any, folder: Path, backup: str) -> Any:
    if isinstance(value, dict):
        return {name: filled(item, folder, backup) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, folder, backup) for item in value]
    return value.replace("FOLDER", str(folder)).replace("BACKUP", backup) if isinstance(value, str) else value


def prepare(manager: Manager, folder: Path) -> None:
    """Create one object of each kind, with contents, and files."""
    manager.apply(STREAM, name="ORDERS", subjects=["orders.*"])
    manager.apply(STREAM, name="SUBMITTED", subjects=["mcollective.submission.in.>"])
    manager.apply(STREAM, name="ANSIBLE_RUNS", subjects=["ansible.runs.>"])
    streams.create(manager.session, {"name": "CHORIA_MACHINE", "subjects": ["choria.machine.>"]})
    manager.apply(BUCKET, name="CFG", history=5)
    manager.apply(ENTRY, bucket="CFG", key="a", value="b")
    manager.apply(GOVERNOR, name="SEATS", capacity=2, expire="1h")
    manager.apply(CONSUMER, stream="ORDERS", name="worker")
    for subject, payload in (("orders.old", b"1"), ("orders.old", b"2"), ("mcollective.governor.SEATS", b"web1")):
        manager.session.request(subject, payload)
    runs.store(manager.session, runs.whole_run("one", [("web1", "ok")]))
    for priority in range(5):
        (folder / "spool" / f"P{priority}").mkdir(mode=0o700, parents=True)
    (folder / "machines" / "OLD").mkdir(parents=True)
    (folder / "journals").mkdir(mode=0o700)
    (folder / "journals" / "1-run.journal").write_bytes(b"damaged\n")
    (folder / "machines" / "OLD" / "machine.yaml").write_text("name: OLD\n")
    (folder / "server.conf").write_text(
        f"plugin.choria.submission.spool = {folder}/spool\nplugin.choria.machine.store = {folder}/machines\n"
    )
    (folder / "client.conf").write_text("identity = one\n")


def contents(session: Session, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the contents of all streams and files, without times of access."""
    found: dict[str, Any] = {
        info["config"]["name"]: (info["config"], info["created"], info["state"]) for info in lists.streams(session)
    }
    files = {str(path): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}
    return found, files


class Outcome(NamedTuple):
    result: PlaybookResult
    before: tuple[dict[str, Any], dict[str, Any]]
    after: tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    folder = tmp_path_factory.mktemp("files")
    admin = {"user": "admin", "password": "secret"}
    with (
        NatsServer({"authorization": {"users": [admin, READER]}}) as server,
        Manager(servers=[server.url], **admin) as manager,
    ):
        prepare(manager, folder)
        backup = back_up(server, admin, folder)
        statistics = server.monitor_url.rpartition(":")[2]
        (folder / "broker.conf").write_text(f"identity = broker1\nplugin.choria.stats_port = {statistics}\n")
        before = contents(manager.session, folder)
        tasks = [
            {"name": f"{number}", f"choria.streams.{module}": filled(given, folder, backup)}
            for number, (module, _changed, given) in enumerate(TRIED)
        ]
        result = run_playbook(
            [{"hosts": "localhost", "gather_facts": False, "ignore_errors": True, "tasks": tasks}],
            check=True,
            diff=True,
            env=environment(server, READER),
        )
        yield Outcome(result.check(), before, contents(manager.session, folder))


def environment(server: NatsServer, user: dict[str, Any]) -> dict[str, str]:
    return {
        "CHORIA_STREAMS_SERVERS": server.url,
        "CHORIA_STREAMS_USER": user["user"],
        "CHORIA_STREAMS_PASSWORD": user["password"],
    }


def back_up(server: NatsServer, user: dict[str, Any], folder: Path) -> str:
    task = {"name": "backup", "choria.streams.choria_backup": {"stream": "ORDERS", "path": f"{folder}/backups"}}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [task]}
    return str(run_playbook([play], env=environment(server, user)).check().task("backup").result["backup"]["path"])


@pytest.mark.parametrize(
    "number", range(len(TRIED)), ids=[f"{each.module}-{index}" for index, each in enumerate(TRIED)]
)
def test_check_mode_predicts_a_change(outcome: Outcome, number: int) -> None:
    task = outcome.result.task(f"{number}")
    assert task.status == "ok", task.message
    assert task.changed is TRIED[number].changed


def test_nothing_has_changed(outcome: Outcome) -> None:
    assert outcome.before == outcome.after
    assert {"GOVERNOR_SEATS", "KV_CFG", "ORDERS", "SUBMITTED"} <= set(outcome.before[0])
