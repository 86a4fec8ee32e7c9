# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the lookup choria_kv in playbooks, how it groups reads, and how many connections it opens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_write
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.reader import KvReader
from support import ROOT
from support.connect import settings
from support.playbook import PlaybookResult, run_playbook
from support.server import NatsServer

if TYPE_CHECKING:
    from conftest import MakeServer

SECRET = "planted-secret"
OLD = "2.10"
KEYS: dict[str, bytes] = {
    "auth.username": b"admin",
    "auth.password": b"p",
    "auth.deep.er": b"d",
    "authority": b"a",
    "hosts/web1": b"1",
    "hosts/web2": b"2",
    "json": '{"a": [1, {"b": "ü"}], "secret": "planted-secret"}'.encode(),
    "yaml": b"a:\n  - 1\n  - two\n",
    "number": b"5",
    "empty": b"",
    "unicode": "grüße ☃".encode(),
    "deleted": b"x",
    "purged": b"x",
    "bytes": b"\xff\x00" + SECRET.encode(),
    "not_json": b'{"a": ' + SECRET.encode(),
    "not_yaml": b"a: &" + SECRET.encode() + b"\nb: *" + SECRET.encode() + b"x\n}",
}


def make_bucket(session: Session, name: str, **config: Any) -> kv.Bucket:
    defaults = {"max_msgs_per_subject": 5, "allow_direct": True, "allow_rollup_hdrs": True, "discard": "new"}
    streams.create(session, {"name": f"KV_{name}", "subjects": [f"$KV.{name}.>"], **defaults, **config})
    return kv.open_bucket(session, name)[0]


def fill(server: NatsServer) -> None:
    """The bucket CFG, with two revisions of auth.username (1 and 17), and the bucket INDIRECT without direct reads."""
    with Session(settings(servers=server.url)) as session:
        for bucket in (make_bucket(session, "CFG"), make_bucket(session, "INDIRECT", allow_direct=False)):
            for key, value in KEYS.items():
                kv_write.write(session, bucket, key, kv.PUT, value)
            kv_write.write(session, bucket, "auth.username", kv.PUT, b"root")
            kv_write.write(session, bucket, "deleted", kv.DELETED)
            kv_write.write(session, bucket, "purged", kv.PURGED)
        # Without this, servers of 2.10 do not copy purges, and the mirror answers half of the direct reads of CFG
        mirror = {"name": "KV_MIRROR", "mirror": {"name": "KV_CFG"}, "mirror_direct": True, "allow_rollup_hdrs": True}
        streams.create(session, mirror)


def lookup(*terms: str, function: str = "lookup", **options: Any) -> str:
    """Return the expression of a lookup. Text is used unchanged, other values are written as JSON."""
    options = {"bucket": "CFG", **options}
    given = [json.dumps(term) for term in terms]
    given += [f"{name}={json.dumps(value)}" for name, value in options.items() if value is not ...]
    return f"{{{{ {function}('choria.streams.choria_kv', {', '.join(given)}) }}}}"


def query(*terms: str, **options: Any) -> str:
    return lookup(*terms, function="query", **options)


FOUND: dict[str, tuple[str, Any]] = {
    "key": (lookup("auth.username"), "root"),
    "bucket in the term": (lookup("CFG/auth.username", bucket=...), "root"),
    "slash in the key": (lookup("CFG/hosts/web1", bucket=...), "1"),
    "several keys": (query("auth.username", "empty", "number", "auth.username"), ["root", "", "5", "root"]),
    "several buckets": (query("CFG/number", "INDIRECT/number", bucket=...), ["5", "5"]),
    "an empty list of keys": ("{{ query('choria.streams.choria_kv', [], bucket='CFG') }}", []),
    "a number for a key": ("{{ query('choria.streams.choria_kv', 2026, bucket='CFG', missing='empty') }}", [""]),
    "a list of keys": ("{{ query('choria.streams.choria_kv', ['number', 'empty'], bucket='CFG') }}", ["5", ""]),
    "without direct reads": (query("auth.username", "unicode", bucket="INDIRECT"), ["root", "grüße ☃"]),
    "mirror": (query("auth.username", "unicode", bucket="MIRROR"), ["root", "grüße ☃"]),
    "unicode": (lookup("unicode"), "grüße ☃"),
    "empty": (lookup("empty"), ""),
    "default": (lookup("nothing", default=80), 80),
    "default for deleted": (query("deleted", "purged", default=[1]), [[1], [1]]),
    "default is not looked at": (lookup("nothing", default="{", format="json", query="a"), "{"),
    "no default needed": (lookup("number", default=80), "5"),
    "skip": (query("nothing", "number", "deleted", missing="skip"), ["5"]),
    "as empty": (query("nothing", "number", missing="empty"), ["", "5"]),
    "revision": (lookup("auth.username", revision=1), "admin"),
    "revision of another key": (lookup("auth.username", revision=2, default="none"), "none"),
    "revision of a deletion": (lookup("deleted", revision=18, default="none"), "none"),
    "revision that never was": (lookup("auth.username", revision=99, default="none"), "none"),
    "history of nothing": (lookup("nothing", history=True, missing="empty"), []),
    "history, queried": (
        lookup("auth.username", history=True, query="[].[revision, value]"),
        [[1, "admin"], [17, "root"]],
    ),
    "history of deleted": (lookup("deleted", history=True, query="[].operation"), ["put", "delete"]),
    "history of purged": (lookup("purged", history=True, query="[].[operation, value, ttl]"), [["purge", None, None]]),
    "history without direct reads": (
        lookup("auth.username", bucket="INDIRECT", history=True, query="[].revision"),
        [1, 17],
    ),
    "prefix": (lookup("auth", prefix=True), {"deep.er": "d", "password": "p", "username": "root"}),
    "prefix with a dot": (lookup("auth.deep.", prefix=True), {"er": "d"}),
    "prefix with a slash": (lookup("hosts/", prefix=True), {"web1": "1", "web2": "2"}),
    "prefix, bucket in the term": (lookup("CFG/auth.deep", bucket=..., prefix=True), {"er": "d"}),
    "whole bucket": (lookup("", prefix=True, format="base64", query="length(@)"), len(KEYS) - 2),
    "prefix without keys": (lookup("nothing", prefix=True, missing="empty"), {}),
    "prefix without direct reads": (lookup("auth.deep", bucket="INDIRECT", prefix=True), {"er": "d"}),
    "prefix of a mirror": (lookup("auth.deep", bucket="MIRROR", prefix=True), {"er": "d"}),
    "several prefixes": (query("hosts/", "auth.deep", prefix=True), [{"web1": "1", "web2": "2"}, {"er": "d"}]),
    "JSON number": (lookup("number", format="json"), 5),
    "JSON, queried": (lookup("json", format="json", query="a[1].b"), "ü"),
    "query of nothing": (lookup("json", format="json", query="zzz"), None),
    "YAML": (lookup("yaml", format="yaml"), {"a": [1, "two"]}),
    "base64": (lookup("unicode", format="base64"), "Z3LDvMOfZSDimIM="),
    "as of a revision": (query("auth.username", "deleted", as_of=16), ["admin", "x"]),
    "as of a revision, without direct reads": (
        query("auth.username", "deleted", bucket="INDIRECT", as_of=16),
        ["admin", "x"],
    ),
    "as of a revision, of a mirror": (query("auth.username", "deleted", bucket="MIRROR", as_of=16), ["admin", "x"]),
    "as of a revision before it": (query("number", "auth.username", as_of=3, default="none"), ["none", "admin"]),
    "as of a revision after its deletion": (lookup("deleted", as_of=18, default="none"), "none"),
    "as of a revision to come": (lookup("auth.username", as_of=99), "root"),
    "as of a revision, a prefix": (
        lookup("auth", prefix=True, as_of=3),
        {"deep.er": "d", "password": "p", "username": "admin"},
    ),
    "as of a time to come": (query("auth.username", "number", as_of="2100-01-01T00:00:00Z"), ["root", "5"]),
    "as of the last time": (query("auth.username", "number", as_of="9999-12-31T23:59:59Z"), ["root", "5"]),
    "as of the first time": (lookup("auth.username", as_of="1000-01-01T00:00:00Z", default="none"), "none"),
    "as of a time before": (lookup("auth.username", as_of="2020-01-01T00:00:00Z", default="none"), "none"),
    "waited for": (query("number", "auth.username", wait="1m"), ["5", "root"]),
    "waited for in vain": (query("nothing", "number", "deleted", wait="100ms", default="none"), ["none", "5", "none"]),
    "cache": (query("number", "empty", cache_ttl="1m"), ["5", ""]),
}
FAILED: dict[str, tuple[str, str]] = {
    "missing": (
        lookup("number", "nothing"),
        "key nothing of bucket CFG does not exist: check the name, or give default or missing.",
    ),
    "deleted": (lookup("deleted"), "key deleted of bucket CFG was deleted at 20"),
    "purged": (lookup("purged"), "key purged of bucket CFG was deleted at 20"),
    "missing prefix": (
        lookup("nothing", prefix=True),
        "there are no keys below 'nothing.' in bucket CFG: check the name, or give default or missing.",
    ),
    "missing history": (lookup("nothing", history=True), "key nothing of bucket CFG does not exist: check the name"),
    "missing revision": (
        lookup("number", revision=99),
        "revision 99 of key number of bucket CFG does not exist: check the name, or give default or missing.",
    ),
    "no bucket": (
        lookup("a", bucket="NONE"),
        "bucket: there is no bucket NONE: create it with choria_kv_bucket, or check",
    ),
    "no bucket, prefix": (lookup("a", bucket="NONE", prefix=True), "bucket: there is no bucket NONE: create it"),
    "no bucket is named": (
        lookup("a", bucket=...),
        "bucket: is not given, and 'a' names none: give bucket, or write BUCKET/a.",
    ),
    "illegal bucket": (lookup("a", bucket="A.B"), "bucket: 'A.B' is not allowed: a bucket's name is made of letters"),
    "illegal key": (lookup("a b"), "key: 'a b' is not allowed: a key is made of letters, digits, -, _, /, = and dots"),
    "wildcard": (lookup("auth.*"), "key: 'auth.*' is not allowed"),
    "illegal prefix": (lookup("a b", prefix=True), "prefix: 'a b' is not the beginning of a key: a key is made of"),
    "no text": (
        "{{ lookup('choria.streams.choria_kv', true, bucket='CFG') }}",
        "key: a key is text, and this one is a bool: put quotes around it, or check its variable.",
    ),
    "a dict": (
        "{{ query('choria.streams.choria_kv', {'a': 1}, bucket='CFG') }}",
        "key: a key is text, and this one is a dict: put quotes around it, or check its variable.",
    ),
    "no key": (
        "{{ lookup('choria.streams.choria_kv', bucket='CFG') }}",
        "key: is not given, and the lookup reads nothing without one: write one, or '' with prefix=true for all keys",
    ),
    "no stream": ("{{ query('choria.streams.choria_stream') }}", "stream: is not given, and the lookup reads nothing"),
    "no governor": ("{{ query('choria.streams.choria_governor') }}", "governor: is not given, and the lookup reads no"),
    "as of a revision, purged": (
        lookup("purged", as_of=16),
        "as_of: key purged of bucket CFG was written after revision 16, and whether and what it was then is not kept "
        "any more: read without as_of, or give the bucket a longer history.",
    ),
    "bad as_of": (
        lookup("a", as_of="soon"),
        "as_of: 'soon' is neither a revision nor a time: write RFC 3339 such as 2",
    ),
    "as_of and history": (lookup("a", as_of=1, history=True), "as_of: can't be given together with history"),
    "as_of and wait": (lookup("a", as_of=1, wait="1s"), "as_of: can't be given together with wait: give one of them."),
    "wait and prefix": (
        lookup("a", prefix=True, wait="1s"),
        "wait: can't be given together with prefix: it is for the",
    ),
    "bad wait": (lookup("a", wait="soon"), "wait: 'soon' is not a duration"),
    "no bucket, wait": (lookup("a", bucket="NONE", wait="1s"), "bucket: there is no bucket NONE: create it"),
    "no value, wait": (lookup("nothing", wait="50ms"), "key nothing of bucket CFG does not exist: check the name"),
    "unknown option": (
        lookup("a", buckets="CFG"),
        "buckets: there is no such option, did you mean bucket: there are bucket, default, missing, revision, history, "
        "prefix, as_of, wait, format, query, cache_ttl, and the options of the connection.",
    ),
    "unknown format": (lookup("a", format="xml"), "format: 'xml' is not one of text, json, yaml, base64: give one"),
    "revision is not a number": (lookup("a", revision="one"), "revision: 'one' is not a whole number: give digits."),
    "revision is out of range": (lookup("a", revision=0), "revision: 0 is out of range: give 1 or more."),
    "revision is too large": (
        lookup("a", revision=2**70),
        "is too large: the server takes at most 9223372036854775807",
    ),
    "as_of is too large": (lookup("a", as_of="9" * 5000), "(5000 characters)' is neither a revision nor a time"),
    "no boolean": (lookup("a", history="maybe"), "history: 'maybe' is not a boolean: give true or false."),
    "no boolean of a connection": (lookup("a", validate_certs="ture"), "validate_certs: 'ture' is not a boolean: give"),
    "bad cache_ttl": (
        lookup("a", cache_ttl="soon"),
        "cache_ttl: 'soon' is not a duration: write seconds, or text such",
    ),
    "bad timeout": (lookup("a", timeout="soon"), "timeout: 'soon' is not a duration"),
    "history and prefix": (
        lookup("a", history=True, prefix=True),
        "history: can't be given together with prefix: give one of them.",
    ),
    "revision of several": (
        lookup("a", "b", revision=1),
        "revision: belongs to one key, and 2 are given: look them up one by one.",
    ),
    "query of text": (lookup("a", query="b"), "query: needs data to select from: set format to json or yaml."),
    "bad query": (lookup("json", format="json", query="a["), "query: 'a[' is not a JMESPath expression"),
    "query of another type": (
        lookup("json", format="json", query="abs(secret)"),
        "query: 'abs(secret)' can't be applied to key json of bucket CFG: a part of it is of another type.",
    ),
    "no JSON": (
        lookup("not_json", format="json"),
        "format: key not_json of bucket CFG is not JSON (at line 1, column 7): correct the value, or set another "
        "format.",
    ),
    "no YAML": (
        lookup("not_yaml", format="yaml"),
        "format: key not_yaml of bucket CFG is not YAML (at line 2, column 4): ",
    ),
    "no text in the value": (lookup("bytes"), "format: key bytes of bucket CFG is not UTF-8 text (at byte 0): correct"),
    "no JSON below": (lookup("", prefix=True, format="json"), "is not JSON (at line 1, column 1)"),
    "no JSON in history": (
        lookup("not_json", history=True, format="json"),
        "format: key not_json of bucket CFG is not",
    ),
}


def play(expressions: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a play with a task for each expression. Some of them may fail."""
    tasks = [
        {"name": name, "ansible.builtin.debug": {"msg": expression}, "ignore_errors": True}
        for name, expression in expressions.items()
    ]
    return [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]


@pytest.fixture(scope="module", params=["latest", OLD])
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the results of all lookups that succeed, from one template."""
    with NatsServer(version=request.param if request.param == OLD else None) as server:
        fill(server)
        everything = {name: expression for name, (expression, _expected) in FOUND.items()}
        result = run_playbook(play({"found": everything}), env={"CHORIA_STREAMS_SERVERS": server.url})
        assert result.task("found").status == "ok", result.output
        return dict(result.task("found").result["msg"])


@pytest.mark.parametrize("name", FOUND)
def test_lookups_that_succeed(found: dict[str, Any], name: str) -> None:
    assert found[name] == FOUND[name][1]


@pytest.fixture(scope="module")
def failed() -> PlaybookResult:
    with NatsServer() as server:
        fill(server)
        expressions = {name: expression for name, (expression, _sentence) in FAILED.items()}
        return run_playbook(play(expressions), env={"CHORIA_STREAMS_SERVERS": server.url}, args=["-vvv"]).check()


@pytest.mark.parametrize("name", FAILED)
def test_lookups_that_fail(failed: PlaybookResult, name: str) -> None:
    task = failed.task(name)
    assert task.status == "failed"
    assert FAILED[name][1] in task.message
    # The message appears once, without texts of lower layers
    assert task.message.count(FAILED[name][1][:20]) == 1


def test_values_are_never_in_errors(failed: PlaybookResult) -> None:
    assert SECRET not in failed.output
    assert "Traceback" not in failed.output


def test_history_returns_all_revisions(make_server: MakeServer) -> None:
    server = make_server()
    fill(server)
    result = run_playbook(
        play({"history": lookup("auth.username", history=True)}), env={"CHORIA_STREAMS_SERVERS": server.url}
    )
    first, second = result.task("history").result["msg"]
    assert second.pop("created") > first.pop("created")
    assert first == {"revision": 1, "operation": "put", "value": "admin", "ttl": None}
    assert second == {"revision": 17, "operation": "put", "value": "root", "ttl": None}


def test_a_thousand_lookups_share_a_connection(make_server: MakeServer) -> None:
    server = make_server()
    fill(server)
    before = server.monitor("varz")["total_connections"]
    many = "{% for number in range(1000) %}" + lookup("auth.username") + "{% endfor %}"
    result = run_playbook(play({"many": many}), env={"CHORIA_STREAMS_SERVERS": server.url}).check()
    assert result.task("many").result["msg"] == "root" * 1000
    assert server.monitor("varz")["total_connections"] - before == 1


def test_each_host_has_its_own_connection_options(make_server: MakeServer) -> None:
    servers = {name: make_server() for name in ("one", "two")}
    for name, server in servers.items():
        with Session(settings(servers=server.url)) as session:
            kv_write.write(session, make_bucket(session, "CFG"), "name", kv.PUT, name.encode())
    local = {"ansible_connection": "local"}
    hosts = {name: {**local, "choria_streams_servers": server.url} for name, server in servers.items()}
    # One process for both: the template of one host uses the variables of the other host
    tasks = [
        {
            "name": "both",
            "ansible.builtin.debug": {"msg": "{{ groups.all | map('extract', hostvars, 'found') | list }}"},
        }
    ]
    result = run_playbook(
        [{"hosts": "all", "gather_facts": False, "vars": {"found": lookup("name")}, "tasks": tasks}],
        inventory={"all": {"hosts": hosts, "vars": {"found": lookup("name")}}},
    ).check()
    assert result.task("both", "one").result["msg"] == ["one", "two"]


def test_short_name(make_server: MakeServer) -> None:
    server = make_server()
    fill(server)
    found = "{{ lookup('choria_kv', 'auth.username', bucket='CFG') }}"
    folder = ROOT / ".build/ansible_collections/choria/streams/plugins/lookup"
    config = f"[defaults]\nlookup_plugins = {folder}\n[choria_streams]\nservers = {server.url}\n"
    result = run_playbook(play({"short": found}), config=config).check()
    assert result.task("short").result["msg"] == "root"


def test_cache(make_server: MakeServer) -> None:
    server = make_server()
    fill(server)
    many = "{% for number in range(50) %}" + lookup("auth.username", cache_ttl="1m") + "{% endfor %}"
    before = server.monitor("varz")["in_msgs"]
    run_playbook(play({"many": many}), env={"CHORIA_STREAMS_SERVERS": server.url}).check()
    # One request for the bucket, and one for the key
    assert server.monitor("varz")["in_msgs"] - before == 2


def test_least_permissions(make_server: MakeServer) -> None:
    """A user who may read only some keys, and not the bucket, can read them one by one."""
    reads = [f"$JS.API.DIRECT.GET.KV_CFG.$KV.CFG.{key}" for key in ("number", "auth.username")]
    server = make_server(
        {
            "accounts": {
                "A": {
                    "jetstream": "enabled",
                    "users": [
                        {"user": "admin", "password": "p"},
                        {"user": "reader", "password": "p", "permissions": {"publish": reads}},
                    ],
                }
            }
        }
    )
    with Session(settings(servers=server.url, user="admin", password="p")) as session:
        bucket = make_bucket(session, "CFG")
        for key in ("number", "auth.username", "secret"):
            kv_write.write(session, bucket, key, kv.PUT, SECRET.encode() if key == "secret" else b"x")
    asked = {"allowed": query("number", "auth.username"), "refused": lookup("secret"), "below": lookup("", prefix=True)}
    result = run_playbook(
        play(asked),
        env={"CHORIA_STREAMS_SERVERS": server.url, "CHORIA_STREAMS_USER": "reader", "CHORIA_STREAMS_PASSWORD": "p"},
    )
    assert result.task("allowed").result["msg"] == ["x", "x"]
    assert "$JS.API.DIRECT.GET.KV_CFG.$KV.CFG.secret" in result.task("refused").message
    assert "$JS.API.DIRECT.GET.KV_CFG" in result.task("below").message
    assert SECRET not in result.output


def test_a_bucket_that_is_created_again_is_read_again(nats_server: NatsServer) -> None:
    with Session(settings(servers=nats_server.url)) as session:
        reader = KvReader(session)
        for config in ({}, {"allow_direct": False}, {"allow_direct": True}):
            bucket = make_bucket(session, "ANEW", storage="memory", **config)
            kv_write.write(session, bucket, "key", kv.PUT, b"x")
            assert reader.last({"ANEW": ["key"]})["ANEW"]["key"].value == b"x"
            streams.delete(session, "KV_ANEW")
        with pytest.raises(StreamsError, match="there is no bucket ANEW"):
            reader.last({"ANEW": ["key"]})


def test_a_missing_bucket_with_permissions_for_keys_only(make_server: MakeServer) -> None:
    """The user can't read whether the bucket exists. Only the answer for the key shows it, and each lookup reports
    the same.
    """
    permissions = {"publish": ["$JS.API.DIRECT.GET.>"], "subscribe": ["_INBOX.>"]}
    users = [{"user": "reader", "password": "p", "permissions": permissions}]
    server = make_server({"authorization": {"users": users}})
    with Session(settings(servers=server.url, user="reader", password="p"), read_only=True) as session:
        for _lookup in range(2):
            with pytest.raises(StreamsError, match="there is no bucket NOPE"):
                KvReader(session).last({"NOPE": ["key"]})


def test_a_server_that_hangs_is_waited_for_once(make_server: MakeServer) -> None:
    server = make_server()
    options = {"timeout": "500ms", "connect_timeout": "500ms"}
    with Session(settings(servers=server.url, **options), read_only=True) as session:
        session.connect()
        with server.frozen(), pytest.raises(StreamsError, match="stopped answering: nothing came for "):
            KvReader(session).last({"HANGS": ["key"]})
