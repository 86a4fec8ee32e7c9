# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documentation site has every guide, in the order of docs/docsite/index.md."""

from __future__ import annotations

import re

import pytest

from support import ROOT

pytestmark = pytest.mark.once


def test_the_site_has_each_guide_once() -> None:
    index = (ROOT / "docs" / "docsite" / "index.md").read_text()
    toctrees = re.findall(r"```\{toctree\}\n(?::[^\n]*\n)*\n(.*?)```", index, re.DOTALL)
    pages = [re.sub(r".*<(.*)>", r"\1", line) for toctree in toctrees for line in toctree.split("\n") if line]
    guides = [f"docs/{path.stem}" for path in (ROOT / "docs").glob("*.md")]
    others = [path.stem for path in ROOT.glob("*.md")]
    assert guides
    assert sorted({*guides, *others} - {*pages}) == []
    assert len(pages) == len(set(pages))


# A bracket ends markup, unless it is escaped
CUT = re.compile(r"\b[CEOPV]\((?:[^()\\]|\\.)*\([^()\\]*\)")


def test_no_markup_is_cut_by_a_bracket() -> None:
    paths = [*(ROOT / "plugins").glob("[!_]*/*.py"), *(ROOT / "roles").glob("*/meta/*.yml")]
    documented = [path for path in paths if "_utils" not in path.parent.name]
    assert documented
    assert [match[0] for path in documented for match in CUT.finditer(path.read_text())] == []
