# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets are learned from a run's variables when they appear, and no other value is kept."""

from __future__ import annotations

import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ansible._internal._datatag._tags import Origin
from ansible.inventory.host import Host

from ansible_collections.choria.streams.plugins.plugin_utils._results.masking import Masking
from ansible_collections.choria.streams.plugins.plugin_utils._results.secret_finder import KnownSecrets

if TYPE_CHECKING:
    from pathlib import Path

HIDDEN = {"censored": "the output has been hidden"}


class Run:
    """A play of one host with these variables, which results have set."""

    def __init__(self, **variables: Any) -> None:
        self.variables = variables
        self.looked_up = 0
        self.masking = Masking()
        self.secrets = KnownSecrets(self.masking)
        host = Host("web1")
        inventory = SimpleNamespace(groups={}, hosts={"web1": host}, get_hosts=lambda _pattern: [host])
        cache = SimpleNamespace(get=self._get)
        manager = SimpleNamespace(
            _inventory=inventory,
            get_vars=lambda **_arguments: dict(self.variables),
            _vars_cache={},
            _nonpersistent_fact_cache=cache,
        )
        self._host = host
        self.play: Any = SimpleNamespace(
            _uuid="p", hosts="all", vars={}, get_variable_manager=lambda: manager, get_vars_files=list
        )
        self.secrets.of_play(self.play, [])
        self.looked_up = 0

    def _get(self, host: str, _default: Any) -> dict[str, Any]:
        self.looked_up += host == "web1"
        return dict(self.variables)

    def result(self, found: dict[str, Any], action: str = "command", register: Any = None, **more: Any) -> None:
        task = SimpleNamespace(action=action, delegate_facts=None, register=register)
        skipped = bool(more.get("skipped"))
        result: Any = SimpleNamespace(host=self._host, task=task, result=found, is_skipped=lambda: skipped)
        self.secrets.of_result(result)

    def knows(self, text: str) -> bool:
        return self.masking.knows(text)


@pytest.mark.parametrize("action", ["include_vars", "ansible.builtin.include_vars", "set_fact"])
def test_facts_are_looked_up_once_when_set(action: str) -> None:
    run = Run()
    run.result({"ansible_facts": {"db_password": "<redacted>"}}, action)
    run.variables["db_password"] = "PLANTED"
    run.secrets.of_changed()
    assert run.knows("PLANTED")
    run.secrets.of_changed()
    run.result({}, "set_fact", skipped=True)
    run.secrets.of_changed()
    assert run.looked_up == 1


def test_facts_of_items() -> None:
    run = Run()
    facts = {"db_password": "PLANTED-item", "api_token": "<redacted>"}
    run.result({"results": ["odd", {"ansible_facts": facts}]}, "a.module")
    assert run.knows("PLANTED-item")
    run.variables.update(api_token="PLANTED-later", admin_password="PLANTED-other")
    run.result({})
    assert run.knows("PLANTED-later")
    # Variables that others set are searched when these report them
    assert not run.knows("PLANTED-other")


@pytest.mark.parametrize("register", ["admin_password", {"status": "rc", "admin_password": "stdout"}])
def test_results_under_telling_names(register: Any) -> None:
    run = Run()
    found = {"changed": True, "rc": 0, "cmd": ["openssl"], "owner": "root", "stdout": "PLANTED"}
    run.result(found, register=register)
    assert run.knows("PLANTED")
    run.variables["admin_password"] = {**found, "stdout_lines": ["PLANTED-line"]}
    run.result({})
    assert run.knows("PLANTED-line")
    run.result({"results": [{**found, "ansible_loop_var": "item", "item": "an item", "stdout": "PLANTED-item"}]})
    assert not run.knows("PLANTED-item")
    run.result(
        {
            "changed": True,
            "results": [{**found, "ansible_loop_var": "item", "item": "bob-name", "stdout": "PLANTED-2"}],
        },
        register=register,
    )
    assert run.knows("PLANTED-2")
    assert not any(run.knows(text) for text in ("openssl", "root", "an item", "bob-name"))


@pytest.mark.parametrize(
    "found",
    [
        {"changed": False, "skipped": True, "skip_reason": "Conditional result was False", "false_condition": "a == b"},
        {"changed": False, "failed": True, "msg": "Status code was 401", "exception": "Traceback of it"},
        {"changed": True, "rc": 1, "msg": "non-zero return code", "warnings": ["Something is old"]},
        {"changed": True, "msg": "All items completed", "results": []},
        {"changed": True, "ansible_facts": {"discovered_interpreter_python": "/usr/bin/python3.11"}},
    ],
)
def test_facts_of_ansible_about_a_task_are_not_secrets(found: dict[str, Any]) -> None:
    run = Run()
    run.result(found, register="api_token", skipped=found.get("skipped"))
    run.variables["api_token"] = found
    run.result({})
    texts = [*found.values(), *found.get("warnings", []), *found.get("ansible_facts", {}).values()]
    assert not any(run.knows(text) for text in texts if isinstance(text, str))


def test_nothing_is_learned_of_what_is_hidden() -> None:
    run = Run()
    run.result(HIDDEN, register="admin_password")
    assert not run.knows(HIDDEN["censored"])
    run.variables["admin_password"] = {"changed": True, "stdout": "PLANTED"}
    run.result({})
    assert run.knows("PLANTED")


def test_numbers_of_a_vaulted_file(tmp_path: Path) -> None:
    (tmp_path / "vaulted.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    (tmp_path / "plain.yml").write_text("pin: 1234567890\n")
    vaulted, plain = (Origin(path=str(tmp_path / name)) for name in ("vaulted.yml", "plain.yml"))
    run = Run(pin=vaulted.tag(7654321), ratio=[vaulted.tag(2.718281)], other=plain.tag(1234567), on=True)
    run.result({}, "include_vars")
    run.result({})
    assert run.knows("7654321")
    assert run.knows("2.718281")
    assert not run.knows("1234567")


def test_the_list_of_users_has_no_secrets() -> None:
    run = Run()
    run.result({"ansible_facts": {"getent_passwd": {"bob": ["x", "1000", "1000", "Bob", "/home/bob", "/bin/bash"]}}})
    assert not any(run.knows(text) for text in ("1000", "/home/bob", "/bin/bash"))


class Facts(dict[str, Any]):
    """Facts that show when they are freed."""


class Hosts(list[str]):
    def __iter__(self) -> Any:
        raise AssertionError("a host's name is not a secret")


def test_nothing_is_kept_of_facts_and_results() -> None:
    run = Run()
    facts, inner, password = Facts(a="b"), Facts(a="b"), Facts(a="PLANTED")
    run.variables.update(packages=facts)
    run.result({"ansible_facts": {"packages": inner}}, "set_fact")
    run.result({"changed": True, "stdout": password}, register="admin_password")
    assert run.knows("PLANTED")
    gone = [weakref.ref(each) for each in (facts, inner, password)]
    run.variables.clear()
    del facts, inner, password
    assert [ref() for ref in gone] == [None] * 3


def test_values_of_a_play_are_looked_at_once() -> None:
    class Shared(dict[str, Any]):
        looks = 0

        def items(self) -> Any:
            Shared.looks += 1
            return super().items()

    run = Run(config=Shared(db_password="PLANTED"), play_hosts=Hosts("a"), group_names=Hosts("a"), role_names=Hosts())
    for _host in range(3):
        run.secrets.of_play(run.play, [])
    assert run.knows("PLANTED")
    assert Shared.looks == 1
    run.secrets.of_play(SimpleNamespace(**{**vars(run.play), "_uuid": "another"}), [])
    assert Shared.looks == 2
