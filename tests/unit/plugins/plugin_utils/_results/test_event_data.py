# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts of Ansible's results that events contain."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ansible.modules
import pytest
from ansible.playbook.task import Task

from ansible_collections.choria.streams.plugins.plugin_utils._results import event_data as _event_data
from ansible_collections.choria.streams.plugins.plugin_utils._results.masking import Masking

PLAIN = _event_data.Contents()


def arguments(action: str, args: dict[str, Any], **result: Any) -> Any:
    task: Any = SimpleNamespace(args=args, action=action.rpartition(".")[2], resolved_action=action)
    return _event_data._arguments(task, result)


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("choria_stream", {"servers": "u:SECRET@h", "name": "A"}, {"servers": ["(masked)@h"], "name": "A"}),
        ("choria_kv", {"key": "a.password", "value": "SECRET"}, {"key": "a.password", "value": "(masked)"}),
        ("choria_submit", {"subject": "a", "payload": "SECRET"}, {"subject": "a", "payload": "(masked)"}),
        (
            "choria_config",
            {"settings": {"plugin.nats": {"pass": "SECRET"}}},
            {"settings": {"plugin.nats": {"pass": "(masked)"}}},
        ),
        (
            "choria_kv_sync",
            {"data": {"a": {"token": "SECRET"}}, "mask": ["*token"]},
            {"data": {"a": {"token": "(masked)"}}, "mask": ["*token"]},
        ),
        (
            "choria_governor_run",
            {"name": "G", "task": {"name": "t", "ansible.builtin.command": "echo SECRET", "no_log": True}},
            {"name": "G", "task": {"name": "t", "ansible.builtin.command": "(masked)", "no_log": True}},
        ),
        (
            "choria_governor_run",
            {"tasks": [{"command": "echo"}, {"block": [{"command": "echo SECRET", "no_log": "{{ hidden }}"}]}]},
            {"tasks": [{"command": "echo"}, {"block": [{"command": "(masked)", "no_log": "{{ hidden }}"}]}]},
        ),
    ],
)
def test_arguments_of_our_own_tasks(name: str, args: dict[str, Any], expected: dict[str, Any]) -> None:
    assert arguments(f"choria.streams.{name}", args) == expected


def test_arguments_of_others_are_shown_by_their_module_alone() -> None:
    """With ansible-core 2.21 and later modules do not show their options, unless inject_invocation is set."""
    args = {"key": "SECRET", "on": True, "auth": {"material": "SECRET"}, "pin": 5, "_ansible_no_log": False}
    hidden = {"key": "(masked)", "on": True, "auth": "(masked)", "pin": "(masked)"}
    for action in ("community.general.other", "ansible.legacy.other", "other"):
        assert arguments(action, args) == hidden
        assert arguments(action, args, invocation={"module_args": {"key": "shown"}}) == {"key": "shown"}
    usual = {"dest": "/a", "content": "SECRET", "_ansible_no_log": False}
    assert arguments("ansible.builtin.copy", usual) == {"dest": "/a", "content": "(masked)"}


def test_secret_options_of_ansibles_own_modules_are_masked() -> None:
    secret = set()
    for path in Path(next(iter(ansible.modules.__path__))).glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            for option in call.keywords if isinstance(call, ast.Call) else ():
                kinds = {word.arg: word.value for word in getattr(option.value, "keywords", ())}
                if getattr(kinds.get("no_log"), "value", False):
                    secret |= {option.arg, *(alias.value for alias in getattr(kinds.get("aliases"), "elts", ()))}
    assert {"content", "url_password"} <= secret
    args = dict.fromkeys(secret, "SECRET")
    assert arguments("ansible.builtin.copy", args) == dict.fromkeys(secret, "(masked)")


def test_arguments_as_the_module_shows_them_come_first() -> None:
    shown = {"module_args": {"name": "A"}}
    assert arguments("choria.streams.choria_stream", {"name": "B"}, invocation=shown) == {"name": "A"}


def test_only_what_is_named_is_passed_on() -> None:
    result = {
        "msg": "done",
        "rc": 0,
        "attempts": 2,
        "warnings": ["careful"],
        "governor": {"name": "PUPPET", "seat": 3, "waited": 0.5},
        "changed": True,
        "stdout": "SECRET",
        "stderr": "SECRET",
        "cmd": "SECRET",
        "invocation": {"module_args": {"password": "SECRET"}},
        "ansible_facts": {"env": "SECRET"},
        "diff": "SECRET",
        "exception": "SECRET",
        "results": ["a module's own list", "SECRET"],
    }
    assert _event_data.result_data(result, PLAIN) == {
        "msg": "done",
        "rc": 0,
        "attempts": 2,
        "warnings": ["careful"],
        "governor": {"name": "PUPPET", "seat": 3, "waited": 0.5},
    }


def test_a_governor_is_not_taken_for_a_seat() -> None:
    assert _event_data.result_data({"governor": {"name": "PUPPET", "capacity": 2}}, PLAIN) == {}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({}, False),
        ({"_ansible_no_log": False}, False),
        ({"_ansible_no_log": True}, True),
        ({"censored": "the output has been hidden"}, True),
    ],
)
def test_hidden_results_are_known(result: dict[str, Any], expected: bool) -> None:
    assert _event_data.is_hidden(Task(), result) is expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"reason": "No such file"}, "No such file"),
        ({"reason": "No such file", "msg": "All items completed"}, "No such file"),
        ({"message": "No such file", "msg": "Task failed: Action failed: Unknown error."}, "No such file"),
        ({"message": "No such file"}, "No such file"),
        ({"message": "more", "msg": "It broke"}, "It broke"),
        ({"reason": ["of a module"], "msg": "It broke"}, "It broke"),
    ],
)
def test_reason_of_a_failure(result: dict[str, Any], expected: str) -> None:
    assert _event_data.result_data(result, PLAIN, failed=True) == {"msg": expected}
    assert _event_data.result_data(result, PLAIN).get("msg") == result.get("msg")


def test_reason_of_a_skipped_task() -> None:
    data = _event_data.result_data({"skip_reason": "Conditional result was False"}, PLAIN)
    assert data == {"msg": "Conditional result was False"}


def test_items_of_a_loop() -> None:
    items: list[dict[str, Any]] = [
        {"msg": "", "rc": 0, "changed": True, "governor": {"waited": 1}, "stdout": "SECRET", "item": "SECRET"},
        {"msg": "all is well"},
        {"msg": "bad", "failed": True, "rc": 1},
        {"msg": "bad", "exception": "(traceback unavailable)"},
        {"skip_reason": "Conditional result was False"},
        {"msg": "gone", "unreachable": True, "exception": "(traceback unavailable)"},
    ]
    result = {"msg": "One or more items failed", "results": [{"ansible_loop_var": "item", **item} for item in items]}
    assert _event_data.result_data(result, PLAIN) == {
        "msg": "One or more items failed",
        "items": [
            {"status": "changed", "rc": 0, "governor": {"waited": 1}},
            {"status": "ok", "msg": "all is well"},
            {"status": "failed", "msg": "bad", "rc": 1},
            {"status": "failed", "msg": "bad"},
            {"status": "skipped", "msg": "Conditional result was False"},
            {"status": "unreachable", "msg": "gone"},
        ],
    }


@pytest.mark.parametrize(
    ("state", "flags", "expected"),
    [
        ("ok", {}, "ok"),
        ("ok", {"changed": True}, "changed"),
        ("failed", {"changed": True}, "failed"),
        ("failed", {"ignored": True}, "ignored"),
        ("unreachable", {"ignored": True}, "ignored"),
        ("unreachable", {}, "unreachable"),
    ],
)
def test_status(state: str, flags: dict[str, bool], expected: str) -> None:
    assert _event_data.status(state, **flags) == expected


@pytest.mark.parametrize("secret", ["token=PLANTED", "-----BEGIN PRIVATE KEY-----\nPLANTED\n-----END PRIVATE KEY-----"])
def test_the_end_of_an_output_holds_no_half_secret(secret: str) -> None:
    contents = _event_data.Contents(frozenset([_event_data.OUTPUT]))
    for after in range(8192 - len(secret), 8192):
        found = _event_data.result_data({"stdout": f"begin {secret}\n" + "x" * after}, contents)["output"]["stdout"]
        assert "PLAN" not in found
        assert len(found) <= 8192


def test_the_beginning_of_what_is_looked_at_holds_no_half_secret() -> None:
    masking = Masking()
    secret = f"PLANTED-{'in-many-' * 6}letters"
    masking.add(secret)
    contents = _event_data.Contents(frozenset([_event_data.OUTPUT]), masking=masking)
    for after in range(len(secret)):
        # With this many values, little is left between the masks
        text = f"{secret} " * 1000 + "x" * after
        found = _event_data.result_data({"stdout": text}, contents)["output"]["stdout"]
        assert "letters" not in found
        assert found.endswith("(masked) " + "x" * after)


def test_environments_that_are_templates_are_left_out() -> None:
    task: Any = SimpleNamespace(
        no_log=False, delegate_to=None, notify=None, environment=[{"A": "1"}, "{{ proxy }}", None]
    )
    result: Any = SimpleNamespace(task=task, result={}, is_changed=lambda: False)
    contents = _event_data.Contents(frozenset([_event_data.ENVIRONMENT]))
    assert _event_data.task_result_data(result, contents, failed=False) == {"environment": {"A": "1"}}


def test_facts_are_chosen_by_patterns() -> None:
    facts = {"ansible_distribution": "Debian", "ansible_distribution_version": "12", "ansible_env": {}, "mine": 1}
    contents = _event_data.Contents(facts=("distribution*", "mine"))
    found = _event_data.result_data({"ansible_facts": facts}, contents)["facts"]
    assert found == {"distribution": "Debian", "distribution_version": "12", "mine": 1}
