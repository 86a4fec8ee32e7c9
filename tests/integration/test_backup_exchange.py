# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups of the nats CLI are restored, and those that are made here are as it reads them. How fixtures/ were made is
told in its README; tests/interop has the program that Choria brings.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, messages
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.backup.archive import FILES, MESSAGES
from support.backups import backup, content, known, refusal, restore
from support.connect import settings

if TYPE_CHECKING:
    from conftest import MakeServer

pytestmark = pytest.mark.once

FIXTURES = Path(__file__).parent / "fixtures"
NEW, OLD = FIXTURES / "nats_cli_2_15", FIXTURES / "nats_cli_2_10"
NUMBERS = (1, 2, 4, 5)


def keys(value: Any, path: str = "") -> set[str]:
    """The names in nested objects that hold a value, but the server's own metadata."""
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

        # Ours of the same stream: what the CLI looks for is there, under its names
        path = Path(backup(session, tmp_path, stream="ORDERS")["backup"]["path"])
    ours = json.loads((path / "backup.json").read_text())
    assert list(ours) == list(described) == ["config", "state"]
    assert keys(described) <= keys(ours)
    assert {name: ours["config"][name] for name in described["config"] if name != "metadata"} == {
        name: value for name, value in described["config"].items() if name != "metadata"
    }
    # CLIs before 0.5 know this name alone; those since then look for it where there is no stream.arc.s2
    assert sorted(entry.name for entry in path.iterdir()) == ["backup.json", "manifest.json", "stream.tar.s2"]


def test_which_archive_it_is() -> None:
    """The CLI goes by the name, we by the content."""
    for source, archive, kind in ((NEW, "stream.arc.s2", MESSAGES), (OLD, "stream.tar.s2", FILES)):
        assert (source / archive).exists()
        (told,) = known(source)
        assert (told["stream"], told["messages"], told["verified"], told["created"]) == ("ORDERS", 4, True, None)
        assert told["size"] == (source / archive).stat().st_size
        assert (told["sha256"], told["consumers"]) == (None, None)
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
