# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections of brokers that the role configures, with real brokers: leafnodes, gateways, websockets, federation,
adapters.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

import yaml

from ansible_collections.choria.streams.plugins.module_utils._operations.config_file import render
from ansible_collections.choria.streams.plugins.plugin_utils._role.settings import joined_settings
from support import ROOT
from support.choria import ChoriaBroker
from support.ports import free_port, free_ports

if TYPE_CHECKING:
    from pathlib import Path

    from support.tls import Pair

ROLE = ROOT / "roles" / "choria"
DEFAULTS = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())


def written(**variables: Any) -> dict[str, str]:
    """Return the lines that the role writes for these variables."""
    settings = joined_settings({**DEFAULTS, **variables})
    return render({"settings": settings, "other_keys": [], "program": None})


def certificate_of(broker: ChoriaBroker, name: str) -> dict[str, str]:
    """Return the TLS settings for connections to this broker."""
    pair: Pair = broker.authority.issue(name, ["localhost"], folder=broker.folder)
    return {"ca": str(broker.authority.path), "cert": str(pair.certificate), "key": str(pair.key)}


class StreamlessBroker(ChoriaBroker):
    """A broker without streams. With streams, a broker with gateways must belong to a cluster."""

    _ready = "Server is ready"


def test_nothing_is_written_where_nothing_is_joined() -> None:
    assert written() == {}


def test_leafnode() -> None:
    port = free_port()
    with ChoriaBroker(config=written(choria_leafnode_port=port)) as head:
        remote = {"url": [f"nats://localhost:{port}"], "account": "choria", "tls": certificate_of(head, "branch")}
        with ChoriaBroker(config=written(choria_leafnode_remotes={"head": remote})) as branch:
            head.wait_for("Leafnode connection created")
            branch.wait_for("Leafnode connection created")


def test_gateways() -> None:
    ports = dict(zip(("EAST", "WEST"), free_ports(2), strict=True))

    def other(own: str, far: str) -> dict[str, str]:
        remote = {far: {"urls": [f"nats://localhost:{ports[far]}"]}}
        lines = written(choria_gateway_name=own, choria_gateway_port=ports[own], choria_gateway_remotes=remote)
        return {**lines, "plugin.choria.network.stream.store": "", "identity": own}

    with StreamlessBroker(config=other("EAST", "WEST")) as east, StreamlessBroker(config=other("WEST", "EAST")) as west:
        for broker, far in ((east, "WEST"), (west, "EAST")):
            broker.wait_for(f'Outbound gateway connection to \\"{far}\\"')


def test_websocket() -> None:
    port = free_port()
    with ChoriaBroker(config=written(choria_websocket_port=port)) as broker:
        shown = certificate_of(broker, "browser")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(shown["ca"])
        context.load_cert_chain(shown["cert"], shown["key"])
        headers = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade"}
        headers.update({"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="})
        request = "GET / HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        with (
            socket.create_connection(("localhost", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(request.encode())
            assert secure.recv(100).startswith(b"HTTP/1.1 101 ")


def test_federation() -> None:
    with (
        ChoriaBroker() as federation,
        ChoriaBroker(
            config=written(choria_federation_cluster="branch", choria_federation_hosts=[federation.address])
        ) as broker,
    ):
        broker.wait_for("Starting Federation Broker branch")


def test_adapter() -> None:
    adapter = {
        "type": "jetstream",
        "stream": {"servers": "localhost:1", "topic": "js.in.inventory", "workers": 2},
        "ingest": {"topic": "mcollective.broadcast.agent.registration", "protocol": "request", "workers": 2},
    }
    with ChoriaBroker(config=written(choria_adapters={"inventory": adapter})) as broker:
        broker.wait_for("Starting jetstream Protocol Adapter inventory")


def test_provisioning(tmp_path: Path) -> None:
    signer = tmp_path / "signer.pem"
    signer.touch()
    keys = {"plugin.choria.network.provisioning": {"signer_cert": str(signer), "client_password": "s3cret"}}
    config = render({"settings": keys, "other_keys": [], "program": None})
    with ChoriaBroker(config=config) as broker:
        broker.wait_for("Allowing unverified TLS connections for provisioning purposes")
