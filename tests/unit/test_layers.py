# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Imports point one way: a file imports its own layer or a lower one, and nobody imports an edge.

docs/contributing.md explains the layers.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

import pytest

from support.imports import PACKAGE, PLUGINS, Import, files_of, imports, imports_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.once

LAYERS = {
    "_errors": 0,
    "_fsync": 0,
    "_options": 1,
    "_choria": 2,
    "_connection": 3,
    "_api": 4,
    "_resources": 5,
    "_operations": 6,
}
# nkeys comes with nats-py's extra of that name, aiohttp and multidict are for its websockets; cryptography signs, dns
# finds brokers by their SRV records
CLIENT = {"nats", "nkeys", "aiohttp", "multidict", "dns"}
SIGNING = {"cryptography"}
# Libraries that only some options need, and that hosts may lack
OPTIONAL = {"yaml", "jmespath"}
FORMATS = ("module_utils", "_options", "formats")
# Imported by nearly all files, also by those for the controller
NO_NAME_IMPORTS = {("module_utils", "_errors"), ("module_utils", "_api", "jetstream")}
# Packages that are imported by many files that modules send: Ansible looks for a file behind each name that these
# import
NO_NAME_IMPORTS_WHERE_SENT = {
    *(("module_utils", "_options", name) for name in ("codecs", "connection", "fields", "names", "values")),
    *(("module_utils", "_connection", name) for name in ("sessions", "wire")),
    *(("module_utils", "_api", name) for name in ("messages", "stream_compare")),
    *(("module_utils", "_api", "kv", name) for name in ("kv", "kv_write")),
    *(("module_utils", "_resources", name) for name in ("losses", "resource", "shared_fields", "subjects")),
    *(("module_utils", "_resources", "consumer", name) for name in ("facts", "table")),
    *(("module_utils", "_resources", "document", name) for name in ("model", "state")),
    ("module_utils", "_resources", "stream", "base"),
    *(("module_utils", "_resources", "stream", "recreation", name) for name in ("configurations", "recreate")),
}
# Files that only their own package imports: other packages use it through its other files
INSIDE = {
    "module_utils/_connection": {"driver", "nats_compat", "outage", "pipeline"},
    "module_utils/_api/kv": {"deliveries"},
    "module_utils/_resources/consumer": {"configuration", "rules"},
    "module_utils/_resources/document": {"apply", "consumers", "keys", "plan", "state"},
    "module_utils/_resources/stream": {"current", "kind", "loss_estimate", "replicas", "rules"},
    "module_utils/_resources/stream/recreation": {"configurations", "copy"},
    "module_utils/_operations/backup": {"on_disk", "sets", "transfer", "verified", "writing"},
    "module_utils/_operations/broker": {"raw_client"},
    "module_utils/_operations/kv": {"desired", "pull", "push", "report"},
    "module_utils/_operations/machine": {"definition", "events", "files", "schema", "store", "watchers"},
    "module_utils/_operations/messages": {
        "batch",
        "foresight",
        "outgoing",
        "publish",
        "removal",
    },
    "plugin_utils/_delivery": {"last_resort", "outbox", "sender_main", "transport", "transport_spool"},
    "plugin_utils/_results": {"masking", "run_context", "secret_finder", "template_watch"},
    "plugin_utils/_role": {"values"},
}
SENT = ("module_utils", "modules")
# The importers of each edge, by the first folder under plugins/ or by the name of the file. An edge may import itself
EDGES = {
    "module_utils._archive": {"module_utils._module", "module_utils._module_resource"},
    "module_utils._module": {
        "modules",
        "module_utils._module_resource",
        "module_utils._module_document",
        "module_utils._module_files",
    },
    "module_utils._module_resource": {"modules"},
    "module_utils._module_document": {"modules", "plugin_utils"},
    "module_utils._module_files": {"modules"},
    "plugin_utils": {"action", "callback", "filter", "lookup", "plugin_utils"},
}


def sent(path: str, *, types: bool) -> set[str]:
    """Return our files that Ansible sends with this one, with or without those for type checkers."""
    found, waiting = set[str](), [path]
    while waiting:
        path = waiting.pop()
        found.add(path)
        for item in imports_of(path):
            if types or not item.types:
                waiting += [file for file in files_of(item) if file not in found]
    return found


def layer(parts: tuple[str, ...]) -> int | None:
    """The layer of a dotted name under plugins/; None is outside the layers."""
    return LAYERS.get(parts[1]) if parts[0] == "module_utils" and len(parts) > 1 else None


def edge(parts: tuple[str, ...]) -> str | None:
    return next((name for name in EDGES if parts[: name.count(".") + 1] == tuple(name.split("."))), None)


def violation(own: tuple[str, ...], found: Import) -> str | None:
    """Return the violation of an import in the file ``own``, a dotted name under plugins/, or None."""
    mine, top = layer(own), found.name[0]
    if found.name[: len(PACKAGE)] == PACKAGE:
        target = found.name[len(PACKAGE) :]
        theirs, name = layer(target), edge(target)
        if name:
            return None if {own[0], ".".join(own)} & EDGES[name] else f"imports the edge {name}"
        if theirs is None:
            # Doc fragments and plugins are loaded by Ansible, by their names
            return f"imports {'.'.join(target)}, which is in no layer"
        if mine is not None and theirs > mine:
            return f"layer {mine} imports layer {theirs}"
        if target[:-1] in (NO_NAME_IMPORTS | NO_NAME_IMPORTS_WHERE_SENT if own[0] in SENT else NO_NAME_IMPORTS):
            return f"imports a name of {'.'.join(target[:-1])}: import the whole file"
        return None
    if top in CLIENT | SIGNING:
        allowed = {"_choria", "_connection"} if top in SIGNING else {"_connection"}
        if mine not in {LAYERS[name] for name in allowed}:
            return f"imports {top}, which is for {' and '.join(sorted(allowed))} alone"
        return None if found.deferred else f"imports {top} before it is needed: do it in a function"
    if own == FORMATS and top in OPTIONAL:
        return None if found.deferred else f"imports {top} before it is needed: do it in a function"
    if mine is not None and top not in sys.stdlib_module_names:
        return f"layer {mine} imports {top}, which is not in the standard library"
    if found.name[:3] == ("ansible", "module_utils", "basic") and own != ("module_utils", "_module"):
        return "imports AnsibleModule's file, which is for module_utils/_module.py alone"
    return None


def violations(path: str, source: str) -> list[str]:
    """Return all violations in the imports of a file. The path is relative to plugins/."""
    own = tuple(path.removesuffix(".py").split("/"))
    if own[0] == "module_utils" and layer(own) is None and edge(own) is None:
        return [f"{path} is in no layer"]
    found = ((item, violation(own, item)) for item in imports(path, source))
    return [f"{path}:{item.line} {text}" for item, text in found if text]


@pytest.mark.parametrize("path", sorted(str(path.relative_to(PLUGINS)) for path in PLUGINS.rglob("*.py")))
def test_imports(path: str) -> None:
    assert violations(path, (PLUGINS / path).read_text()) == []


@pytest.mark.parametrize("path", sorted(str(path.relative_to(PLUGINS)) for path in PLUGINS.glob("modules/*.py")))
def test_nothing_is_sent_for_types_alone(path: str) -> None:
    """Ansible also sends the imports below TYPE_CHECKING. Each file takes time, on the controller and on the host."""
    assert sent(path, types=True) - sent(path, types=False) == set()


def lines_sent(module: str) -> int:
    files = sent(f"modules/{module}.py", types=False)
    return sum(len((PLUGINS / file).read_text().splitlines()) for file in files)


# Every module with a connection sends these, nearly half of what a module for a resource sends
@pytest.mark.parametrize(("kind", "most"), [("stream", 0.6), ("kv_bucket", 0.6), ("governor", 0.6), ("consumer", 0.7)])
def test_reading_sends_less(kind: str, most: float) -> None:
    own, whole = lines_sent(f"choria_{kind}_info"), lines_sent(f"choria_{kind}")
    print(f"choria_{kind}_info sends {own} lines, choria_{kind} {whole}")
    assert own <= most * whole


@pytest.mark.parametrize(("module", "most"), [("choria_kv", 7653), ("choria_governor_lease", 7400)])
def test_common_modules_send_few_lines(module: str, most: int) -> None:
    print(f"{module} sends {lines_sent(module)} lines")
    assert lines_sent(module) <= most


MOST_LINES, MOST_FILES, LONGEST_FUNCTION = 400, 15, 40
# Ansible looks for all modules in this one folder
FLAT = {"modules"}


@pytest.mark.parametrize("path", sorted(PLUGINS.rglob("*.py")), ids=lambda path: str(path.relative_to(PLUGINS)))
def test_files_and_functions_stay_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= MOST_LINES
    assert long_functions(source) == []


def long_functions(source: str) -> list[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds))
    return [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION]


def test_long_functions_are_found() -> None:
    lines = ["        pass"] * (LONGEST_FUNCTION - 1)
    source = "\n".join(["class A:", "    def just(self):", *lines, "    async def long(self):", *lines, "        pass"])
    assert long_functions(source) == ["long"]


def test_folders_stay_small() -> None:
    files = Counter(str(path.parent.relative_to(PLUGINS)) for path in PLUGINS.rglob("*.py"))
    assert {folder: number for folder, number in files.items() if number > MOST_FILES}.keys() <= FLAT


def test_insides_stay_inside() -> None:
    assert not [f"{folder}/{name}" for folder, names in INSIDE.items() for name in names if not there(folder, name)]
    for path in (str(path.relative_to(PLUGINS)) for path in PLUGINS.rglob("*.py")):
        assert (path, [file for file in imported_by(path) if is_inside_of_another(path, file)]) == (path, [])


def there(folder: str, name: str) -> bool:
    return (PLUGINS / folder / f"{name}.py").exists()


def imported_by(path: str) -> set[str]:
    return set().union(*map(files_of, imports_of(path)))


def is_inside_of_another(path: str, file: str) -> bool:
    folder, _slash, name = file.rpartition("/")
    return name.removesuffix(".py") in INSIDE.get(folder, ()) and not path.startswith(f"{folder}/")


def test_imports_of_insides_are_found() -> None:
    draft = "module_utils/_operations/backup/draft.py"
    assert is_inside_of_another("modules/choria_backup.py", "module_utils/_operations/backup/writing.py")
    assert not is_inside_of_another("modules/choria_backup.py", "module_utils/_operations/backup/backup.py")
    assert not is_inside_of_another(draft, "module_utils/_operations/backup/writing.py")


def test_no_circles() -> None:
    """Imports in functions and for type checkers count too."""
    paths = [str(path.relative_to(PLUGINS)) for path in PLUGINS.rglob("*.py")]
    TopologicalSorter({path: imported_by(path) for path in paths}).prepare()


OURS = "from ansible_collections.choria.streams.plugins"


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("module_utils/_errors.py", f"{OURS}.module_utils._options import fields", "layer 0 imports layer 1"),
        ("module_utils/_options/fields.py", "from .._connection import sessions", "layer 1 imports layer 3"),
        ("module_utils/_options/fields.py", "from .._connection.sessions import Session", "layer 1 imports layer 3"),
        ("module_utils/_options/fields.py", "from .. import _api", "layer 1 imports layer 4"),
        (
            "module_utils/_api/streams.py",
            "def f():\n    from .._operations.governor import lease",
            "layer 4 imports layer 6",
        ),
        (
            "module_utils/_api/streams.py",
            "if TYPE_CHECKING:\n    from .._resources.plan import P",
            "layer 4 imports layer 5",
        ),
        ("module_utils/_api/streams.py", f"{OURS}.module_utils._module import run", "imports the edge"),
        ("module_utils/_operations/governor/lease.py", f"{OURS}.plugin_utils import _plugin", "imports the edge"),
        ("module_utils/_module.py", f"{OURS}.plugin_utils._plugin import x", "imports the edge"),
        ("plugin_utils/_plugin.py", "from ..module_utils import _module", "imports the edge"),
        ("modules/choria_kv.py", f"{OURS}.plugin_utils._plugin import x", "imports the edge"),
        ("modules/choria_kv.py", f"{OURS}.modules.choria_stream import main", "in no layer"),
        ("modules/choria_kv.py", "from ansible.module_utils.basic import AnsibleModule", "AnsibleModule"),
        ("modules/choria_kv.py", "def f():\n    import nats", "imports nats"),
        ("module_utils/_resources/plan.py", "def f():\n    import nats", "imports nats"),
        ("module_utils/_connection/sessions.py", "import nats", "before it is needed"),
        ("module_utils/_connection/sessions.py", "class A:\n    from nats.aio import client", "before it is needed"),
        (
            "module_utils/_connection/sessions.py",
            "import importlib\nimportlib.import_module('nats')",
            "before it is needed",
        ),
        ("module_utils/_connection/sessions.py", "def f():\n    import yaml", "not in the standard library"),
        ("module_utils/_connection/sessions.py", "from ansible.module_utils.common import text", "not in the standard"),
        ("module_utils/_options/formats.py", "import yaml", "before it is needed"),
        ("module_utils/_other/x.py", "", "in no layer"),
        ("module_utils/_api/streams.py", "from .._errors import StreamsError", "import the whole file"),
        ("modules/choria_kv.py", f"{OURS}.module_utils._api.jetstream import call", "import the whole file"),
        ("modules/choria_kv.py", f"{OURS}.module_utils._resources.resource import Plan", "import the whole file"),
        ("lookup/choria_kv.py", f"{OURS}.module_utils._errors import StreamsError", "import the whole file"),
    ],
)
def test_violations_are_found(path: str, source: str, expected: str) -> None:
    found = violations(path, source)
    assert len(found) == 1, found
    assert expected in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("module_utils/_options/fields.py", "import re\nfrom .. import _errors\nfrom . import codecs"),
        ("module_utils/_connection/sessions.py", "def f():\n    import nats.aio.client\n    import nkeys"),
        ("module_utils/_connection/sessions.py", "if TYPE_CHECKING:\n    from nats.aio.client import Client"),
        ("module_utils/_options/formats.py", "def f():\n    import jmespath"),
        ("module_utils/_operations/governor/lease.py", "from ..._resources.governor import governor"),
        ("module_utils/_module.py", "from ansible.module_utils.basic import AnsibleModule\nfrom ._api import streams"),
        ("modules/choria_kv.py", f"{OURS}.module_utils._module_resource import run_resource"),
        ("modules/choria_kv_sync.py", f"{OURS}.module_utils._module_files import run_files"),
        ("module_utils/_module_files.py", "from ._module import failing"),
        ("lookup/choria_kv.py", f"import jmespath\n{OURS}.plugin_utils._plugin import session"),
        ("lookup/choria_kv.py", f"{OURS}.module_utils._connection.sessions import Session"),
    ],
)
def test_imports_that_are_allowed(path: str, source: str) -> None:
    assert violations(path, source) == []
