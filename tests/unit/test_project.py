# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds for the project as a whole: licences, metadata, and that nothing goes untested."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from pathlib import Path

import pytest
import tomllib
import yaml

ROOT = Path(__file__).resolve().parents[2]
HEADER = (
    "Copyright (c) 2026 The choria.streams developers",
    # In two parts, or REUSE would take it for this file's own
    "SPDX-License-" + "Identifier: GPL-3.0-or-later",
)


def names(folder: str) -> set[str]:
    """The plugins in a folder of plugins/."""
    return {path.stem for path in (ROOT / "plugins" / folder).glob("*.py") if not path.name.startswith("_")}


def test_each_file_names_its_licence() -> None:
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    output = subprocess.run(listing, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout.decode()
    elsewhere = tomllib.loads((ROOT / "REUSE.toml").read_text())["annotations"][0]["path"]
    elsewhere = ["LICENSE", "LICENSES/*", *(pattern.replace("**", "*") for pattern in elsewhere)]
    paths = [path for path in output.split("\0") if path and (ROOT / path).is_file()]
    without = [
        path
        for path in paths
        if not any(fnmatch.fnmatch(path, pattern) for pattern in elsewhere)
        and not all(line in "".join((ROOT / path).open().readlines()[:10]) for line in HEADER)
    ]
    assert paths
    assert without == []


def test_action_group_has_all_modules_and_actions() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())
    groups = runtime["action_groups"]
    # Modules of the group config open no connection
    assert {*groups["all"], *groups["config"]} == names("modules") | names("action")
    assert set(groups["all"]) & set(groups["config"]) == set()


def test_all_that_users_call_begins_with_choria() -> None:
    called = names("modules") | names("action") | names("lookup") | names("callback") | names("filter")
    assert [name for name in sorted(called) if not name.startswith("choria_")] == []


@pytest.mark.parametrize("name", sorted(names("modules") | names("action") | names("lookup") | names("callback")))
def test_each_plugin_has_an_integration_test(name: str) -> None:
    integration = ROOT / "tests" / "integration"
    files = [*integration.glob("test_*.py"), *integration.glob("targets/*/tasks/*.yml")]
    assert any(f"choria.streams.{name}" in path.read_text() for path in files)


@pytest.mark.parametrize("name", sorted(names("modules") | names("action")))
def test_each_module_is_tried_in_check_mode(name: str) -> None:
    assert f'Try("{name}", ' in (ROOT / "tests" / "integration" / "test_check_mode.py").read_text()


def test_each_integration_target_has_aliases() -> None:
    """Without them, `ansible-test integration` puts no target into a group."""
    targets = sorted(path.parent for path in (ROOT / "tests" / "integration" / "targets").glob("*/tasks"))
    assert targets
    assert [path.name for path in targets if "\ngha/" not in (path / "aliases").read_text()] == []


@pytest.mark.parametrize("field", ["documentation", "homepage", "issues", "repository"])
def test_galaxy_links_the_project(field: str) -> None:
    assert str(yaml.safe_load((ROOT / "galaxy.yml").read_text())[field]).startswith("https://")


@pytest.mark.parametrize("name", ["CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"])
def test_files_at_the_root_link_what_there_is(name: str) -> None:
    text = (ROOT / name).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert "code of conduct" in text.lower() or name == "SECURITY.md"
