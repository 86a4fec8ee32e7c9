# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lookup choria_stream with other servers than the target's: old, restricted, without JetStream, and large
streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from support.connect import settings
from support.playbook import run_playbook

if TYPE_CHECKING:
    from conftest import MakeServer

ALL = ["$JS.API.STREAM.MSG.GET.>", "$JS.API.DIRECT.GET.>"]


def look_up(url: str, **expressions: str) -> dict[str, Any]:
    """Return the result of each expression, or the message of its failure. `look(…)` in it is the lookup."""

    def written(expression: str) -> str:
        return "{{ " + expression.replace("look(", "query('choria.streams.choria_stream', ") + " }}"

    tasks = [
        {"name": name, "ansible.builtin.debug": {"msg": written(expression)}, "ignore_errors": True}
        for name, expression in expressions.items()
    ]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    result = run_playbook([play], env={"CHORIA_STREAMS_SERVERS": url}).check()
    return {name: result.task(name).result["msg"] for name in expressions}


@pytest.mark.parametrize("version", [None, "2.10"])
def test_a_large_stream(make_server: MakeServer, version: str | None) -> None:
    server = make_server(version=version)
    with Session(settings(servers=server.url)) as session:
        streams.create(session, {"name": "LARGE", "subjects": ["large.*"], "allow_direct": True})
        requests = [Request(f"large.{number % 10}", b'{"number": %d}' % number) for number in range(5000)]
        session.request_many(requests)
    found = look_up(
        server.url,
        all="look('LARGE', since='1h') | length",
        limited="look('LARGE', since='1h', limit=700, format='json', query='[-1].number')",
        subject="look('LARGE', start_sequence=1, subject='large.3') | length",
        last="look('LARGE', last=2, subject='large.3', format='json', query='[].number')",
    )
    assert found == {"all": 5000, "limited": [699], "subject": 500, "last": [4983, 4993]}


def test_without_permission(make_server: MakeServer) -> None:
    users = [
        {"user": "root", "password": "secret"},
        {"user": "ann", "password": "hidden", "permissions": {"publish": {"deny": ALL}}},
    ]
    server = make_server({"authorization": {"users": users}})
    with Session(settings(servers=server.url, user="root", password="secret")) as session:
        streams.create(session, {"name": "A", "subjects": ["a"]})
    found = look_up(
        server.url,
        last="look('A', user='ann', password='hidden')",
        several="look('A', since='1h', user='ann', password='hidden')",
        nobody="look('A', user='ann', password='wrong')",
    )
    for name in ("last", "several"):
        assert "choria_stream: These credentials may not publish to $JS.API.STREAM.MSG.GET.A" in found[name]
    assert "refused the credentials (check user and password)" in found["nobody"]
    assert not any(secret in str(found) for secret in ("hidden", "wrong"))


def test_without_jetstream(make_server: MakeServer) -> None:
    found = look_up(make_server(jetstream=False).url, last="look('A')", several="look('A', since='1h')")
    assert all("choria_stream: JetStream is not enabled on the server" in message for message in found.values())
