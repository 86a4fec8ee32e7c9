# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real brokers with the role's configuration: a cluster of five, and one at a site with Puppet."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._choria.config import read_config
from ansible_collections.choria.streams.plugins.module_utils._operations.broker import peer as broker_peer
from ansible_collections.choria.streams.plugins.module_utils._operations.broker.broker import connect, read
from ansible_collections.choria.streams.plugins.module_utils._operations.config_file import render
from ansible_collections.choria.streams.plugins.module_utils._options.quantities import NANOSECOND
from ansible_collections.choria.streams.plugins.plugin_utils._role.brokers import brokers as sum_up
from ansible_collections.choria.streams.plugins.plugin_utils._role.settings import broker_settings, client_settings
from support import ROOT
from support.choria import ChoriaProcess, find_choria
from support.ports import free_port
from support.tls import Authority
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ROLE = ROOT / "roles" / "choria"
# All brokers of a site use the same port for peers, so each has its own address here
ADDRESSES = [f"127.0.5.{number}" for number in range(1, 6)]
STREAMS = {"CHORIA_EVENTS", "CHORIA_EXECUTOR", "CHORIA_MACHINE", "CHORIA_STREAM_ADVISORIES"}
COPIES = 3
PATIENCE = 120.0


def trusted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: trusted(item) for name, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


VARIABLES = {
    name: trusted(value)
    for part in ("defaults", "vars")
    for name, value in yaml.safe_load((ROLE / part / "main.yml").read_text()).items()
}


class Rendered(dict[str, Any]):
    """Variables whose templates are rendered when they are read, as choria_role_value does."""

    def __getitem__(self, name: str) -> Any:
        return Templar(DataLoader(), variables=dict(self)).template(super().__getitem__(name))


class Broker(ChoriaProcess):
    _ready = "Server is ready"

    def __init__(self, identity: str, variables: Mapping[str, Any]) -> None:
        super().__init__("broker", identity)
        self.stats_port = free_port()
        own = {
            "choria_identity": identity,
            "choria_broker_listen_address": identity,
            "choria_broker_stats_port": self.stats_port,
            "choria_stream_store": str(self.folder / "streams"),
            "inventory_hostname": identity,
            "hostvars": {address: {} for address in ADDRESSES},
        }
        self.variables = {**VARIABLES, **variables, **own}
        settings = broker_settings(Rendered(self.variables))
        lines = render({"settings": settings, "other_keys": [], "program": None})
        self.config.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))

    def ask(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.stats_port}/{path}", timeout=10) as answer:
            return dict(json.load(answer))

    def streams(self) -> dict[str, dict[str, Any]]:
        """Return the streams of which this broker has a copy."""
        accounts = self.ask("jsz?accounts=true&streams=true&config=true").get("account_details", [])
        return {one["name"]: one for account in accounts for one in account.get("stream_detail", [])}

    def problems(self, peers: list[str] = ADDRESSES) -> list[str]:
        """Return the problems that the role finds with it."""
        options = {"config": str(self.config), "max_wait": "0", "timeout": "10s", "peers": peers}
        return list(read(options)["broker"]["problems"])

    def healthy(self) -> bool:
        return not self.problems()


def all_problems(brokers: list[Broker], peers: list[str] = ADDRESSES) -> str:
    return "; ".join(problem for broker in brokers for problem in broker.problems(peers))


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Broker]]:
    authority = Authority(tmp_path_factory.mktemp("site"))
    common = {
        "groups": {"choria_brokers": ADDRESSES},
        "choria_broker_port": free_port(),
        "choria_broker_peer_port": free_port(),
        "choria_broker_system_password": "secret-of-the-system",
        "choria_install_method": "archive",
        "choria_tls_ca_path": str(authority.path),
    }
    with ExitStack() as stack:
        found = []
        for address in ADDRESSES:
            pair = authority.issue(address, [address])
            files = {"choria_tls_certificate_path": str(pair.certificate), "choria_tls_key_path": str(pair.key)}
            found.append(stack.enter_context(Broker(address, {**common, **files})))
        for broker in found:
            broker.start()
        yield found
        for broker in found:
            broker.kill()


def test_five_brokers_are_a_cluster(brokers: list[Broker]) -> None:
    wait_until(lambda: all(broker.healthy() for broker in brokers), PATIENCE, "all brokers are healthy")

    def copies() -> dict[str, int]:
        held = [broker.streams() for broker in brokers]
        return {name: sum(name in streams for streams in held) for name in STREAMS}

    # A broker that starts while the cluster is not ready creates no streams later either. The role then restarts one
    # too
    brokers[0].shutdown()
    brokers[0].start()
    wait_until(
        lambda: copies() == dict.fromkeys(STREAMS, COPIES),
        PATIENCE,
        "each stream of the brokers has its copies",
    )


def drift(brokers: list[Broker]) -> list[str]:
    """Return the differences of the brokers' streams from the role's variables."""
    options = {"max_wait": "0", "timeout": "10s"}
    answers = [{"item": broker.identity, **read({"config": str(broker.config), **options})} for broker in brokers]
    return [one["text"] for one in sum_up(answers, COPIES, {"machine": "1d"}, "")["drift"]]


def change(broker: Broker) -> bool:
    """Let a stream of the brokers keep messages for two hours. Without a leader nobody answers."""
    name, config = "CHORIA_MACHINE", read_config(str(broker.config))
    try:
        with connect(config, broker.identity, 5.0) as client:
            client.sign_in(lambda _nonce: {})
            found = client.request(f"$JS.API.STREAM.INFO.{name}", "_INBOX")["config"]
            changed = json.dumps({**found, "max_age": 7200 * NANOSECOND}).encode()
            return "error" not in client.request(f"$JS.API.STREAM.UPDATE.{name}", "_INBOX", changed)
    except _errors.Unreachable:
        return False


def test_a_stream_that_somebody_changed(brokers: list[Broker]) -> None:
    wait_until(lambda: drift(brokers) == [], PATIENCE, "the streams are as they should be")
    # Its leader knows the change, and other brokers may have old copies. Another one may become the leader during the
    # reads. A broker that has just started may repair the stream at once, and no other does.
    expected = ["CHORIA_MACHINE keeps messages for 7200s in place of 86400s"]
    wait_until(lambda: change(brokers[0]) and drift(brokers) == expected, PATIENCE, "the change is seen")

    def repaired() -> bool:
        """A broker gives up when its cluster does not answer in time. The role then restarts it once more too."""
        brokers[0].shutdown()
        brokers[0].start()
        wait_until(lambda: all_problems(brokers) == "", PATIENCE, "all brokers are healthy")
        until = time.monotonic() + 30
        while drift(brokers) and time.monotonic() < until:
            time.sleep(0.1)
        return drift(brokers) == []

    wait_until(repaired, PATIENCE, "a broker that starts repairs it")


def test_a_broker_hands_over_its_streams(brokers: list[Broker], tmp_path: Path) -> None:
    wait_until(lambda: any("CHORIA_MACHINE" in led(broker) for broker in brokers), PATIENCE, "the stream has a leader")
    leader = next(broker for broker in brokers if "CHORIA_MACHINE" in led(broker))
    [command] = [
        task["ansible.builtin.shell"]["cmd"]
        for task in yaml.safe_load((ROLE / "tasks" / "broker" / "step_down.yml").read_text())
        if "ansible.builtin.shell" in task
    ]
    given = {
        **leader.variables,
        "choria_config_folder": str(tmp_path),
        "_choria_program": str(find_choria()),
        "_choria_client_config": str(tmp_path / "client.conf"),
    }
    settings = client_settings(Rendered(given))
    lines = render({"settings": settings, "other_keys": [], "program": None})
    (tmp_path / "client.conf").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))

    def handed_over() -> bool:
        """An election may return a stream, or be going on. So the command is repeated."""
        templar = Templar(DataLoader(), variables={**given, "_choria_own": {"broker": {"led": led(leader)}}})
        ended = subprocess.run(
            ["/bin/sh", "-c", templar.template(trust_as_template(command))],
            check=False,
            timeout=60,
            env={"PATH": "/usr/bin:/bin", "USER": "root", "HOME": "/nonexistent"},
        )
        return ended.returncode == 0 and led(leader) == []

    wait_until(handed_over, PATIENCE, "others lead its streams")


def led(broker: Broker) -> list[str]:
    options = {"config": str(broker.config), "max_wait": "0", "timeout": "10s"}
    return list(read(options)["broker"]["led"])


def test_two_of_five_may_be_lost(brokers: list[Broker]) -> None:
    for broker in brokers[:2]:
        broker.kill()
    left = brokers[2:]
    wait_until(
        lambda: left[0].ask("jsz")["meta_cluster"].get("leader") in ADDRESSES[2:],
        PATIENCE,
        "one of the others leads",
    )
    wait_until(
        lambda: "the cluster lacks 127.0.5.1, 127.0.5.2" in all_problems(left), PATIENCE, "the leader misses them"
    )
    assert "serves no statistics" in all_problems(brokers[:2])
    for broker in brokers[:2]:
        broker.start()
    wait_until(lambda: all(broker.healthy() for broker in brokers), PATIENCE, "all brokers are healthy again")


def test_brokers_that_the_inventory_does_not_have(brokers: list[Broker]) -> None:
    assert "the cluster still counts 127.0.5.5, which should not be part of it" in all_problems(brokers, ADDRESSES[:4])


def remove(broker: Broker, name: str, *, check_mode: bool = False) -> bool:
    options = {"config": str(broker.config), "name": name, "state": "absent", "timeout": "20s"}
    return bool(broker_peer.remove(options, check_mode)["changed"])


def offline(broker: Broker) -> list[str]:
    options = {"config": str(broker.config), "max_wait": "0", "timeout": "10s"}
    return list(read(options)["broker"]["cluster"]["offline"])


def test_a_broker_that_is_gone_is_removed(brokers: list[Broker]) -> None:
    gone, left, names = brokers[4], brokers[:4], ADDRESSES[:4]
    leader = next(broker for broker in brokers if broker.identity == brokers[0].ask("jsz")["meta_cluster"]["leader"])
    if leader is not gone:
        with pytest.raises(_errors.Refused, match="is online: stop it first"):
            remove(leader, gone.identity)
    gone.kill()
    wait_until(lambda: any(gone.identity in offline(broker) for broker in left), PATIENCE, "it is missed")
    assert [remove(broker, gone.identity) for broker in left].count(True) == 1
    assert [remove(broker, gone.identity) for broker in left].count(True) == 0
    wait_until(lambda: all_problems(left, names) == "", PATIENCE, "the cluster of four is healthy")


def test_certificates_of_puppet(tmp_path: Path) -> None:
    address = "127.0.5.9"
    authority = Authority(tmp_path)
    pair = authority.issue(address, [address])
    places = {"certs/ca.pem": authority.path, f"certs/{address}.pem": pair.certificate}
    places[f"private_keys/{address}.pem"] = pair.key
    for place, file in places.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(file.read_bytes())
    given: dict[str, Any] = {
        "groups": {"choria_brokers": [address]},
        "choria_broker_port": free_port(),
        "choria_install_method": "archive",
        "choria_security_provider": "puppet",
        "choria_puppet_ssldir": str(tmp_path),
    }
    with Broker(address, given) as broker:
        broker.start()
        broker.wait_for("Created stream CHORIA_EVENTS with 1 replicas")
        found = read({"config": str(broker.config), "max_wait": "20", "timeout": "10s", "peers": [address]})["broker"]
        assert found["problems"] == []
        assert (found["cluster"]["name"], found["store_used"]) == (None, True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority.path)
        context.load_cert_chain(pair.certificate, pair.key)
        with socket.create_connection((address, given["choria_broker_port"]), timeout=10) as plain:
            assert b'"tls_required":true' in plain.recv(4096)
            with context.wrap_socket(plain, server_hostname=address) as secure:
                secure.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
                assert secure.recv(100).startswith(b"PONG")
