# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""No secret is in an event: by its key, by its place in a text, or because it is known."""

from __future__ import annotations

import json
import queue
import threading
import time
from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.plugin_utils._results import events as _events
from ansible_collections.choria.streams.plugins.plugin_utils._results.masking import Masking

SECRET = "PLANTED-value"
LIMIT = 65536


def encoded(data: dict[str, Any], masking: Masking, limit: int = LIMIT) -> str:
    event = _events.Event(_events.TASK_RESULT, "run", 1, 0.0, data, "web1")
    return _events.encode(event, limit, masking).decode()


def message(value: Any, masking: Masking | None = None) -> Any:
    return json.loads(encoded({"msg": value}, masking or Masking()))["data"]["msg"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password=PLANTED", "password=(masked)"),
        ("password: PLANTED and more", "password: (masked) and more"),
        ("DB_PASSWORD=PLANTED host=db1", "DB_PASSWORD=(masked) host=db1"),
        ("ansible_ssh_pass = PLANTED", "ansible_ssh_pass = (masked)"),
        ("{'api_token': 'PLANTED, PLANTED', 'port': 80}", "{'api_token': '(masked)', 'port': 80}"),
        ('{"client_secret": "PLANTED"}', '{"client_secret": "(masked)"}'),
        (r'"{\"secret\": \"PLANTED\"}"', r'"{\"secret\": \"(masked)\"}"'),
        ("'token' => 'PLANTED'", "'token' => '(masked)'"),
        ("GET /?token=PLANTED&page=2", "GET /?token=(masked)&page=2"),
        ("http://127.0.0.1:80/?page=token=PLANTED", "http://127.0.0.1:80/?page=token=(masked)"),
        ("msg: password=PLANTED", "msg: password=(masked)"),
        ("{'msg': 'password=PLANTED'}", "{'msg': 'password=(masked)'}"),
        ("mysql --password PLANTED -h db1", "mysql --password (masked) -h db1"),
        ("['mysql', '--password', 'PLANTED', 'db1']", "['mysql', '--password', '(masked)', 'db1']"),
        ("Authorization: Bearer PLANTED", "Authorization: Bearer (masked)"),
        ("sent bearer PLANTEDPLANTED to it", "sent bearer (masked) to it"),
        ("https://u:PLANTED@db1/x", "https://db1/x"),
        ("https://PLANTED@github.com/x.git", "https://github.com/x.git"),
        ("postgres://u:PLAN@TED@db1/x", "postgres://db1/x"),
        ("postgres://u:PLAN/TED@db1/x", "postgres://db1/x"),
        ("nats://u:PLANTED@a:4222,nats://v:PLANTED@b", "nats://a:4222,nats://b"),
        ("u:PLANTED@127.0.0.1:4222", "(masked)@127.0.0.1:4222"),
        ("['nats://a', 'u:PLANTED@b:4222']", "['nats://a', '(masked)@b:4222']"),
        ("servers=u:PLANTED@b:4222", "servers=(masked)@b:4222"),
        ("nats:/u:PLANTED@b:4222", "(masked)@b:4222"),
        ("it is $REDACTED$", "it is (masked)"),
        ("-----BEGIN EC PRIVATE KEY-----\nPLANTED\n-----END EC PRIVATE KEY-----\nand", "(masked)\nand"),
        ("-----BEGIN PRIVATE KEY-----\nPLANTED", "(masked)"),
    ],
)
def test_secrets_in_texts(text: str, expected: str) -> None:
    assert message(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "All is well: 3 of 4",
        "http://db1:8080/path?mail=bob@example.net",
        "write to bob@example.net",
        "key=value, name: bob",
        "Incorrect password",
        "basic setup",
        "registry/image:tag@sha256:1234567890abcdef",
        "git@github.com:a/b, at 10:30, mail bob@example.net:",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert message(text) == text


def test_secrets_under_telling_keys() -> None:
    value = {
        "user": "bob",
        "password": "PLANTED",
        "tokens": ["PLANTED", {"a": "PLANTED"}],
        "update_password": True,
        "secret": None,
        "env": [{"name": "API_TOKEN", "value": "PLANTED"}, {"name": "PORT", "value": "80"}],
    }
    assert message(value) == {
        "user": "bob",
        "password": "(masked)",
        "tokens": "(masked)",
        "update_password": True,
        "secret": None,
        "env": [{"name": "API_TOKEN", "value": "(masked)"}, {"name": "PORT", "value": "80"}],
    }


def test_keys_and_expressions_may_be_added() -> None:
    masking = Masking(["*pin*"], [r"C-\d{4}"])
    assert message({"pin_code": 1234, "text": "pin=1234, C-4711 stays"}, masking) == {
        "pin_code": "(masked)",
        "text": "pin=(masked) (masked) stays",
    }


def test_a_bad_expression_is_named() -> None:
    with pytest.raises(ValueError, match=r"'\(' is not a regular expression"):
        Masking([], ["("])


@pytest.mark.parametrize(
    ("secret", "text", "expected"),
    [
        (SECRET, f"at {SECRET}, twice {SECRET}", "at (masked), twice (masked)"),
        (SECRET, {SECRET: [SECRET]}, {"(masked)": ["(masked)"]}),
        ('a "quoted"\\ one', 'it is a "quoted"\\ one', "it is (masked)"),
        ('a "quoted"\\ one', json.dumps({"x": 'a "quoted"\\ one'}), '{"x": "(masked)"}'),
        ("geheim-Übung", "die geheim-Übung", "die (masked)"),
        ("geheim-Übung", json.dumps("geheim-Übung"), '"(masked)"'),
        ("p&ss/w?rd", "?p=p%26ss%2Fw%3Frd", "?p=(masked)"),
        ("first line\nsecond line", "only the second line is here", "only the (masked) is here"),
        ("app1", "app1 is no part of app12 or my_app1", "(masked) is no part of app12 or my_app1"),
        ("true", "all true", "all true"),
        ("abc", "abc", "abc"),
    ],
)
def test_known_secrets(secret: str, text: Any, expected: Any) -> None:
    masking = Masking()
    masking.add(secret)
    assert message(text, masking) == expected


def test_the_longer_of_two_secrets_goes_first() -> None:
    masking = Masking()
    masking.add("PLANTED1")
    masking.add("PLANTED1-and-more")
    assert message("PLANTED1-and-more", masking) == "(masked)"


def test_names_of_hosts_and_modules_stay() -> None:
    masking = Masking()
    masking.add("ansible-host")
    name = "ansible-host"
    data = {"host": name, "hosts": {name: {}}, "task": {"action": name, "uuid": name, "name": name}}
    found = json.loads(encoded(data, masking))["data"]
    assert (found["host"], found["hosts"]) == (name, {name: {}})
    assert found["task"] == {"action": name, "uuid": name, "name": "(masked)"}


@pytest.mark.parametrize("before", range(900, 1100, 7))
def test_of_a_secret_that_is_cut_nothing_is_left(before: int) -> None:
    masking = Masking()
    masking.add("PLANTED-in-many-letters")
    for secret in ("PLANTED-in-many-letters", "https://user:PLANTED@db1/", "token=PLANTED"):
        text = "x" * before + " " + secret + " " + "y" * 2000
        assert "PLAN" not in encoded({"msg": text}, masking, 1200)


@pytest.mark.parametrize("known", [1, 20, 200])
def test_nor_where_masks_are_shorter_than_secrets(known: int) -> None:
    masking = Masking()
    secret = "PLANTED-in-many-letters"
    masking.add(secret)
    for after in range(len(secret)):
        text = f"{secret} " * known + "x" * after + f" {secret}" * 200
        found = json.loads(encoded({"msg": text}, masking, 1200))["data"]
        assert "PLAN" not in found["msg"]
        assert found["truncated"] == ["msg"]


def test_known_numbers() -> None:
    masking = Masking()
    masking.add("7654321")
    assert message({"pin": 7654321, "pins": [7654321, 765432]}, masking) == {
        "pin": "(masked)",
        "pins": ["(masked)", 765432],
    }
    found = json.loads(encoded({"index": 7654321, "rc": 7654321}, masking))["data"]
    assert (found["index"], found["rc"]) == (7654321, "(masked)")


@pytest.mark.parametrize("part", ["x", "://a:b", "-", "password", "a=", 'a: "', "\\", "bearer "])
def test_the_time_grows_with_the_length_alone(part: str) -> None:
    """With its square it would be minutes."""
    text = "password " + part * (1_000_000 // len(part))
    start = time.monotonic()
    Masking().text(text)
    assert time.monotonic() - start < 60


def test_secrets_are_learned_while_another_thread_masks() -> None:
    masking = Masking()
    texts: queue.SimpleQueue[str] = queue.SimpleQueue()
    leaked: list[str] = []

    def mask() -> None:
        while text := texts.get():
            if masking.suspects(text) is False or text in masking.text(text):
                leaked.append(text)

    threads = [threading.Thread(target=mask) for _thread in range(2)]
    for thread in threads:
        thread.start()
    for number in range(300):
        masking.add(f"planted-{number:04}")
        texts.put(f"planted-{number:04}")
    for _thread in threads:
        texts.put("")
    for thread in threads:
        thread.join()
    assert leaked == []
