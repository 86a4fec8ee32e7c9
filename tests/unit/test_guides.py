# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guides can be run one after the other: each creates resources with its own names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from ansible_collections.choria.streams.plugins.doc_fragments import document
from ansible_collections.choria.streams.plugins.module_utils._resources.document.model import STREAM_KINDS
from support import ROOT

pytestmark = pytest.mark.once

FENCE = re.compile(r"^( *)```yaml\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
PREFIX = "choria.streams.choria_"
# The lists of a document whose items others could delete, and the modules that create them
LISTS = [kind.option for kind in STREAM_KINDS]
MAKES = [document.LISTS[option] for option in LISTS]


class _Loader(yaml.SafeLoader):
    """Loads YAML with the tags of Ansible."""


_Loader.add_constructor("!unsafe", lambda _loader, node: str(node.value))


def made(value: Any) -> Iterator[str]:
    """Return the names of the streams, buckets and governors that tasks create or delete."""
    if isinstance(value, list):
        for item in value:
            yield from made(item)
    if not isinstance(value, Mapping):
        return
    for key, item in value.items():
        if isinstance(item, Mapping) and str(key).startswith(PREFIX):
            if str(key).removeprefix("choria.streams.") in MAKES:
                yield str(item.get("name"))
            for option in LISTS:
                given = item.get(option)
                listed = given if isinstance(given, list) else []  # choria_backup has patterns under that name
                yield from (str(one["name"]) for one in listed if isinstance(one, Mapping))
        yield from made(item)


def test_guides_share_no_names() -> None:
    guides: dict[str, set[str]] = defaultdict(set)
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for _indent, text in FENCE.findall(path.read_text()):
            for name in made(yaml.load(text, _Loader)):
                guides[name].add(path.name)
    assert guides
    assert {name: paths for name, paths in guides.items() if len(paths) > 1 and "{{" not in name} == {}
