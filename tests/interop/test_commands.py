# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of the choria program in the guides run unchanged with the real Choria."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from support import ROOT
from support.choria import find_choria

if TYPE_CHECKING:
    from pathlib import Path

    from support.choria import ChoriaBroker, ChoriaClient, ChoriaServer

GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "roles" / "choria" / "README.md"]
# In boxes a command is one line, continued by a backslash. In text it is in backquotes, and has an argument
BOXES = re.compile(r"^```(?:console|sh|bash|shell)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TYPED = re.compile(r"^(?:\$ )?(choria (?:[^\n\\]|\\\n)*)", re.MULTILINE)
INLINE = re.compile(r"`(choria [^`]+)`")
KEYS = "choria jwt keys ansible.seed ansible.public"
TOKEN = "choria jwt client ansible.jwt ansible issuer.seed --public-key ansible.public --validity 720h --service"
GOVERNED = ["choria governor add PUPPET 50 20m 1", "choria governor view PUPPET"]
EVENTS = "choria tool event --type governor"
SUBMIT = "choria tool submit --config /etc/choria/server.conf --reliable"
STATUS = "choria tool status --status-file /var/log/choria-status.json"
KEY = ["choria kv put DEPLOY release 1.4", "choria governor view DEPLOY"]
# test_guides.py runs the first two, and test_role_watch.py the last
SHOWN = [
    "choria jwt view /etc/choria/server.jwt",
    "choria jwt keys --show-public issuer.seed",
    "choria broker server check jetstream",
]


def typed() -> set[str]:
    """Return all complete commands. Names of commands without arguments are left out."""
    found = set()
    for path in GUIDES:
        text = path.read_text()
        found |= {match for box in BOXES.findall(text) for match in TYPED.findall(box)}
        found |= {command for command in INLINE.findall(text) if len(command.split()) > 3 and "…" not in command}
    commands = {" ".join(command.replace("\\\n", " ").partition(" #")[0].split()) for command in found}
    names = ("account backup", "stream backup", "stream restore")
    return commands - {f"choria broker {name}" for name in names}


@pytest.fixture(scope="module")
def admin(jwt_broker: ChoriaBroker) -> ChoriaClient:
    return jwt_broker.client("ansible", "--service", "--stream-admin", "--stream-user", "--governor", "--event-viewer")


def listed() -> list[tuple[str, str]]:
    """Return the commands in the tables of docs/from-choria-and-nats.md, and the equivalents in this collection."""
    text = (ROOT / "docs" / "from-choria-and-nats.md").read_text()
    return re.findall(r"^\| `([a-z ]+)`[^|]*\|([^|]+)\|$", text, re.MULTILINE)


@pytest.mark.parametrize(("name", "ours"), listed(), ids=lambda text: text.strip().replace(" ", "-"))
def test_a_listed_command_exists(name: str, ours: str) -> None:
    """For an unknown command, the program shows the help of the command above it."""
    done = subprocess.run([str(find_choria()), *name.split(), "--help"], capture_output=True, text=True, check=True)
    assert f"choria {name}" in (done.stdout + done.stderr).splitlines()[0]
    for plugin in re.findall(r"`(choria_\w+)`", ours):
        assert [*(ROOT / "plugins").glob(f"*/{plugin}.py")]


def command(start: str) -> str:
    [found] = [one for one in typed() if one.startswith(start)]
    return found


def test_each_command_is_tried() -> None:
    known = [KEYS, *GOVERNED, EVENTS, STATUS, *KEY, *SHOWN, command(TOKEN), command(SUBMIT)]
    assert sorted(typed()) == sorted(known)


def shell(line: str, folder: Path, **environment: str) -> str:
    program = f"{find_choria()} " + line.removeprefix("choria ")
    done = subprocess.run(
        ["/bin/sh", "-c", program],
        cwd=folder,
        env={"HOME": str(folder), "USER": "root", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


def test_a_token(tmp_path: Path) -> None:
    shell("choria jwt keys issuer.seed issuer.public", tmp_path)
    shell(KEYS, tmp_path)
    shell(command(TOKEN), tmp_path)
    shown = shell("choria jwt view ansible.jwt", tmp_path)
    assert (tmp_path / "ansible.public").read_text().strip() in shown
    assert "ansible" in shown


def test_a_governor(admin: ChoriaClient) -> None:
    for line in GOVERNED:
        shown = shell(line, admin.folder)
    assert "50" in shown
    assert "20m" in shown


def test_events_of_governors(admin: ChoriaClient, jwt_server: ChoriaServer) -> None:
    following = admin.start(*EVENTS.split()[1:])
    try:
        assert following.stdout
        first = following.stdout.readline()
        assert "Waiting" in first, first
        admin.run("governor", "add", "EVENTS", "1", "1m", "1")
        shell(f"choria governor run --config {jwt_server.config} EVENTS --max-wait 10s /bin/true", admin.folder)
        assert "EVENTS" in following.stdout.readline()
    finally:
        following.terminate()
        following.wait()


def test_a_key(admin: ChoriaClient) -> None:
    admin.run("kv", "add", "DEPLOY")
    admin.run("governor", "add", "DEPLOY", "2", "1m", "1")
    for line in KEY:
        shell(line, admin.folder)
    assert shell("choria kv get DEPLOY release --raw", admin.folder).strip() == "1.4"


def test_submission(jwt_server: ChoriaServer, tmp_path: Path) -> None:
    log = tmp_path / "task.log"
    log.write_text("done\n")
    line = command(SUBMIT).replace("/etc/choria/server.conf", str(jwt_server.config)).replace("/tmp/task.log", str(log))
    assert shell(line, tmp_path, HOSTNAME="node1")


def test_status(tmp_path: Path) -> None:
    """The check accepts its arguments, and reports that the server's file is missing."""
    line = STATUS.replace("/var/log/choria-status.json", str(tmp_path / "status.json"))
    done = subprocess.run(
        [str(find_choria()), *line.split()[1:]],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"could not be read: open {tmp_path / 'status.json'}" in done.stdout
