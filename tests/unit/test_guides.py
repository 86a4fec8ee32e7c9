# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guides may be pasted one after the other: each has names of its own for what it makes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^( *)```yaml\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
PREFIX = "choria.streams.choria_"
# Modules that make what others could delete, and the option that names it
MAKES = ("stream", "kv_bucket", "governor")
LISTS = ("streams", "kv_buckets", "governors")


class _Loader(yaml.SafeLoader):
    """Knows what Ansible's YAML has beyond the standard."""


_Loader.add_constructor("!unsafe", lambda _loader, node: str(node.value))


def made(value: Any) -> Iterator[str]:
    """The names of the streams, buckets and governors that tasks make or delete."""
    if isinstance(value, list):
        for item in value:
            yield from made(item)
    if not isinstance(value, Mapping):
        return
    for key, item in value.items():
        if isinstance(item, Mapping) and str(key).startswith(PREFIX):
            if str(key).removeprefix(PREFIX) in MAKES:
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
