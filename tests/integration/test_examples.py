# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every example of the plugins' documentation, of README.md and of docs/ runs against a server of its own.

The YAML of a document runs in its order, in one ansible-playbook run: plays as they stand, tasks on all hosts.
What an example takes for granted is in examples/<document, module, or kind_plugin, such as lookup_choria_kv>.yml:

    hosts: [web1, web2]          # the inventory, localhost if nothing is said
    vars: {secret: example}      # variables
    setup: [...]                 # tasks that run before
    fails: [Name of a task]      # the tasks that are there to fail
    before:                      # tasks that run before one of an example
      Name of a task: [...]
    checks:                      # what has to be true of the results of tasks, in conditions on `checked`
      Name of a task: [checked is not changed]
    regions: true                # two joined servers instead of one, the second's URL is in the variable paris
"""

from __future__ import annotations

import ast
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from support.playbook import ROOT, run_playbook
from support.regions import two_regions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeServer
    from support.server import NatsServer

SETUPS = Path(__file__).resolve().parent / "examples"
# Actions are documented among the modules
PLUGINS = [path for path in (ROOT / "plugins").glob("*/choria_*.py") if path.parent.name != "action"]
ACTIONS = {path.name for path in (ROOT / "plugins/action").glob("choria_*.py")}
MODULES = [path for path in PLUGINS if path.parent.name == "modules" and path.name not in ACTIONS]
DOCUMENTS = [path for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")) if path.exists()]
FENCE = re.compile(r"^( *)```yaml\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def plugin_examples(source: str) -> str:
    """The text of EXAMPLES in a plugin, empty when there is none."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXAMPLES":
            return str(ast.literal_eval(node.value))
    return ""


def blocks(path: Path) -> list[str]:
    """The YAML texts of a plugin or document."""
    text = path.read_text()
    return [block for _indent, block in FENCE.findall(text)] if path.suffix == ".md" else [plugin_examples(text)]


class _Loader(yaml.SafeLoader):
    """Knows what Ansible's YAML has beyond the standard."""


# The playbook of the test is JSON, where this means the same
_Loader.add_constructor("!unsafe", lambda _loader, node: f"{{% raw %}}{node.value}{{% endraw %}}")


def plays(texts: list[str], setup: dict[str, Any]) -> list[dict[str, Any]]:
    """The plays that run the texts. A text that is no list shows variables or the like, and must only be valid YAML."""

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
    """The task, and behind it the check of its result that readers need not copy. It is taken out of ``checks``."""
    conditions = checks.pop(task.get("name", ""), None)
    if conditions is None:
        return [task]
    # What is registered is stronger than a variable of a task, so the result of one task needs another name
    name = task.setdefault("register", "unnamed_result")
    check = {"ansible.builtin.assert": {"that": conditions}, "vars": {"checked": f"{{{{ {name} }}}}"}}
    return [task, {"name": f"Check: {task['name']}", **check}]


def name_of(path: Path) -> str:
    """Modules go by their own names, so that lookup_choria_kv is another than choria_kv."""
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


# With each ansible-core they run as integration targets
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
    with tempfile.TemporaryDirectory() as state:  # or journals of this user would be seen and dropped
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
