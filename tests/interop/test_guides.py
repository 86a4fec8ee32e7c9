# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guides for Choria sites with the real Choria: their playbooks, and the permissions that tokens need."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from integration.collection.test_examples import blocks, plays

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import governor as governors
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.campaign import Wait, campaign
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support import ROOT
from support.choria import NODE_PERMISSIONS, find_choria
from support.intervals import Recorder
from support.manage import Manager
from support.playbook import PlaybookResult, run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.choria import ChoriaBroker, ChoriaClient, ChoriaServer

SITES, JOBS = ROOT / "docs" / "choria-sites.md", ROOT / "docs" / "governed-jobs.md"
ADMIN = ("--service", "--stream-admin", "--stream-user", "--governor", "--event-viewer")


@pytest.fixture(scope="module")
def admin(jwt_broker: ChoriaBroker) -> ChoriaClient:
    return jwt_broker.client("ansible", *ADMIN)


@pytest.fixture(scope="module")
def manager(admin: ChoriaClient) -> Iterator[Manager]:
    with Manager(choria_config=str(admin.config)) as made:
        yield made


def test_the_guides_commands_show_public_keys(tmp_path: Path) -> None:
    """The commands of the guide on submission run unchanged. They show keys, and create none."""
    program = str(find_choria())
    commands = re.findall(r"^\$ (choria jwt [^#\n]+)", (ROOT / "docs" / "submission.md").read_text(), re.MULTILINE)
    assert len(commands) == 2

    def choria(*arguments: str) -> str:
        return subprocess.run(
            [program, *arguments], check=True, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        ).stdout

    for name in ("issuer", "server"):
        choria("jwt", "keys", f"{name}.seed", f"{name}.public")
    public = {name: (tmp_path / f"{name}.public").read_text().strip() for name in ("issuer", "server")}
    choria("jwt", "server", "server.jwt", "node1", public["server"], "issuer.seed")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for command, name in zip(commands, ("server", "issuer")):
        _choria, *arguments = command.split()
        shown = choria(*(argument.removeprefix("/etc/choria/") for argument in arguments))
        assert public[name] in shown
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_choria_sites(admin: ChoriaClient) -> None:
    text = SITES.read_text()
    assert " \\\n  ".join(("--service", " ".join(ADMIN[1:]))) in text
    # The play with servers only has no token: tests/integration runs it
    shown = [block for block in blocks(SITES) if "site_servers" not in block]
    result = run_playbook(plays(shown, {}), extra_vars={"client_config": str(admin.config)}).check()
    assert result.task("Read the file").result["config"]["problem"] is None
    assert admin.output("governor", "list").split()[-1] == "SITE"


def test_governed_jobs(admin: ChoriaClient, jwt_server: ChoriaServer, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    hosts = ["web1", "web2"]
    run_playbook(
        plays(blocks(JOBS), {}),
        inventory=hosts,
        extra_vars={
            "choria": str(find_choria()),
            "cron_folder": str(tmp_path),
            "puppet_run": recorder.command("cron", 0.1),
            "puppet_test": recorder.command("{{ inventory_hostname }}", 0.1),
            "server_config": str(jwt_server.config),
        },
        env={"CHORIA_STREAMS_CHORIA_CONFIG": str(admin.config)},
    ).check()
    job = re.fullmatch(r"\*/30 \* \* \* \* root (.*)\n", (tmp_path / "puppet-governed").read_text())
    assert job is not None
    subprocess.run(job[1], shell=True, check=True, timeout=60, env={"HOME": str(tmp_path), "USER": "root"})
    assert sorted(interval.name for interval in recorder.intervals()) == ["cron", *hosts]


# Permissions, according to the table of the guide

Task = tuple[str, dict[str, Any]]


def lookup(plugin: str, /, *terms: str, **given: Any) -> Task:
    arguments = [
        repr(f"choria.streams.{plugin}"),
        *map(repr, terms),
        *(f"{key}={value!r}" for key, value in given.items()),
    ]
    return "ansible.builtin.debug", {"msg": f"{{{{ lookup({', '.join(arguments)}) }}}}"}


def module(plugin: str, /, **given: Any) -> Task:
    return f"choria.streams.{plugin}", given


# The tasks for each row of the table. WHO is the kind of token, SEQUENCE the number of one of its messages, and
# BACKUPS a folder
SEQUENCES = {"client": "1", "server": "2"}
TRIED: dict[str, list[Task]] = {
    "`choria_stream`, `choria_kv_bucket`, `choria_governor`": [
        module("choria_stream", name="NEW_WHO", subjects=["new.WHO"]),
        module("choria_kv_bucket", name="NEW_WHO"),
        module("choria_governor", name="NEW_WHO", capacity=1, expire="1m"),
    ],
    "`choria_resources`": [
        module(
            "choria_resources",
            streams=[{"name": "DOCUMENT_WHO", "subjects": ["document.WHO"]}],
            kv_buckets=[{"name": "DOCUMENT_WHO"}],
            keys=[{"bucket": "DOCUMENT_WHO", "key": "a", "value": "b"}],
            owner="WHO",
            prune=True,
        ),
    ],
    "`choria_consumer`": [
        module("choria_consumer", stream="ORDERS", name="WHO"),
        module("choria_consumer", stream="ORDERS", name="WHO", description="changed"),
    ],
    "`choria_consumer` with `recreate` or `state: absent`": [
        module("choria_consumer", stream="ORDERS", name="WHO", ack_policy="all", recreate=True),
        module("choria_consumer", stream="ORDERS", name="WHO", state="absent"),
    ],
    "`choria_consumer` with `paused_until` or `state: reset`": [
        module("choria_consumer", stream="ORDERS", name="PAUSED_WHO", paused_until="2100-01-01T00:00:00Z"),
        module("choria_consumer", stream="ORDERS", name="PAUSED_WHO", state="reset", opt_start_seq=2),
    ],
    "`choria_stream_info`, `choria_consumer_info`, `choria_kv_bucket_info`, `choria_governor_info` with `names`": [
        module("choria_stream_info", names=["ORDERS"]),
        module("choria_consumer_info", stream="ORDERS", names=["PAUSED_WHO"]),
        module("choria_kv_bucket_info", names=["CFG"]),
        module("choria_governor_info", names=["SEATS"]),
    ],
    "the same without `names`": [module("choria_kv_bucket_info"), module("choria_consumer_info")],
    "`choria_kv`": [module("choria_kv", bucket="CFG", key="WHO", value="x")],
    "`choria_kv_sync` with `data` or `src`": [
        module("choria_kv_sync", bucket="CFG", prefix="sync.WHO", data={"a": "x"}, prune=True),
    ],
    "`choria_kv_sync` with `dest`": [module("choria_kv_sync", bucket="CFG", dest="~/pulled/WHO")],
    "lookups `choria_kv`, `choria_governor`": [
        lookup("choria_kv", "a", "b", bucket="CFG"),
        lookup("choria_kv", "", bucket="CFG", prefix=True),
        lookup("choria_kv", "a", bucket="CFG", history=True),
        lookup("choria_governor", "RESET_WHO"),
    ],
    "`choria_governor_run`, `choria_governor_lease`": [
        module("choria_governor_run", name="SEATS", task={"ansible.builtin.command": "true"}),
        module("choria_governor_lease", name="SEATS", state="acquired", identity="WHO"),
        module("choria_governor_lease", name="SEATS", state="evicted", identity="WHO"),
        module("choria_governor_lease", name="RESET_WHO", state="reset"),
    ],
    "`choria_stream_message` publishes to `orders.>`": [
        module("choria_stream_message", subject="orders.WHO", data="x"),
    ],
    "the same, and it predicts refusals and reads the message back": [
        module("choria_stream_message", stream="ORDERS", subject="orders.WHO", data="x", msg_id="1-WHO"),
        module("choria_stream_message", stream="ORDERS", subject="orders.WHO", data="x", expected_last_msg_id="1-WHO"),
    ],
    "`choria_stream_message` with `state: absent`": [
        module("choria_stream_message", stream="ORDERS", state="absent", sequence="SEQUENCE"),
    ],
    "`choria_stream_message` with `state: purged`": [
        module("choria_stream_message", stream="ORDERS", state="purged", subject="orders.WHO", allow_data_loss=True),
    ],
    "`choria_kv_watch`": [module("choria_kv_watch", bucket="CFG", keys=["a"])],
    "`choria_stream_message_info`, lookup `choria_stream`": [
        module("choria_stream_message_info", stream="ORDERS"),
        lookup("choria_stream", "ORDERS"),
    ],
    "`choria_backup`, `choria_restore`": [
        module("choria_backup", stream="ORDERS", path="BACKUPS/WHO"),
        module("choria_restore", path="BACKUPS/SAVED_WHO"),
    ],
    "`choria_machine_info`": [module("choria_machine_info")],
    "`choria_machine_info` with `wait_for_state`": [
        module("choria_machine_info", names=["M"], hosts=["WHO"], wait_for_state="there", max_wait="30s"),
    ],
    "`choria_submit` with `transport: direct`": [
        module("choria_submit", subject="WHO", payload="x", transport="direct"),
    ],
    "callback `choria_results`": [],  # tested below, together with the modules that read its stream
    "`choria_run_info`, `choria_run_page`": [],
}
IMPOSSIBLE = "no"
# All permissions that a server's token can have
ALL = ("server", " ".join(NODE_PERMISSIONS))


def table() -> dict[str, dict[str, str]]:
    """Return the flags of a client's and of a server's token, by plugin."""
    found = {}
    for line in SITES.read_text().split("## What tokens must allow")[1].split("\n\n")[2].splitlines()[2:]:
        what, client, server = (cell.strip() for cell in line.strip("|").split("|"))
        found[what] = {"client": client.strip("`"), "server": server.strip("`")}
    return found


class Tokens:
    """Configuration files with tokens of given permissions, created when first needed."""

    def __init__(self, broker: ChoriaBroker, folder: Path) -> None:
        self.broker, self.folder = broker, folder
        self.configs: dict[tuple[str, str], Path] = {}

    def config(self, kind: str, flags: str) -> Path:
        if (kind, flags) not in self.configs:
            name = f"{kind}{len(self.configs)}"
            self.configs[kind, flags] = (
                self.broker.client(name, *flags.split()).config
                if kind == "client"
                else self._server(name, flags.split())
            )
        return self.configs[kind, flags]

    def _server(self, name: str, flags: list[str]) -> Path:
        folder = self.folder / name
        folder.mkdir()
        values = self.broker.site(name, folder, tuple(flags))
        path = folder / "server.conf"
        path.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
        return path


@pytest.fixture(scope="module")
def tokens(jwt_broker: ChoriaBroker, tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return Tokens(jwt_broker, tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def outcome(admin: ChoriaClient, manager: Manager, tokens: Tokens) -> PlaybookResult:
    """Run the tasks of all rows once with each kind of token and exactly the flags of the row."""
    manager.apply(BUCKET, name="CFG", history=2)
    for key in ("a", "b"):
        admin.run("kv", "put", "CFG", key, "x")
    manager.apply(GOVERNOR, name="SEATS", capacity=5, expire="1m")
    for kind in SEQUENCES:
        manager.apply(GOVERNOR, name=f"RESET_{kind}", capacity=5, expire="1h")
        assert campaign(manager.session, governors.read(manager.session, f"RESET_{kind}"), "somebody", Wait(10))
    manager.apply(STREAM, name="ORDERS", subjects=["orders.>"], allow_direct=True)
    for kind in SEQUENCES:
        manager.apply(CONSUMER, stream="ORDERS", name=f"PAUSED_{kind}")
    publisher = tokens.config("client", "--stream-user --publish orders.>")
    with Manager(choria_config=str(publisher)) as filler:
        for kind in (*SEQUENCES, *SEQUENCES):
            filler.session.request(f"orders.{kind}", b"x")
    transition = {"protocol": "io.choria.machine.v1.transition", "machine": "M", "to_state": "there"}
    with Manager(choria_config=str(tokens.config("client", "--publish choria.machine.>"))) as machine:
        for kind in SEQUENCES:
            machine.session.publish("choria.machine.transition", json.dumps({**transition, "identity": kind}).encode())
    for kind in SEQUENCES:
        saved = f"SAVED_{kind}"
        manager.apply(STREAM, name=saved, subjects=[f"saved.{kind}"])
        admin.run("broker", "stream", "backup", saved, tokens.folder / saved, "--no-progress")
        streams.delete(manager.session, saved)
    manager.apply(STREAM, name="SUBMITTED", subjects=["choria.submission.in.client", "choria.submission.in.server"])
    tasks = []
    for what, kinds in table().items():
        for kind, flags in kinds.items():
            config = tokens.config(kind, flags if flags != IMPOSSIBLE else ALL[1])
            for number, (action, given) in enumerate(TRIED[what]):
                task: dict[str, Any] = {"name": f"{kind} {number}: {what}"}
                if action.startswith("choria.streams."):
                    given = {**given, "choria_config": str(config)}
                else:
                    task["vars"] = {"choria_streams_choria_config": str(config)}
                filled = {name: for_whom(value, kind, tokens.folder) for name, value in given.items()}
                tasks.append({**task, action: filled})
    play = {"hosts": "localhost", "gather_facts": False, "ignore_errors": True, "tasks": tasks}
    return run_playbook([play]).check()


def for_whom(value: Any, kind: str, folder: Path) -> Any:
    if isinstance(value, list):
        return [for_whom(item, kind, folder) for item in value]
    if isinstance(value, dict):
        return {name: for_whom(item, kind, folder) for name, item in value.items()}
    if not isinstance(value, str):
        return value
    return value.replace("WHO", kind).replace("SEQUENCE", SEQUENCES[kind]).replace("BACKUPS", str(folder))


def test_the_table_is_whole() -> None:
    assert set(table()) == set(TRIED)
    # Modules without a connection, and those in the text below the table
    offline = {
        "choria_backup_info",
        "choria_broker_info",
        "choria_broker_peer",
        "choria_config",
        "choria_config_info",
        "choria_credentials",
        "choria_machine",
        "choria_preload",
        "choria_results_journal",
        "choria_submission_info",
    }
    found = {
        path.stem
        for kind in ("modules", "lookup", "callback")
        for path in (ROOT / "plugins" / kind).glob("choria_*.py")
    }
    assert {name for name in found if not any(f"`{name}`" in what for what in TRIED)} == offline


@pytest.mark.parametrize("kind", ["client", "server"])
@pytest.mark.parametrize("what", [what for what, tried in TRIED.items() if tried])
def test_permissions(outcome: PlaybookResult, what: str, kind: str) -> None:
    possible = table()[what][kind] != IMPOSSIBLE
    for number in range(len(TRIED[what])):
        task = outcome.task(f"{kind} {number}: {what}")
        assert task.status == ("ok" if possible else "failed"), task.message
        if not possible:
            assert "no server's token may" in task.message


@pytest.mark.parametrize("kind", ["client", "server"])
def test_permissions_of_the_callback(manager: Manager, tokens: Tokens, kind: str) -> None:
    manager.apply(STREAM, name="ANSIBLE_RUNS", subjects=["ansible.runs.>"])
    config = tokens.config(kind, table()["callback `choria_results`"][kind])
    result = run_playbook(
        [{"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"msg": "x"}}]}],
        env={
            "ANSIBLE_CALLBACKS_ENABLED": "task_results,choria.streams.choria_results",
            "CHORIA_STREAMS_CHORIA_CONFIG": str(config),
        },
    ).check()
    assert "5 events in stream ANSIBLE_RUNS" in result.output
    reader = tokens.config(kind, table()["`choria_run_info`, `choria_run_page`"][kind])
    read = {"choria.streams.choria_run_info": {"stream": "ANSIBLE_RUNS", "choria_config": str(reader)}}
    run_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [read]}]).check()
