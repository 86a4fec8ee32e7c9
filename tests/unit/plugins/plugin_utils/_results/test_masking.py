# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""No event contains a secret that can be recognized by its key, its place in a text, or a known value."""

from __future__ import annotations

import base64
import json
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.plugin_utils._results import events as _events
from ansible_collections.choria.streams.plugins.plugin_utils._results.masking import Masking

if TYPE_CHECKING:
    from collections.abc import Callable

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
        ("password='PLANTED PLANTED", "password='(masked)'"),
        ('token="PLANTED\nPLANTED" and more', 'token="(masked)" and more'),
        ("msg: password=PLANTED", "msg: password=(masked)"),
        ("{'msg': 'password=PLANTED'}", "{'msg': 'password=(masked)'}"),
        ("mysql --password PLANTED -h db1", "mysql --password (masked) -h db1"),
        ("['mysql', '--password', 'PLANTED', 'db1']", "['mysql', '--password', '(masked)', 'db1']"),
        ("mysql --password 'PLANTED PLANTED' -h db1", "mysql --password '(masked)' -h db1"),
        ("password: |-\n  PLANTED\n   PLANTED\nport: 80", "password: (masked)\nport: 80"),
        ("+password: >\n+  PLANTED\n+  PLANTED\n+port: 80", "+password: (masked)\n+port: 80"),
        ("tokens:\n  - PLANTED\n  - a: PLANTED\n    b: PLANTED\nport: 80", "tokens:(masked)\nport: 80"),
        ("tokens:\n- PLANTED\n- PLANTED\nport: 80", "tokens:(masked)\nport: 80"),
        ("+tokens:\n+- PLANTED\n-- PLANTED\n+port: 80", "+tokens:(masked)\n+port: 80"),
        ("db_credentials:\n  user: bob\n\n  pin: PLANTED\nport: 80", "db_credentials:(masked)\nport: 80"),
        ("password:\nPLANTED\nport: 80", "password:(masked)\nport: 80"),
        ('{"tokens": ["PLANTED", "PLANTED"], "port": 80}', '{"tokens": (masked), "port": 80}'),
        (
            "{'credentials': {'a': {'b': ['PLANTED'], 'c': 'PLANTED'}}, 'port': 80}",
            "{'credentials': (masked), 'port': 80}",
        ),
        ("tokens = [\n  'PLANTED',\n  'PLANTED'", "tokens = (masked)"),
        ("> Cookie: a=PLANTED; b=PLANTED\n> Host: db1", "> Cookie: (masked)\n> Host: db1"),
        ("curl -H 'Cookie: a=PLANTED; b=PLANTED' db1", "curl -H 'Cookie: (masked)' db1"),
        ("Authorization: ApiKey PLANTED", "Authorization: (masked)"),
        ("Authorization: Bearer PLANTED", "Authorization: Bearer (masked)"),
        ("sent bearer PLANTEDPLANTED to it", "sent bearer (masked) to it"),
        ("https://u:PLANTED@db1/x", "https://db1/x"),
        ("https://PLANTED@github.com/x.git", "https://github.com/x.git"),
        ("postgres://u:PLAN@TED@db1/x", "postgres://db1/x"),
        ("postgres://u:PLAN/TED@db1/x", "postgres://db1/x"),
        ("https://a/x?sv=1&sig=PLANTED%2B&se=2", "https://a/x?sv=1&sig=(masked)&se=2"),
        ("'https://a/?X-Amz-Signature=PLANTED', b", "'https://a/?X-Amz-Signature=(masked)', b"),
        ("nats://u:PLANTED@a:4222,nats://v:PLANTED@b", "nats://a:4222,nats://b"),
        ("u:PLANTED@127.0.0.1:4222", "(masked)@127.0.0.1:4222"),
        ("['nats://a', 'u:PLANTED@b:4222']", "['nats://a', '(masked)@b:4222']"),
        ("servers=u:PLANTED@b:4222", "servers=(masked)@b:4222"),
        ("nats:/u:PLANTED@b:4222", "(masked)@b:4222"),
        ("it is $REDACTED$", "it is (masked)"),
        (
            "- name: DB_PASSWORD\n  value: PLANTED\n- name: A\n  value: b",
            "- name: DB_PASSWORD\n  value: (masked)\n- name: A\n  value: b",
        ),
        (
            "+- name: 'DB_PASSWORD'\n+  value: |\n+    PLANTED\n+- name: A",
            "+- name: 'DB_PASSWORD'\n+  value: (masked)\n+- name: A",
        ),
        (
            '{"key": "api_token", "value": "PLANTED PLANTED", "a": "b"}',
            '{"key": "api_token", "value": "(masked)", "a": "b"}',
        ),
        (
            r'"{\"name\":\"DB_PASSWORD\",\n \"value\":\"PLANTED\"}"',
            r'"{\"name\":\"DB_PASSWORD\",\n \"value\":\"(masked)\"}"',
        ),
        ('<add key="api_key" value="PLANTED" />', '<add key="api_key" value="(masked)" />'),
        ("Name=db_password,Value=PLANTED Name=a,Value=b", "Name=db_password,Value=(masked) Name=a,Value=b"),
        ("<a><password>PLANTED</password><b>c</b></a>", "<a><password>(masked)</password><b>c</b></a>"),
        ("<s:Password s:type='x'>PLANTED\nPLANTED</s:Password>", "<s:Password s:type='x'>(masked)</s:Password>"),
        (
            '<property a="b" name="db_password">PLANTED</property>',
            '<property a="b" name="db_password">(masked)</property>',
        ),
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
        "- name: DB_PASSWORD\n- name: PORT\n  value: 80",
        "usage: login <user> <password> <host>",
        "<password/><user>bob</user>",
        "http://db1:8080/path?mail=bob@example.net",
        "write to bob@example.net",
        "key=value, name: bob",
        "Incorrect password",
        "sig=1, a signature=2 and ?design=3",
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


def test_secrets_behind_options_in_lists() -> None:
    command = ["mysql", "--password", "PLANTED", "-h", "db1", "--password-file"]
    assert message({"cmd": command}) == {"cmd": [*command[:2], "(masked)", *command[3:]]}


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
        ("p&ss/w?rd", "?p=p%26ss/w%3Frd", "?p=(masked)"),
        ("p&ss/w rd", "?p=p%26ss%2Fw+rd", "?p=(masked)"),
        ("p&ss/w rd", "?p=p%26ss%2fw%20rd", "?p=(masked)"),
        ("p&<ss>/w", r'{"x": "p\u0026\u003css\u003e/w"}', '{"x": "(masked)"}'),
        ("p&ss/w", r'{"x": "p&ss\/w"}', '{"x": "(masked)"}'),
        ("p<ss&w\"r'd", "<b>p&lt;ss&amp;w&quot;r&#x27;d</b>", "<b>(masked)</b>"),
        ('p<ss&w"r', '<b>p&lt;ss&amp;w"r</b>', "<b>(masked)</b>"),
        ("p<ss&w'rd", r"+ echo 'p<ss&w'\''rd'", "+ echo '(masked)'"),
        ("p<ss&w'rd", "<b>p&lt;ss&amp;w&#39;rd</b>", "<b>(masked)</b>"),
        ("p<ss&w'rd", """echo 'p<ss&w'"'"'rd'""", "echo '(masked)'"),
        ('p"ss\\w', json.dumps(json.dumps('p"ss\\w')), '"\\"(masked)\\""'),
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


def in_base64(before: int, after: int, secret: str = SECRET) -> str:
    return base64.b64encode(b"\0" * before + secret.encode() + b"\xff" * after).decode()


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("before", range(4))
def test_known_secrets_in_base64(before: int, after: int) -> None:
    masking = Masking()
    for secret in (SECRET, "p?>~\xfc p", "vwxyz"):
        masking.add(secret)
        text = in_base64(before, after, secret)
        assert message(f"--data={text}, and {text.rstrip('=')}.", masking) == "--data=(masked), and (masked)."
        of_urls = text.replace("+", "-").replace("/", "_")
        assert message({"jwt": [f"{of_urls}.{of_urls}"]}, masking) == {"jwt": ["(masked).(masked)"]}
        assert message(f"{{'a': '{text}'}}", masking) == "{'a': '(masked)'}"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n    "])
@pytest.mark.parametrize("width", [48, 64, 76])
@pytest.mark.parametrize("before", range(90, 140, 3))
def test_known_secrets_in_lines_of_base64(before: int, width: int, end: str) -> None:
    masking = Masking()
    masking.add(SECRET)
    whole = in_base64(before, 5)
    text = end.join(whole[start : start + width] for start in range(0, len(whole), width))
    assert message(f"data:{end}{text}{end}# more", masking) == f"data:{end}(masked){end}# more"
    assert message(json.dumps({"data": text}), masking) == '{"data": "(masked)"}'


def test_known_secrets_in_hexadecimal() -> None:
    masking = Masking()
    masking.add("app1")
    assert message("a 0061707031ff b 0061707031FF c", masking) == "a (masked) b (masked) c"


def test_other_base64_stays() -> None:
    masking = Masking()
    masking.add(SECRET)
    text = f"{in_base64(0, 0, 'PLANTED-other')} is not {SECRET}"
    assert message(text, masking) == text.replace(SECRET, "(masked)")


@pytest.mark.parametrize(
    ("secret", "text", "expected"),
    [
        ("key {{ name }} PLANTED", "key bob PLANTED", "key bob PLANTED"),
        ("keys: {{ name }} PLANTED-1", "keys: bob PLANTED-1", "keys: bob (masked)"),
        ("{% if x %}PLANTED-1{% endif %}{# no #}PLANTED-2\r\nPLANTED-3", "PLANTED-1PLANTED-2\nPLANTED-3", "(masked)"),
    ],
)
def test_lines_of_secret_templates(secret: str, text: str, expected: str) -> None:
    masking = Masking()
    masking.add(secret)
    assert message(text, masking).replace("(masked)(masked)\n(masked)", "(masked)") == expected


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


@pytest.mark.parametrize("length", [100, 300, 3000, 100_000])
@pytest.mark.parametrize("before", [600, 900, 960, 980, 1900])
@pytest.mark.parametrize(("opening", "closing"), [('token="', '"'), ("token='", "'"), ("nats://u:", "@host:1")])
@pytest.mark.parametrize("around", [lambda text: text, lambda text: [text], lambda text: {"a": {"b": text}}])
def test_a_secret_whose_end_is_cut(
    around: Callable[[str], Any], opening: str, closing: str, before: int, length: int
) -> None:
    text = f"{'x ' * (before // 2)}{opening}{'S' * length}{closing} end{' y' * 2000}"
    assert "SSS" not in encoded({"msg": around(text)}, Masking(), 2000)


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


@pytest.mark.parametrize(
    "part",
    [
        *("x", "://a:b", "-", "password", "a=", 'a: "', "\\", "bearer "),
        *(
            "?sig=",
            "&signature",
            "<",
            "<a ",
            "<a name=",
            "<password>",
            "name=",
            "name=a, ",
            "name: x value",
            r"name=x\\",
            r"name=x\n",
        ),
        *("password: [", "password:\n  ", "password: {a ", "[", "[a", "]", "password: [] "),
        *(f"{'A' * 76}\n", f"{'A' * 76}   ", rf"{'A' * 76}\\"),
    ],
)
def test_the_time_grows_with_the_length_alone(part: str) -> None:
    """Masking takes time that grows with the length of a text. If it grew with the square, this would take minutes."""
    text = "password value > " + part * (1_000_000 // len(part))
    masking = Masking()
    masking.add("A" * 40)
    start = time.monotonic()
    masking.text(text)
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
