# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""choria.streams.choria_broker_info with a nats-server and TLS. tests/interop has real brokers and clusters."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError
from ansible_collections.choria.streams.plugins.module_utils._operations.broker.broker import read
from ansible_collections.choria.streams.plugins.module_utils._operations.broker.peer import remove
from support.ports import free_port
from support.tls import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeServer
    from support.server import NatsServer

pytestmark = pytest.mark.once


def configure(folder: Path, authority: Authority, port: int, statistics: int | str) -> Path:
    """Write the part of a broker's configuration that contains its ports and files."""
    pair = authority.issue("client", ["localhost"])
    lines = {
        "identity": "localhost",
        "plugin.choria.stats_port": statistics,
        "plugin.choria.network.client_port": port,
        "plugin.choria.network.stream.store": folder / "store",
        "plugin.security.provider": "file",
        "plugin.security.file.ca": authority.path,
        "plugin.security.file.certificate": pair.certificate,
        "plugin.security.file.key": pair.key,
    }
    path = folder / "broker.conf"
    path.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
    return path


def port_of_statistics(server: NatsServer) -> str:
    return server.monitor_url.rpartition(":")[2]


def broker_info(config: Path, **given: Any) -> dict[str, Any]:
    options = {"config": str(config), "max_wait": "0", "timeout": "2s", **given}
    return dict(read(options)["broker"])


def test_a_healthy_broker(make_server: MakeServer, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("server", ["localhost", "127.0.0.1"])
    server = make_server({**own.server_config(authority), "server_name": "b1"})
    config = configure(tmp_path, authority, server.port, port_of_statistics(server))

    broker = broker_info(config)
    assert (broker["running"], broker["problems"], broker["identity"]) == (True, [], "b1")
    assert broker["client"] == {"signed_in": True, "jetstream": True, "problem": ""}
    assert (broker["store_used"], broker["led"], broker["cluster"]["name"]) == (False, [], None)

    [problem] = broker_info(config, server_name="web1.example.net")["problems"]
    assert "certificate is not valid for 'web1.example.net'" in problem

    [problem] = broker_info(config, peers=["b1", "b2", "b3"])["problems"]
    assert problem == "its cluster has no leader"


def test_a_single_broker_has_no_peer_to_remove(make_server: MakeServer, tmp_path: Path) -> None:
    """choria.streams.choria_broker_peer changes nothing. tests/interop removes a peer from a cluster."""
    server = make_server()
    config = configure(tmp_path, Authority(tmp_path), server.port, port_of_statistics(server))
    options = {"config": str(config), "name": "b5", "state": "absent", "timeout": "2s"}
    assert remove(options, False) == {"changed": False, "leader": None}


def test_the_option_of_the_file_is_named(tmp_path: Path) -> None:
    config = tmp_path / "broker.conf"
    for content in ("", "no key", "plugin.choria.stats_port = a", "plugin.choria.stats_port = 1\nidentity"):
        config.write_text(content)
        with pytest.raises(OptionError, match=f"^config: .*{config}"):
            broker_info(config)
        with pytest.raises(OptionError, match=f"^config: .*{config}"):
            remove({"config": str(config), "name": "b5", "state": "absent", "timeout": "2s"}, False)


def test_certificates_that_clients_refuse(make_server: MakeServer, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    old = authority.issue("server", ["localhost"], days=-1)
    server = make_server({**old.server_config()})
    [problem] = broker_info(configure(tmp_path, authority, server.port, port_of_statistics(server)))["problems"]
    assert "certificate has expired" in problem

    other = Authority(tmp_path, "other")
    [problem] = broker_info(configure(tmp_path, other, server.port, port_of_statistics(server)))["problems"]
    assert problem.startswith("clients can't use it: ")


def test_without_jetstream(make_server: MakeServer, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("server", ["localhost"])
    server = make_server({**own.server_config(authority)}, jetstream=False)
    broker = broker_info(configure(tmp_path, authority, server.port, port_of_statistics(server)))
    assert broker["client"]["jetstream"] is False
    assert broker["problems"]


def test_brokers_that_do_not_run_or_are_not_deployed(tmp_path: Path) -> None:
    config = configure(tmp_path, Authority(tmp_path), free_port(), free_port())
    assert broker_info(tmp_path / "nothing.conf") == {
        "deployed": False,
        "running": False,
        "serves": False,
        "well": False,
        "whole": False,
        "problems": ["it is not deployed"],
        "store": None,
        "store_used": False,
    }
    (tmp_path / "store" / "jetstream").mkdir(parents=True)
    broker = broker_info(config)
    assert (broker["deployed"], broker["running"], broker["store_used"]) == (True, False, True)
    assert "serves no statistics" in broker["problems"][0]


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\n\r\n[]", b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, b"garbage\r\n\r\n", b"\0" * 99],
)
def test_another_program_at_the_port(answer: bytes, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = configure(tmp_path, Authority(tmp_path), free_port(), other.getsockname()[1])

        def serve() -> None:
            connection, _address = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        broker = broker_info(config)
        thread.join(5)
    assert broker["running"] is False
    assert any(f"127.0.0.1 {fault}" in broker["problems"][0] for fault in ("serves no statistics", "answers with data"))
