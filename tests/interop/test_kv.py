# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Buckets and keys that `choria kv` and the plugins share."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.entry import ENTRY
from support.manage import Manager
from support.playbook import run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.choria.streams.plugins.module_utils._resources.resource import Plan
    from support.choria import ChoriaBroker, ChoriaClient

MIB = 1 << 20
VALUES = {
    "text": b"bob",
    "empty": b"",
    "newlines": b"one\r\ntwo\n",
    "newline": b"\n",
    "spaces": b"  x  ",
    "unicode": "Schlüssel 🔑".encode(),
    "json": b'{"b": 1, "a": [true, null]}',
    "template": b"{{ not_a_template }}",
    "number": b"007",
    "dash": b"-",
    "every byte": bytes(range(256)),
    "no text": b"\xff\xfe\x00",
    "as large as it can be": b"\x00\x01 \xfe" * (MIB // 4),
}
LEGAL = ["a", "A.b-c_d/e=f", "=", "/", "-", "_", "0", "-a", "a.b.c.d.e", "a/b/", "x" * 200]
ILLEGAL = ["", ".a", "a.", ".", "a..b", "a b", "a*", ">", "a.>", "ä", "ключ", "a\tb", "a:b", "a@b", "$KV"]


class Shared(Manager):
    """A user of the program, and a connection with the same configuration."""

    def __init__(self, program: ChoriaClient) -> None:
        super().__init__(choria_config=str(program.config))
        self.program = program

    def put(self, bucket: str, key: str, value: bytes, **given: Any) -> Plan:
        text = base64.b64encode(value).decode()
        return self.apply(ENTRY, bucket=bucket, key=key, value=text, encoding="base64", **given)

    def history(self, bucket: str, key: str) -> list[tuple[int, str, bytes]]:
        """Return revision, operation and value of each entry, as the plugins read them."""
        opened, _counts = kv.open_bucket(self.session, bucket)
        return [(entry.revision, entry.operation, entry.value) for entry in kv.history(self.session, opened, key)]

    def their_history(self, bucket: str, key: str) -> list[tuple[int, str, bytes]]:
        """Return the same from the program's output, for short texts."""
        rows = [row.split("│")[1:-1] for row in self.program.output("kv", "history", bucket, key).splitlines()]
        cells = [[cell.strip() for cell in row] for row in rows if len(row) == 5]
        return [(int(row[0]), row[1].lower(), row[4].encode()) for row in cells if row[0].isdigit()]


@pytest.fixture(scope="module")
def shared(broker: ChoriaBroker) -> Iterator[Shared]:
    with Shared(broker.client("joe")) as made:
        yield made


# Keys


def test_values_byte_for_byte(shared: Shared) -> None:
    keys = {name: f"v{number}" for number, name in enumerate(VALUES)}
    shared.program.run("kv", "add", "VALUES", "--history", "5")
    for name, key in keys.items():
        shared.program.run("kv", "put", "VALUES", f"theirs.{key}", "--", "-", stdin=VALUES[name])
    ours = [
        {"key": f"ours.{key}", "value": base64.b64encode(VALUES[name]).decode(), "encoding": "base64"}
        for name, key in keys.items()
    ]
    ours.append({"key": "ours.as_text", "value": VALUES["unicode"].decode(), "encoding": "text"})
    how = "bucket='VALUES', prefix=true, format='base64'"
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"choria_streams_choria_config": str(shared.program.config)},
        "tasks": [
            {
                "name": "write",
                "choria.streams.choria_kv": {
                    "bucket": "VALUES",
                    "choria_config": str(shared.program.config),
                    **{option: f"{{{{ item.{option} }}}}" for option in ("key", "value", "encoding")},
                },
                "loop": ours,
            },
            {
                "name": "read",
                "ansible.builtin.set_fact": {"read": f"{{{{ lookup('choria.streams.choria_kv', '', {how}) }}}}"},
            },
        ],
    }
    result = run_playbook([play]).check()
    read = result.task("read").result["ansible_facts"]["read"]
    for name, key in keys.items():
        assert base64.b64decode(read[f"theirs.{key}"]) == VALUES[name], name
        assert base64.b64decode(read[f"ours.{key}"]) == VALUES[name], name
        assert shared.program.run("kv", "get", "VALUES", f"ours.{key}", "--raw").stdout == VALUES[name], name
    assert shared.program.run("kv", "get", "VALUES", "ours.as_text", "--raw").stdout == VALUES["unicode"]
    assert shared.program.output("kv", "keys", "VALUES").split() == sorted(read)


def test_values_larger_than_a_message_are_refused(shared: Shared) -> None:
    shared.apply(BUCKET, name="LARGE")
    for given in ({"value": b"x" * (MIB + 1)}, {"value": b"x" * MIB, "create_only": True}):
        with pytest.raises(StreamsError) as caught:
            shared.put("LARGE", "a", **given)
        assert caught.value.failure["code"] == "too_large"
        assert str(MIB) in caught.value.message
    shared.put("LARGE", "a", b"x" * MIB)


@pytest.mark.parametrize("key", LEGAL)
def test_legal_keys(shared: Shared, key: str) -> None:
    shared.apply(BUCKET, name="KEYS", history=5)
    shared.put("KEYS", key, b"ours")
    assert shared.program.output("kv", "get", "KEYS", "--raw", "--", key) == "ours"
    shared.program.run("kv", "put", "KEYS", "--", key, "theirs")
    assert not shared.put("KEYS", key, b"theirs").changed
    assert key in shared.program.output("kv", "keys", "KEYS").splitlines()


@pytest.mark.parametrize("key", ILLEGAL)
def test_illegal_keys_are_refused_by_both(shared: Shared, key: str) -> None:
    shared.apply(BUCKET, name="KEYS", history=5)
    assert shared.program.run("kv", "put", "KEYS", "--", key, "x", check=False).returncode != 0
    with pytest.raises(OptionError, match=r"^key: "):
        shared.put("KEYS", key, b"x")


def test_revisions_of_both(shared: Shared) -> None:
    shared.program.run("kv", "add", "HISTORY", "--history", "10")
    key = ("HISTORY", "a.b")
    shared.put(*key, b"one")
    shared.program.run("kv", "put", *key, "two")
    shared.put(*key, b"three", revision=2)
    with pytest.raises(StreamsError, match="at revision 3, and 1 was expected"):
        shared.put(*key, b"four", revision=1)
    assert shared.program.run("kv", "update", *key, "four", "1", check=False).returncode != 0
    shared.program.run("kv", "update", *key, "four", "3")
    shared.program.run("kv", "del", *key, "--force")
    assert not shared.apply(ENTRY, bucket=key[0], key=key[1], state="absent").changed
    assert shared.put(*key, b"five", create_only=True).changed
    assert shared.program.run("kv", "create", *key, "x", check=False).returncode != 0
    shared.apply(ENTRY, bucket=key[0], key=key[1], state="absent")
    shared.program.run("kv", "create", *key, "six")
    assert not shared.put(*key, b"seven", create_only=True).changed
    expected = [
        (1, "put", b"one"),
        (2, "put", b"two"),
        (3, "put", b"three"),
        (4, "put", b"four"),
        (5, "delete", b""),
        (6, "put", b"five"),
        (7, "delete", b""),
        (8, "put", b"six"),
    ]
    assert shared.history(*key) == expected
    assert shared.their_history(*key) == expected


@pytest.mark.parametrize("purged_by", ["program", "ours"])
def test_purged_by_either(shared: Shared, purged_by: str) -> None:
    shared.apply(BUCKET, name="PURGED", history=5)
    for value in (b"one", b"two"):
        shared.put("PURGED", purged_by, value)
    if purged_by == "program":
        shared.program.run("kv", "purge", "PURGED", purged_by, "--force")
    else:
        shared.apply(ENTRY, bucket="PURGED", key=purged_by, state="purged")
    [(revision, operation, value)] = shared.history("PURGED", purged_by)
    assert (operation, value) == ("purge", b"")
    assert shared.their_history("PURGED", purged_by) == [(revision, operation, value)]
    assert shared.program.run("kv", "get", "PURGED", purged_by, check=False).returncode != 0
    assert not shared.apply(ENTRY, bucket="PURGED", key=purged_by, state="purged").changed


# Buckets

# The program's arguments, and the same options of choria_kv_bucket
SAME: dict[str, tuple[list[str], dict[str, Any]]] = {
    "defaults": ([], {"history": 5}),
    "history": (["--history", "64"], {"history": 64}),
    "lifetime": (["--ttl", "1h"], {"history": 5, "ttl": "1h"}),
    "short lifetime": (["--ttl", "30s"], {"history": 5, "ttl": "30s"}),
    "size": (["--max-bucket-size", "1048576"], {"history": 5, "max_bucket_size": "1MiB"}),
    "all": (
        ["--history", "1", "--ttl", "24h", "--replicas", "1", "--max-bucket-size", "500000"],
        {"history": 1, "ttl": "1d", "replicas": 1, "max_bucket_size": 500000},
    ),
}
# Options for which `choria kv add` has no flags
BEYOND: dict[str, Any] = {
    "description": "by Ansible",
    "history": 3,
    "ttl": "1h",
    "max_value_size": "1KiB",
    "max_bucket_size": "1MiB",
    "storage": "memory",
    "compression": True,
    "limit_marker_ttl": "1m",
    "metadata": {"owner": "ansible"},
    "republish": {"src": "$KV.BEYOND.>", "dest": "beyond.>"},
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_bucket_by_either(shared: Shared, name: str) -> None:
    arguments, given = SAME[name]
    theirs, ours = (f"{name.replace(' ', '_')}_{maker}".upper() for maker in ("theirs", "ours"))
    shared.program.run("kv", "add", theirs, *arguments)
    shared.apply(BUCKET, name=ours, **given)
    configs = [
        {path: str(value).replace(bucket, "NAME") for path, value in shared.config(f"KV_{bucket}").items()}
        for bucket in (theirs, ours)
    ]
    assert configs[0] == configs[1]
    assert not shared.plan(BUCKET, name=theirs, **given).changed
    before = shared.config(f"KV_{ours}")
    shared.program.run("kv", "add", ours, *arguments)
    assert shared.config(f"KV_{ours}") == before


def test_a_bucket_without_direct_reads_stays_so(shared: Shared) -> None:
    shared.program.run("kv", "add", "LEADER", "--no-direct")
    shared.program.run("kv", "put", "LEADER", "a", "x")
    assert not shared.apply(BUCKET, name="LEADER", history=5).changed
    assert not shared.put("LEADER", "a", b"x").changed
    assert not shared.config("KV_LEADER").get("allow_direct")


def test_the_program_leaves_options_that_it_cannot_set(shared: Shared) -> None:
    assert shared.apply(BUCKET, name="BEYOND", **BEYOND).changed
    before = shared.config("KV_BEYOND")
    for arguments in (
        ("add", "BEYOND", "--history", "9"),
        ("put", "BEYOND", "a", "one"),
        ("get", "BEYOND", "a"),
        ("history", "BEYOND", "a"),
        ("keys", "BEYOND"),
        ("ls",),
        ("del", "BEYOND", "a", "--force"),
        ("purge", "BEYOND", "a", "--force"),
    ):
        shared.program.run("kv", *arguments)
    status = shared.program.output("kv", "status", "BEYOND")
    assert re.search(r"History: 3\n +TTL: 1h0m0s\n +Max Bucket Size: 1048576\n +Max Value Size: 1024\n", status)
    assert shared.config("KV_BEYOND") == before
    assert not shared.plan(BUCKET, name="BEYOND", **BEYOND).changed


def test_a_bucket_deleted_by_either(shared: Shared) -> None:
    shared.apply(BUCKET, name="GONE")
    shared.program.run("kv", "del", "GONE", "--force")
    assert not shared.plan(BUCKET, name="GONE", state="absent").changed
    shared.program.run("kv", "add", "GONE")
    shared.apply(BUCKET, name="GONE", state="absent")
    assert "GONE" not in shared.program.output("kv", "ls")
