# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The private parts of nats-py and ansible-core that the two compat files use are still there, and do the same."""

from __future__ import annotations

import ast
import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import ansible
import pytest
from ansible.executor.task_queue_manager import TaskQueueManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar
from ansible.vars.manager import VariableManager

from ansible_collections.choria.streams.plugins.module_utils._connection import nats_compat
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.plugin_utils import _ansible_compat
from support import ROOT
from support.connect import settings

if TYPE_CHECKING:
    from conftest import MakeServer

pytestmark = pytest.mark.each_core

PLUGINS = ROOT / "plugins"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_process_info", ["self", "info", "initial_connection"]),
        ("_process_connect_init", ["self"]),
        ("_process_pong", ["self"]),
        ("_close", ["self", "status", "do_cbs"]),
        ("_process_msg", ["self", "sid", "subject", "reply", "data", "headers"]),
        ("_send_command", ["self", "cmd"]),
        ("_flush_pending", ["self"]),
        ("_send_unsubscribe", ["self", "sid"]),
    ],
)
def test_methods_of_the_client(name: str, parameters: list[str]) -> None:
    client = nats_compat.client_class(False).__mro__[2]
    found = list(inspect.signature(getattr(client, name)).parameters)
    assert found[: len(parameters)] == parameters
    assert all(
        parameter.default is not inspect.Parameter.empty
        for parameter in list(inspect.signature(getattr(client, name)).parameters.values())[len(parameters) :]
    )


def test_a_connected_client(make_server: MakeServer) -> None:
    with Session(settings(servers=make_server().url)) as session:
        session.connected  # noqa: B018 - connects
        client = session._client
        assert nats_compat.server_info(client)["max_payload"] > 0
        assert not nats_compat.wants_credentials(client)
        (subscription,) = nats_compat.subscriptions(client)
        assert subscription.subject.startswith("_INBOX.")
        assert client._subs == {subscription._id: subscription}
        assert subscription._cb.take == session._on_reply
        assert client._flush_queue.empty()
        assert client._transport._bare_io_writer or client._transport._io_writer
        assert client._pongs == [] and client._pings_outstanding >= 0
        assert callable(client._ps.parse)


def test_the_parser(make_server: MakeServer) -> None:
    """It takes the beginning of a message, and needs the rest."""
    with Session(settings(servers=make_server().url)) as session:
        session.connect()
        parser = session._client._ps
        session._drive(session._client._parse(b"MSG a 9 "))
        assert parser.state != nats_compat._IN_PAYLOAD and bytes(parser.buf) == b"MSG a 9 "
        session._drive(session._client._parse(b"5\r\n12"))
        assert parser.state == nats_compat._IN_PAYLOAD and bytes(parser.buf) == b"12" and parser.needed == 5
        session._drive(session._client._parse(b"345\r\n"))
        assert parser.state != nats_compat._IN_PAYLOAD and not parser.buf


@pytest.mark.parametrize("left", [b"", b"PUB x 0\r\n\r\n"])
def test_a_broken_connection_is_noticed_at_once(make_server: MakeServer, left: bytes) -> None:
    """With and without data that is left to send."""
    with Session(settings(servers=make_server().url)) as session:
        session.connect()
        client, lost = session._client, []
        session._on_break = lambda: lost.append(True)

        async def break_off() -> None:
            nats_compat.abort(client)
            client._pending.append(left)
            client._pending_data_size += len(left)
            await asyncio.wait({client._reading_task}, timeout=5)

        session._drive(break_off())
        assert client.is_closed and lost


def test_lazy_data() -> None:
    templar = Templar(loader=DataLoader(), variables={"data": {"a": "{{ 1 + 1 }}"}})
    assert hasattr(_ansible_compat.LAZY, _ansible_compat.RENDER)
    found = templar.template(_trusted("{{ data }}"))
    assert not _ansible_compat.is_lazy({"a": 1})
    lazy = _ansible_compat.LAZY
    assert lazy is not None and hasattr(lazy, "_non_lazy_copy")
    assert found["a"]


def test_fields_of_results_are_kept() -> None:
    results = _ansible_compat.UnifiedTaskResult
    if results:
        fields = getattr(results, _ansible_compat.RESULT_FIELDS)
        _ansible_compat.prepare_results()
        fields(source_is_module=False)
        assert fields.cache_info().hits
    else:
        assert tuple(map(int, ansible.__version__.split(".")[:2])) < (2, 21)


def test_tags() -> None:
    from ansible._internal._datatag._tags import Origin, VaultedValue

    assert _ansible_compat.file_of(Origin(path="/site/vault.yml").tag("x")) == "/site/vault.yml"
    assert _ansible_compat.file_of("x") == ""
    assert _ansible_compat.is_vaulted(VaultedValue(ciphertext="$ANSIBLE_VAULT;1.1;AES256").tag("x"))
    assert not _ansible_compat.is_vaulted("x")


def test_rendering_of_a_task() -> None:
    templar = Templar(loader=DataLoader(), variables={})
    engine = _ansible_compat.engine_of(templar)
    assert engine is not templar
    assert list(inspect.signature(Task.post_validate).parameters) == ["self", "templar"]
    assert engine.resolve_to_container({"a": 1}) == {"a": 1}


def test_variables_that_results_set() -> None:
    manager: Any = VariableManager(loader=DataLoader())
    assert isinstance(manager._vars_cache, dict) and isinstance(manager._nonpersistent_fact_cache, dict)
    assert hasattr(manager, "_inventory")


def _trusted(text: str) -> str:
    from ansible.template import trust_as_template

    return trust_as_template(text)


def test_nothing_else_imports_private_modules() -> None:
    """No file but the two compat files uses private parts of ansible-core or nats-py."""
    for path in PLUGINS.rglob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        private = {node.module for node in nodes if (node.module or "").startswith("ansible._")}
        assert not private or path.name == "_ansible_compat.py", (path, private)


def test_methods_that_ansible_calls() -> None:
    class Callback(CallbackBase):
        def v2_runner_item_on_ok(self, result: Any) -> None:
            """Not to be called."""

        def v2_runner_on_ok(self, result: Any) -> None:
            """To be called."""

    callback = Callback()
    callback._init_callback_methods()
    before = getattr(callback, _ansible_compat.METHODS)
    _ansible_compat.leave_out(callback, "v2_runner_item_on_")
    assert before - getattr(callback, _ansible_compat.METHODS) == {"v2_runner_item_on_ok"}
    assert _ansible_compat.METHODS in inspect.getsource(TaskQueueManager.send_callback)
