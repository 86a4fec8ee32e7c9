# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The events of runs are CloudEvents for any result. Events of hidden results contain only the status."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import EncryptedString
from ansible.template import trust_as_template

from ansible_collections.choria.streams.plugins.doc_fragments.results import ModuleDocFragment
from ansible_collections.choria.streams.plugins.module_utils._operations.runs import kinds
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.events import host_word
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.journals import _BEHIND_PREFIX
from ansible_collections.choria.streams.plugins.plugin_utils._results import events as _events
from ansible_collections.choria.streams.plugins.plugin_utils._results import masking as _masking
from support import ROOT

RUN = "8a0f8a3e-7c5b-4b51-9d2e-1f5a4a3b2c1d"
LIMIT = 4096


def event(data: dict[str, Any], host: str = "web1") -> _events.Event:
    return _events.Event(_events.TASK_RESULT, RUN, 7, 1_767_225_600.25, data, host)


def encoded(data: dict[str, Any], limit: int = LIMIT) -> dict[str, Any]:
    payload = _events.encode(event(data), limit)
    assert len(payload) <= limit
    return dict(json.loads(payload)["data"])


def test_envelope() -> None:
    cloud_event = json.loads(_events.encode(event({"status": "ok"}), LIMIT))
    assert cloud_event == {
        "specversion": "1.0",
        "id": f"{RUN}.7",
        "source": "io.choria.streams.ansible",
        "type": "io.choria.streams.ansible.v1.task_result",
        "subject": "web1",
        "time": "2026-01-01T00:00:00.250000+00:00",
        "datacontenttype": "application/json",
        "data": {"run_id": RUN, "sequence": 7, "status": "ok"},
    }


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_each_kind_is_known_everywhere(kind: str) -> None:
    """Each kind has a schema, is a choice of the option, and is found behind the prefix of a journal's subject."""
    page = ROOT / "docs"
    assert (page / "schemas" / f"{kind}.json").is_file()
    assert f"](schemas/{kind}.json)" in (page / "results.md").read_text()
    events = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]["events"]
    assert (kind in events["choices"]) == (kind not in _events.ALWAYS)
    host = "web1" if kind.endswith("_result") else ""
    found = _events.subject("a.b", _events.Event(kind, RUN, 1, 0, {"status": "ok"}, host))
    assert _BEHIND_PREFIX.sub("", found) == "a.b"


def test_events_of_a_run_are_numbered_from_one() -> None:
    run = _events.Run(RUN)
    found = [run.event(kinds.PLAY_STARTED, 0.0, {}) for _count in range(3)]
    assert [item.sequence for item in found] == [1, 2, 3]
    assert _events.subject("a.b", found[0]) == "a.b.play_started"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("web1", "web1"),
        ("web1.example.net", "web1%2Eexample%2Enet"),
        ("fe80::1", "fe80::1"),
        ("a b", "a%20b"),
        ("*", "%2A"),
        (">", "%3E"),
        ("50%", "50%25"),
        ("müller", "m%C3%BCller"),
        ("a\nb", "a%0Ab"),
        ("\udc80", "%3F"),
    ],
)
def test_hosts_are_one_word_of_a_subject(host: str, expected: str) -> None:
    assert host_word(host) == expected


class Odd:
    def __str__(self) -> str:
        raise RuntimeError("not for you")


def endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["again"] = value
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (trust_as_template("{{ tagged }}"), "{{ tagged }}"),
        (b"bytes \xff", "bytes \\xff"),
        ("surrogate \udcff", "surrogate ?"),
        (True, True),
        (None, None),
        (2**80, 2**80),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (datetime.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ((1, [2, {3}]), [1, [2, [3]]]),
        ({1: "a", None: "b", b"c": "d"}, {"1": "a", "None": "b", "c": "d"}),
        (Odd(), "<Odd>"),
        (Odd, "<type>"),
        ([10**5000], ["<int>"]),
        ({10**5000: [-(10**5000)], Odd(): "odd"}, {"<int>": ["<int>"], "<Odd>": "odd"}),
    ],
)
def test_every_value_becomes_json(value: Any, expected: Any) -> None:
    assert encoded({"msg": value})["msg"] == expected


def test_encrypted_values_stay_encrypted() -> None:
    secret = EncryptedString(ciphertext="$ANSIBLE_VAULT;1.1;AES256\n6162")
    assert encoded({"msg": {"word": secret}})["msg"] == {"word": "<EncryptedString>"}


def test_a_value_that_holds_itself_ends() -> None:
    assert "truncated" not in encoded({"msg": endless()})


def test_a_value_that_holds_itself_many_times_ends_and_stays_masked() -> None:
    word = "correct-horse"
    masking = _masking.Masking()
    masking.add(word)
    many: list[Any] = []
    many += [many, many, word]
    found = _events.encode(_events.Event("task_result", RUN, 7, 0.0, {"msg": [many, {"own": word}]}), 65536, masking)
    assert word.encode() not in found
    assert json.loads(found)["data"]["truncated"] == ["msg"]


@pytest.mark.parametrize(
    "value",
    ["x" * 100_000, "ü" * 100_000, "\x00" * 100_000, ["y" * 50] * 10_000, {str(i): i for i in range(50_000)}],
    ids=["text", "wide text", "escaped text", "list", "dict"],
)
def test_long_values_are_cut_and_named(value: Any) -> None:
    found = encoded({"status": "failed", "msg": value, "rc": 1})
    assert found["truncated"] == ["msg"]
    assert (found["status"], found["rc"]) == ("failed", 1)
    assert found["msg"]


def test_data_that_can_not_be_cut_is_left_out() -> None:
    found = encoded({f"field {number}": "x" * 20 for number in range(200)}, 1024)
    assert found == {"run_id": RUN, "sequence": 7, "truncated": ["data"]}


def test_finished_run_of_many_hosts_fits() -> None:
    counts = {"ok": 10, "failures": 0, "unreachable": 0, "changed": 3, "skipped": 1, "rescued": 0, "ignored": 0}
    found = encoded({"outcome": "succeeded", "hosts": {f"host{number}": counts for number in range(20_000)}}, 65536)
    assert found["truncated"] == ["hosts"]
    assert found["outcome"] == "succeeded"
    assert len(found["hosts"]) > 100
