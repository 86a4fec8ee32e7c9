# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups of the nats CLI can be restored, and the CLI can read those of this collection. fixtures/README says how the
fixtures were made. tests/interop uses the choria program.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, messages
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.backup.on_disk import FILES, MESSAGES
from support import ROOT
from support.backups import backup, content, known, refusal, restore
from support.connect import settings

if TYPE_CHECKING:
    from conftest import MakeServer

pytestmark = pytest.mark.once

FIXTURES = ROOT / "tests" / "integration" / "fixtures"
NEW, OLD = FIXTURES / "nats_cli_2_15", FIXTURES / "nats_cli_2_10"
NUMBERS = (1, 2, 4, 5)


def keys(value: Any, path: str = "") -> set[str]:
    """Return the paths of all values in nested objects, without the server's own metadata."""
    if not isinstance(value, dict):
        return {path} if value else set()
    return {name for key, inner in value.items() if key != "metadata" for name in keys(inner, f"{path}.{key}")}


@pytest.mark.parametrize(("source", "version"), [(NEW, None), (OLD, None), (OLD, "2.14"), (OLD, "2.10")])
def test_made_by_the_nats_cli(make_server: MakeServer, tmp_path: Path, source: Path, version: str | None) -> None:
    described = json.loads((source / "backup.json").read_text())
    with Session(settings(servers=make_server(version=version).url)) as session:
        done = restore(session, source)
        assert (done["stream"]["messages"], done["stream"]["consumers"]) == (4, ["billing"])
        assert not restore(session, source)["changed"]
        found = [message for message in content(session, "ORDERS") if message]
        assert [(one.sequence, one.subject, one.data.decode(), dict(one.headers)) for one in found] == [
            (number, f"orders.{number % 2}", f"order {number}", {"Number": str(number)}) for number in NUMBERS
        ]
        assert (found[0].time, found[-1].time) == (described["state"]["first_ts"], described["state"]["last_ts"])
        assert messages.get(session, "ORDERS", sequence=3) is None
        billing = consumers.info(session, "ORDERS", "billing")
        assert billing
        assert (billing["ack_floor"]["stream_seq"], billing["num_pending"]) == (2, 2)

        # A backup of the same stream has all fields that the CLI reads, under the same names
        path = Path(backup(session, tmp_path, stream="ORDERS")["backup"]["path"])
    ours = json.loads((path / "backup.json").read_text())
    assert list(ours) == list(described) == ["config", "state"]
    assert keys(described) <= keys(ours)
    assert {name: ours["config"][name] for name in described["config"] if name != "metadata"} == {
        name: value for name, value in described["config"].items() if name != "metadata"
    }
    # A CLI before 0.5 reads this file name only. Later ones read it if there is no stream.arc.s2.
    assert sorted(entry.name for entry in path.iterdir()) == ["backup.json", "manifest.json", "stream.tar.s2"]


def test_archives_are_recognized_by_their_contents() -> None:
    """The CLI recognizes the kind of an archive by its file name, this collection by its contents."""
    for source, archive, kind in ((NEW, "stream.arc.s2", MESSAGES), (OLD, "stream.tar.s2", FILES)):
        assert (source / archive).exists()
        (listed,) = known(source)
        assert (listed["stream"], listed["messages"], listed["verified"], listed["created"]) == (
            "ORDERS",
            4,
            True,
            None,
        )
        assert listed["size"] == (source / archive).stat().st_size
        assert (listed["sha256"], listed["consumers"]) == (None, None)
        from_disk = (source / archive).read_bytes()
        assert (kind == FILES) == (b"NATSARC1" not in from_disk)


def test_cut_off(make_server: MakeServer, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(NEW, broken)
    archive = broken / "stream.arc.s2"
    archive.write_bytes(archive.read_bytes()[:-20])
    with Session(settings(servers=make_server().url)) as session:
        error = refusal(restore, session, broken)
    assert error.failure["code"] == "broken_backup"
    assert "stream.arc.s2 was cut off: nothing was sent" in error.message
