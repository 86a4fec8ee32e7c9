# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The private parts of nats-py and ansible-core that the two compat files use are still there, and do the same."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.template import Templar
from ansible.vars.manager import VariableManager

from ansible_collections.choria.streams.plugins.module_utils._connection import nats_compat
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.plugin_utils import _ansible_compat
from support.connect import settings

if TYPE_CHECKING:
    from conftest import MakeServer

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_process_info", ["self", "info", "initial_connection"]),
        ("_process_connect_init", ["self"]),
        ("_process_pong", ["self"]),
        ("_close", ["self", "status", "do_cbs"]),
        ("_process_headers", ["self", "headers"]),
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
        assert subscription._pending_queue.empty()
        assert isinstance(subscription._id, int)
        assert client._flush_queue.empty()
        assert client._transport._bare_io_writer or client._transport._io_writer
        assert client._pongs == [] and client._pings_outstanding >= 0
        assert callable(client._ps.parse)


def test_lazy_data() -> None:
    templar = Templar(loader=DataLoader(), variables={"data": {"a": "{{ 1 + 1 }}"}})
    assert hasattr(_ansible_compat.LAZY, _ansible_compat.RENDER)
    found = templar.template(_trusted("{{ data }}"))
    assert not _ansible_compat.is_lazy({"a": 1})
    lazy = _ansible_compat.LAZY
    assert lazy is not None and hasattr(lazy, "_non_lazy_copy")
    assert found["a"]


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
    """Of ansible-core, and of nats-py by another file than the one for that."""
    for path in PLUGINS.rglob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        private = {node.module for node in nodes if (node.module or "").startswith("ansible._")}
        assert not private or path.name == "_ansible_compat.py", (path, private)
