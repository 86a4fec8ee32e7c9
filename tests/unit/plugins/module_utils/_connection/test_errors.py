# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The flag of `choria jwt` that allows a refused subject. The broker's rules are in go-choria,
broker/network/choria_auth.go.
"""

from __future__ import annotations

import pytest

from ansible_collections.choria.streams.plugins.module_utils._choria.tokens import CLIENT, SERVER, Token
from ansible_collections.choria.streams.plugins.module_utils._connection.errors import (
    PUBLISH,
    SUBSCRIBE,
    missing_permission,
)

USER, ADMIN, GOVERNOR, EVENTS = "--stream-user", "--stream-admin", "--governor --stream-user", "--event-viewer"
# The flag for a client's token and for a server's, None if no server's token may do it
PUBLISHING: dict[str, tuple[str, str | None]] = {
    "$JS.API.INFO": (USER, None),
    "$JS.hub.API.STREAM.NAMES": (USER, None),
    "$JS.API.STREAM.INFO.GOVERNOR_PUPPET": (USER, USER),
    "choria.streams.STREAM.INFO.ORDERS": (USER, USER),
    "$JS.API.STREAM.MSG.GET.ORDERS": (USER, USER),
    "$JS.API.STREAM.MSG.DELETE.GOVERNOR_PUPPET": (USER, USER),
    "$JS.API.DIRECT.GET.KV_CFG.$KV.CFG.a.b": (USER, USER),
    "$JS.API.CONSUMER.CREATE.ORDERS.name": (USER, USER),
    "$JS.API.CONSUMER.DELETE.ORDERS.name": (USER, None),
    "$KV.CFG.auth.password": (USER, None),
    "$JS.API.STREAM.CREATE.ORDERS": (ADMIN, None),
    "$JS.API.STREAM.DELETE.GOVERNOR_PUPPET": (ADMIN, None),
    "$JS.API.STREAM.PURGE.ORDERS": (ADMIN, None),
    "choria.streams.STREAM.CREATE.ORDERS": (ADMIN, None),
    "mcollective.governor.PUPPET": (GOVERNOR, GOVERNOR),
    "choria.lifecycle.event.governor.ansible": (GOVERNOR, GOVERNOR),
    "mcollective.submission.in.x": ("--publish mcollective.submission.in.x", "--submission"),
    "orders.new": ("--publish orders.new", "--subjects orders.new"),
}
SUBSCRIBING: dict[str, tuple[str, str | None]] = {
    "choria.lifecycle.event.>": (EVENTS, None),
    "$JS.EVENT.ADVISORY.>": (ADMIN, None),
    "orders.>": ("--subscribe orders.>", None),
}
CASES = [(verb, *row) for verb, rows in ((PUBLISH, PUBLISHING), (SUBSCRIBE, SUBSCRIBING)) for row in rows.items()]


def token(purpose: str) -> Token:
    return Token("", purpose, "joe", "choria", None, ())


@pytest.mark.parametrize(("verb", "subject", "flags"), CASES)
def test_flag_for_a_subject(verb: str, subject: str, flags: tuple[str, str | None]) -> None:
    client, server = flags
    by_client = f"made with 'choria jwt client … {client}'"
    expected = [
        (None, client, f"allow it for the user, or use a Choria token {by_client}"),
        (token(CLIENT), client, f"make the token of joe with 'choria jwt client … {client}'"),
        (token(SERVER), client, f"no server's token may, so use a client's, {by_client}")
        if server is None
        else (token(SERVER), server, f"make the token of joe with 'choria jwt server … {server}'"),
    ]
    for jwt, flag, remedy in expected:
        error = missing_permission(verb, subject, jwt)
        assert error.message == f"These credentials may not {verb} {subject}: {remedy}."
        name = flag.split()[0].removeprefix("--")
        assert error.failure == {"code": "permission", "subject": subject, "permission": name}
