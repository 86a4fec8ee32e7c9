# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every example of the plugins' documentation, of README.md and of docs/ runs against its own server.

The YAML of a document runs in order, in one ansible-playbook run: plays unchanged, tasks on all hosts. The file
examples/<document, module, or kind_plugin, such as lookup_choria_kv>.yml has what an example needs:

    hosts: [web1, web2]          # the inventory, by default localhost
    vars: {secret: example}      # variables
    setup: [...]                 # tasks that run before the examples
    fails: [Name of a task]      # the tasks that have to fail
    before:                      # tasks that run before a task of an example
      Name of a task: [...]
    checks:                      # conditions on the result of a task, as the variable `checked`
      Name of a task: [checked is not changed]
    regions: true                # two joined servers instead of one; the variable paris is the URL of the second
"""

from __future__ import annotations

import ast
import re
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from support import ROOT
from support.playbook import run_playbook
from support.regions import two_regions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import MakeServer
    from support.server import NatsServer

SETUPS = ROOT / "tests" / "integration" / "examples"
# Actions are documented among the modules
PLUGINS = [path for path in (ROOT / "plugins").glob("*/choria_*.py") if path.parent.name != "action"]
ACTIONS = {path.name for path in (ROOT / "plugins/action").glob("choria_*.py")}
MODULES = [path for path in PLUGINS if path.parent.name == "modules" and path.name not in ACTIONS]
DOCUMENTS = [path for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")) if path.exists()]
FENCE = re.compile(r"^( *)```yaml\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def plugin_examples(source: str) -> str:
    """Return the text of EXAMPLES in a plugin, empty if it has none."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXAMPLES":
            return str(ast.literal_eval(node.value))
    return ""


def blocks(path: Path) -> list[str]:
    """Return the YAML texts of a plugin or document."""
    text = path.read_text()
    return [block for _indent, block in FENCE.findall(text)] if path.suffix == ".md" else [plugin_examples(text)]


class _Loader(yaml.SafeLoader):
    """Loads YAML with the tags of Ansible."""


# The playbook of the test is JSON, where this tag has the same meaning
_Loader.add_constructor("!unsafe", lambda _loader, node: f"{{% raw %}}{node.value}{{% endraw %}}")


def plays(texts: list[str], setup: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the plays that run the texts. A text that is not a list shows variables and must only be valid YAML."""

    def around(tasks: list[dict[str, Any]]) -> dict[str, Any]:
        return {"hosts": "all", "gather_facts": False, "tasks": tasks}

    before, checks = dict(setup.get("before", {})), dict(setup.get("checks", {}))

    def prepared(task: dict[str, Any]) -> list[dict[str, Any]]:
        return before.pop(task.get("name", ""), []) + checked(task, checks)

    found = [around(setup.get("setup", []))]
    for text in texts:
        content = yaml.load(text, _Loader)
        tasks: list[dict[str, Any]] = []
        for item in content if isinstance(content, list) else []:
            if "hosts" in item:
                inner = [one for task in item.get("tasks", []) for one in prepared(task)]
                found.append({"gather_facts": False, **item, "tasks": inner})
            else:
                if item.get("name") in setup.get("fails", []):
                    item["ignore_errors"] = True
                tasks += prepared(item)
        if tasks:
            found.append(around(tasks))
    assert not before | checks, f"There are no such tasks: {sorted(before | checks)}"
    return found


def checked(task: dict[str, Any], checks: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Return the task and a check of its result. The check is removed from ``checks``."""
    conditions = checks.pop(task.get("name", ""), None)
    if conditions is None:
        return [task]
    # Registered variables override a task's variables, so each result needs its own name
    name = task.setdefault("register", "unnamed_result")
    check = {"ansible.builtin.assert": {"that": conditions}, "vars": {"checked": f"{{{{ {name} }}}}"}}
    return [task, {"name": f"Check: {task['name']}", **check}]


def name_of(path: Path) -> str:
    """Return the name of a document's file. Modules use their own name, so that lookup_choria_kv differs from
    choria_kv.
    """
    return path.stem if path.suffix == ".md" or path.parent.name == "modules" else f"{path.parent.name}_{path.stem}"


@pytest.fixture
def regions() -> Iterator[dict[str, NatsServer]]:
    with two_regions() as servers:
        yield servers


@pytest.mark.once
@pytest.mark.parametrize("path", sorted(DOCUMENTS), ids=name_of)
def test_documents(path: Path, make_server: MakeServer, request: pytest.FixtureRequest) -> None:
    run_examples(path, make_server, request)


@pytest.mark.once
@pytest.mark.parametrize("path", [path for path in sorted(PLUGINS) if path not in MODULES], ids=name_of)
def test_plugins(path: Path, make_server: MakeServer, request: pytest.FixtureRequest) -> None:
    run_examples(path, make_server, request)


# They run with each ansible-core as integration targets
@pytest.mark.once
@pytest.mark.parametrize("path", sorted(MODULES), ids=name_of)
def test_modules(path: Path, make_server: MakeServer, request: pytest.FixtureRequest) -> None:
    run_examples(path, make_server, request)


def run_examples(path: Path, make_server: MakeServer, request: pytest.FixtureRequest) -> None:
    setup_file = SETUPS / f"{name_of(path)}.yml"
    setup = yaml.safe_load(setup_file.read_text()) if setup_file.exists() else {}
    examples = plays(blocks(path), setup)
    expected, given = set(setup.get("fails", [])), setup.get("vars")
    if setup.get("regions"):
        regions = request.getfixturevalue("regions")
        server, given = regions["london"], {**(given or {}), "paris": regions["paris"].url}
    else:
        server = make_server()
    with tempfile.TemporaryDirectory() as state:  # otherwise journals of this user would be read and dropped
        result = run_playbook(
            examples,
            inventory=setup.get("hosts", ["localhost"]),
            extra_vars=given,
            env={"CHORIA_STREAMS_SERVERS": server.url, "XDG_STATE_HOME": state},
        ).check()
    failed = {task.name for task in result.tasks if task.status in ("failed", "unreachable")}
    assert failed == expected, result.output


def test_plays_of_texts() -> None:
    texts = ["- name: A\n  b.c.d:\n", "- hosts: x\n  tasks: []\n", "key: value"]
    found = plays(texts, {"fails": ["A"], "setup": [{"s": None}]})
    assert [play["hosts"] for play in found] == ["all", "all", "x"]
    assert found[0]["tasks"] == [{"s": None}]
    assert found[1]["tasks"] == [{"name": "A", "b.c.d": None, "ignore_errors": True}]


def test_checks_of_tasks() -> None:
    texts = ["- name: A\n  b:\n- name: B\n  b:\n  register: r\n", "- hosts: x\n  tasks:\n    - name: C\n      b:\n"]
    found = plays(texts, {"before": {"C": [{"name": "D"}]}, "checks": {"A": ["a"], "B": ["b"], "C": ["c"]}})
    assert [task["name"] for play in found for task in play["tasks"]] == [
        *("A", "Check: A", "B", "Check: B"),
        *("D", "C", "Check: C"),
    ]
    assert found[1]["tasks"][0]["register"] == "unnamed_result"
    assert found[1]["tasks"][3]["vars"] == {"checked": "{{ r }}"}
    with pytest.raises(AssertionError, match="no such tasks"):
        plays(texts, {"checks": {"E": ["e"]}})


def test_blocks_of_a_document(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("text\n\n```yaml\n- a\n```\n\n```console\n$ b\n```\n\n- item\n\n  ```yaml\n  - c\n  ```\n")
    assert blocks(document) == ["- a\n", "  - c\n"]
