# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each module, lookup and filter reports bad arguments in one sentence, soon, and before it changes anything.

hypothesis chooses values and options from the argument tables, the same ones in each run. ``BAD_ARGUMENTS=5000`` tries
that many, chosen at random.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from ansible.errors import AnsibleError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.choria.streams.plugins.filter.choria_verify import choria_verify
from support import ROOT
from support.bad_values import BAD, BAD_BY_KIND
from support.in_process import argument_spec, run_module
from support.machines import GOOD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server import NatsServer

_MANY = int(os.environ.get("BAD_ARGUMENTS", "0"))
_LONGEST = 5.0 if _MANY else 30.0  # seconds; long enough for a busy machine
# The required options of each module. {folder} is a folder of the test.
TASKS: dict[str, list[dict[str, Any]]] = {
    "choria_stream": [{"name": "NEW", "subjects": ["new.>"]}],
    "choria_stream_info": [{"names": ["S"]}],
    "choria_consumer": [{"stream": "S", "name": "NEW"}, {"stream": "S", "name": "C", "state": "absent"}],
    "choria_consumer_info": [{"stream": "S"}],
    "choria_kv_bucket": [{"name": "NEW"}],
    "choria_kv_bucket_info": [{"names": ["B"]}],
    "choria_kv": [{"bucket": "B", "key": "new", "value": "x"}, {"bucket": "B", "key": "none", "state": "absent"}],
    "choria_kv_sync": [{"bucket": "B", "data": {"a": "1"}}, {"bucket": "B", "dest": "{folder}/pulled"}],
    "choria_kv_watch": [{"bucket": "B", "keys": ["k"]}],
    "choria_governor": [{"name": "NEW", "capacity": 1, "expire": "20m"}],
    "choria_governor_info": [{"names": ["G"]}],
    "choria_governor_lease": [{"name": "G", "state": "evicted", "lease_id": 99}],
    "choria_stream_message": [{"subject": "s.b", "data": "x"}, {"stream": "S", "state": "absent", "sequence": 77}],
    "choria_stream_message_info": [{"stream": "S", "sequence": 1}],
    "choria_submit": [{"subject": "a.b", "payload": "x", "spool": "{folder}/spool"}],
    "choria_submission_info": [{"spool": "{folder}/spool"}],
    "choria_backup": [{"stream": "S", "path": "{folder}/backups"}],
    "choria_backup_info": [{"path": "{folder}/backups"}],
    "choria_restore": [{"path": "{folder}/none", "stream": "NEW"}],
    "choria_config": [{"path": "{folder}/client.conf", "settings": {"plugin.choria.use_srv": False}}],
    "choria_config_info": [{"choria_config": "{folder}/client.conf"}],
    "choria_credentials": [{"folder": "{folder}/keys", "client_tokens": [{"name": "b"}]}],
    "choria_machine": [
        {
            "name": "DEPLOY",
            "store": "{folder}/store",
            "definition": GOOD["a key and a command"],
            "files": [{"path": "x", "content": "y"}],
        }
    ],
    "choria_machine_info": [{"store": "{folder}/store", "events": False}],
    "choria_resources": [{"streams": [{"name": "NEW"}], "keys": [{"bucket": "B", "key": "q", "value": "1"}]}],
    "choria_run_info": [{"stream": "S"}],
    "choria_results_journal": [{"spool": "{folder}/journals"}],
    "choria_broker_info": [{"config": "{folder}/broker.conf"}],
    "choria_broker_peer": [{"name": "broker5.example.net", "config": "{folder}/broker.conf"}],
}
EACH = settings(
    max_examples=max(1, _MANY // len(TASKS)) if _MANY else 12,
    derandomize=not _MANY,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
# Modules that are run by action plugins
_ACTIONS = {"choria_governor_run", "choria_run_page"}
# Options that accept any text, or that make the task wait
_FREE = {"max_wait", "timeout", "connect_timeout", "wait_timeout"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bad")
    for name in ("spool", "spool/P0", "spool/P1", "spool/P2", "spool/P3", "spool/P4", "store"):
        (made / name).mkdir(mode=0o700)
    return made


@pytest.fixture(scope="module")
def site(nats_server: NatsServer) -> dict[str, Any]:
    """The objects on the server, and the options to connect to it."""
    connection = {"servers": [nats_server.url], "timeout": "2s", "connect_timeout": "1s"}
    for module, task in (
        ("choria_stream", {"name": "S", "subjects": ["s.>"]}),
        ("choria_stream_message", {"subject": "s.a", "data": "x"}),
        ("choria_consumer", {"stream": "S", "name": "C"}),
        ("choria_kv_bucket", {"name": "B", "history": 3}),
        ("choria_kv", {"bucket": "B", "key": "k", "value": "v"}),
        ("choria_governor", {"name": "G", "capacity": 2, "expire": "20m"}),
    ):
        done = run_module(module, {**connection, **task})
        assert not done.failed and not done.raised, done
    return connection


def in_folder(value: Any, folder: Path) -> Any:
    if isinstance(value, str):
        return value.replace("{folder}", str(folder))
    if isinstance(value, dict):
        return {key: in_folder(item, folder) for key, item in value.items()}
    return [in_folder(item, folder) for item in value] if isinstance(value, list) else value


def complete(name: str, task: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """Return the task with those of the usual options that the module has."""
    spec = argument_spec(name, task)
    return {**{option: value for option, value in usual.items() if option in spec}, **task}


def test_each_module_has_a_task() -> None:
    modules = {path.stem for path in ROOT.glob("plugins/modules/choria_*.py")}
    assert modules - _ACTIONS == TASKS.keys()


def state(site: dict[str, Any], folder: Path) -> Any:
    """Return everything that a module could change. Files are represented by their sizes and times."""
    streams = run_module("choria_stream_info", site).result["streams"]
    files = {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*") if not path.is_dir()
    }
    return streams, run_module("choria_consumer_info", {**site, "stream": "S"}).result["consumers"], files


def mutated(draw: Callable[..., Any], name: str, folder: Path) -> tuple[dict[str, Any], str]:
    """Return a task of the module with one bad value, and the path of that value."""
    task = in_folder(draw(st.sampled_from(TASKS[name])), folder)
    spec = argument_spec(name, task)
    option = draw(st.sampled_from(sorted(set(spec) - _FREE)))
    argument = spec[option]
    inner = argument.get("options")
    if inner and draw(st.booleans()):
        part = draw(st.sampled_from(sorted(inner)))
        value = draw(st.sampled_from(BAD_BY_KIND.get(inner[part].get("type", "str"), BAD)))
        entry = {**(task[option][0] if task.get(option) and isinstance(task[option], list) else {}), part: value}
        return {**task, option: [entry] if argument["type"] == "list" else entry}, f"{option}.{part}"
    value = draw(st.sampled_from(BAD if draw(st.booleans()) else BAD_BY_KIND.get(argument.get("type", "str"), BAD)))
    return {**task, option: [value] if argument.get("type") == "list" and draw(st.booleans()) else value}, option


@pytest.mark.once
@pytest.mark.parametrize("name", sorted(TASKS))
def test_modules(name: str, site: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "cwd").mkdir(exist_ok=True)
    monkeypatch.chdir(folder / "cwd")

    before = state(site, folder)

    @EACH
    @given(data=st.data())
    def tried(data: st.DataObject) -> None:
        nonlocal before
        task, where = mutated(data.draw, name, folder)
        arguments = complete(name, task, {"max_wait": "0.1s", **site})
        outcome = run_module(name, arguments, check_mode=data.draw(st.booleans()))
        assert not outcome.raised, (where, outcome.raised)
        assert outcome.result, where
        assert outcome.seconds < _LONGEST, (where, outcome.seconds)
        assert "Traceback" not in outcome.message and "exception" not in outcome.result, (where, outcome.message)
        if outcome.failed:
            assert outcome.result.get("failure", {}).get("code") != "bug", (where, outcome.message)
            if not outcome.result.get("changed"):
                assert state(site, folder) == before, (where, outcome.message)
                return
        before = state(site, folder)

    tried()


@pytest.mark.once
@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("nothing", [None, ""], ids=["null", "empty"])
def test_nothing_meets_no_requirement(name: str, nothing: Any, site: dict[str, Any], folder: Path) -> None:
    for given_task in TASKS[name]:
        task = in_folder(given_task, folder)
        for option, argument in argument_spec(name, task).items():
            if argument.get("required"):
                before = state(site, folder)
                outcome = run_module(name, {**complete(name, task, site), option: nothing})
                assert outcome.failed, option
                assert option in outcome.message
                assert state(site, folder) == before


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "task", "says"),
    [
        ("choria_submit", {"subject": "a.b", "payload": None, "spool": "{folder}/spool"}, "payload, src"),
        ("choria_kv_sync", {"bucket": "B", "src": None}, "data, src, dest"),
        ("choria_kv_sync", {"bucket": "B", "src": ""}, "data, src, dest"),
        ("choria_kv_sync", {"bucket": "B", "dest": "{folder}/new", "mode": "rwx"}, "mode: 'rwx' is not a mode"),
        ("choria_kv_sync", {"bucket": "B", "dest": "{folder}/new", "directory_mode": -1}, "directory_mode: '-1'"),
        ("choria_kv_sync", {"bucket": "B", "dest": "{folder}/new", "owner": "nobody-at-all"}, "there is no owner"),
        ("choria_kv_sync", {"bucket": "B", "dest": "{folder}/new", "owner": str(1 << 40)}, "there is no owner"),
        ("choria_kv", {"bucket": "B", "key": "k", "revert_to": -1}, "revert_to: -1 is out of range"),
        ("choria_kv", {"bucket": "B", "key": "k", "value": "x", "revision": -1}, "revision: "),
        ("choria_stream", {"name": "NEW", "max_bytes": "9" * 400 + "KB"}, "max_bytes: "),
        ("choria_stream", {"name": "NEW", "max_age": "1e400"}, "max_age: '1e400' is not a duration"),
        ("choria_stream", {"name": "NEW", "wait_timeout": "soon"}, "wait_timeout: 'soon' is not a duration"),
        ("choria_stream", {"name": "NEW", "max_msgs": "1e99999999"}, "max_msgs: '1e99999999' is not a whole number"),
        ("choria_stream", {"name": "NEW", "max_msgs": True}, "max_msgs: 'True' is not a whole number"),
        ("choria_stream", {"name": ["NEW"]}, "name: is a list: give text"),
        ("choria_stream", {"name": "NEW", "placement": 5}, "placement: is not a dict"),
        ("choria_consumer", {"stream": "S", "name": "N", "opt_start_time": "0001-01-01T00:00:00+23:59"}, "opt_start"),
        (
            "choria_consumer",
            {"stream": "S", "name": "N", "opt_start_time": "9999-12-31T00:00:00Z"},
            "from 1678 to 2261",
        ),
        (
            "choria_stream",
            {"name": "N", "mirror": {"name": "S", "opt_start_time": "1000-01-01T00:00:00Z"}},
            "1678 to 2",
        ),
        ("choria_consumer", {"stream": "S", "name": "N", "deliver_group": "g g"}, "a group's name is words"),
        ("choria_kv", {"bucket": "B", "key": "k\0", "value": "x"}, "key: "),
        ("choria_credentials", {"folder": "", "client_tokens": [{"name": "b"}]}, "folder"),
        (
            "choria_credentials",
            {"folder": "{folder}/keys", "client_tokens": [{"name": "b", "publish": ["a b"]}]},
            "client_tokens: publish: 'a b' is not allowed",
        ),
    ],
)
def test_values_are_checked_before_anything_happens(
    name: str, task: dict[str, Any], says: str, site: dict[str, Any], folder: Path
) -> None:
    before = state(site, folder)
    outcome = run_module(name, complete(name, in_folder(task, folder), site))
    assert outcome.failed and says in outcome.message, outcome
    assert state(site, folder) == before


@pytest.mark.once
def test_lookups(site: dict[str, Any]) -> None:
    program = ROOT / "tests" / "support" / "bad_lookups.py"
    command = [sys.executable, str(program), site["servers"][0], str(_MANY or 300)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert not done.stdout


@EACH
@given(
    where=st.sampled_from(["", "headers", "data", "payload", "time", "token", "signature", "issuer", "encoding"]),
    value=st.sampled_from(BAD),
)
def test_the_filter(where: str, value: Any) -> None:
    message: Any = {"headers": {"Choria-Signature": "aa", "Choria-Token": "a.b.c"}, "data": "x"}
    options = {"issuer": "ab" * 32}
    if where == "":
        message = value
    elif where in options or where == "encoding":
        options[where] = value
    elif where in ("token", "signature"):
        message["headers"][f"Choria-{where.title()}"] = value
    else:
        message[where] = value
    try:
        assert choria_verify(message, **options) is False
    except AnsibleError as error:
        assert "Traceback" not in str(error)
