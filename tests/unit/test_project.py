# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the whole project: licences, metadata, and that each plugin has its tests."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from collections import Counter

import pytest
import tomllib
import yaml

from support import ROOT

pytestmark = pytest.mark.once

HEADER = (
    "Copyright (c) 2026 The choria.streams developers",
    # In two parts, otherwise REUSE would read it as this file's own
    "SPDX-License-" + "Identifier: GPL-3.0-or-later",
)


def names(folder: str) -> set[str]:
    """Return the plugins in a folder of plugins/."""
    return {path.stem for path in (ROOT / "plugins" / folder).glob("*.py") if not path.name.startswith("_")}


def files() -> list[str]:
    """Return the files of the project, also new ones, and none that tools wrote."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    output = subprocess.run(listing, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout.decode()
    return [path for path in output.split("\0") if path and (ROOT / path).is_file()]


def test_each_file_names_its_licence() -> None:
    elsewhere = tomllib.loads((ROOT / "REUSE.toml").read_text())["annotations"][0]["path"]
    elsewhere = ["LICENSE", "LICENSES/*", *(pattern.replace("**", "*") for pattern in elsewhere)]
    paths = files()
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
    tests = [*integration.rglob("test_*.py"), *integration.glob("targets/*/tasks/*.yml")]
    assert any(f"choria.streams.{name}" in path.read_text() for path in tests)


def test_folders_of_tests_stay_small() -> None:
    sizes = Counter(str(path.parent.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))
    assert {folder: size for folder, size in sizes.items() if size > 15} == {}


def test_unit_tests_mirror_plugins() -> None:
    tests = ROOT / "tests" / "unit" / "plugins"
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}
    assert folders
    assert [str(folder) for folder in sorted(folders) if not (ROOT / "plugins" / folder).is_dir()] == []


@pytest.mark.parametrize("name", sorted(names("modules") | names("action")))
def test_each_module_is_tried_in_check_mode(name: str) -> None:
    assert f'Try("{name}", ' in (ROOT / "tests" / "integration" / "every_module" / "test_check_mode.py").read_text()


def test_readme_lists_what_users_call() -> None:
    rows = re.findall(r"(?m)^\| (?:module|action|lookup|callback|filter) \| (.+?) \|", (ROOT / "README.md").read_text())
    called = names("modules") | names("action") | names("lookup") | names("callback") | names("filter")
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == called


def test_each_integration_target_has_aliases() -> None:
    """Without them, `ansible-test integration` puts no target into a group."""
    targets = sorted(path.parent for path in (ROOT / "tests" / "integration" / "targets").glob("*/tasks"))
    assert targets
    assert [path.name for path in targets if "\ngha/" not in (path / "aliases").read_text()] == []


def test_guides_name_files_that_there_are() -> None:
    paths = files()
    for page in (path for path in paths if path.endswith(".md")):
        named = re.findall(r"`([\w./-]+\.(?:py|sh|md|j2|toml))`", (ROOT / page).read_text())
        assert (page, [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in paths)]) == (
            page,
            [],
        )


@pytest.mark.parametrize("field", ["documentation", "homepage", "issues", "repository"])
def test_galaxy_links_the_project(field: str) -> None:
    assert str(yaml.safe_load((ROOT / "galaxy.yml").read_text())[field]).startswith("https://")


@pytest.mark.parametrize("name", ["CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"])
def test_files_at_the_root_link_what_there_is(name: str) -> None:
    text = (ROOT / name).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert "code of conduct" in text.lower() or name == "SECURITY.md"
