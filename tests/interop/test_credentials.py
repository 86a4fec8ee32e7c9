# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates and tokens of choria_credentials work with the real program and with TLS."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.module_utils._operations.credentials import SPEC, act
from support.choria import ChoriaClient

if TYPE_CHECKING:
    from pathlib import Path


def make(folder: Path, **given: Any) -> dict[str, Any]:
    defaults = {row.option: row.argument().get("default") for row in SPEC}
    return act({**defaults, "folder": str(folder), **given}, False)["credentials"]


def test_the_program_verifies_the_tokens(tmp_path: Path) -> None:
    made = make(
        tmp_path,
        server_tokens=[
            {"name": "node1.example.net", "permissions": ["submission", "streams"], "publish": ["orders.>"]}
        ],
        client_tokens=[
            {
                "name": "admin",
                "permissions": ["streams_admin", "governor"],
                "publish": ["ansible.runs.>"],
                "subscribe": ["orders.new"],
            }
        ],
    )
    program = ChoriaClient("x", tmp_path)
    issuer = tmp_path / "issuer.public"
    server, client = (program.output("jwt", "view", token["token"], issuer) for token in made["tokens"])
    assert "Validated Server Token" in server
    assert "node1.example.net" in server
    assert "Validated Client Identification Token" in client
    assert "Can administer Choria Streams" in client
    assert "orders.>" in server
    assert "ansible.runs.>" in client
    assert "orders.new" in client


def test_the_certificates_are_of_the_authority(tmp_path: Path) -> None:
    made = make(tmp_path, certificates=[{"name": "broker1", "hosts": ["broker1", "127.0.0.1"]}])
    [pair] = made["certificates"]
    context = ssl.create_default_context(cafile=made["authority"])
    context.load_cert_chain(pair["certificate"], pair["key"])
