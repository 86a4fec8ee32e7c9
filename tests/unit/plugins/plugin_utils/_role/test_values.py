# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values that the role computes from its variables: names, addresses, configuration files, users and files."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from jinja2 import Undefined

from ansible_collections.choria.streams.plugins.filter import choria_role_value
from ansible_collections.choria.streams.plugins.plugin_utils._role import files, host, network, settings
from support import ROOT

ROLE = ROOT / "roles" / "choria"
DEFAULTS = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
VARS = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
CLUSTER = ["b1", "b2", "b3"]
TOKENS = {"choria_security_provider": "choria", "choria_issuer_public_key": "ab" * 32}


def given(name: str = "b1", **variables: Any) -> dict[str, Any]:
    """Return the variables of one of three brokers, with the results of the role's default templates."""
    return {
        **DEFAULTS,
        "inventory_hostname": name,
        "hostvars": {host: {} for host in (*CLUSTER, "n1")},
        "ansible_play_hosts_all": [*CLUSTER, "n1"],
        "choria_broker": name in CLUSTER,
        "choria_broker_hosts": CLUSTER,
        "choria_identity": name,
        "choria_stream_replicas": 3,
        "choria_tls_ca": "",
        "choria_tls_certificate": "",
        "choria_tls_key": "",
        "choria_tls_ca_path": "/tls/ca.pem",
        "choria_tls_certificate_path": "/tls/certificate.pem",
        "choria_tls_key_path": "/tls/key.pem",
        **{f"choria_{service}_{kind}": "" for service in ("broker", "server") for kind in ("token", "seed")},
        "_choria_archives": [],
        "_choria_archives_folder": "/archives",
        "_choria_broker_inventory": CLUSTER,
        "_choria_broker_user": "root",
        "_choria_files": [*(["broker"] if name in CLUSTER else []), "server", "client"],
        "_choria_facts_file": "/etc/choria/facts.json",
        "_choria_program": "/usr/bin/choria",
        "_choria_unpack_folder": "/unpacked",
        "_choria_user_files": VARS["_choria_user_files"],
        **variables,
    }


def test_variables_that_need_facts_of_a_host_that_is_not_in_the_play() -> None:
    names = ("choria_identity", "choria_broker_peer_address", "choria_security_names", "choria_client_users")
    hostvars: dict[str, Any] = {name: {} for name in (*CLUSTER, "n1")}
    without = given(hostvars=hostvars, choria_security_provider="file")
    unknown = {**hostvars, "b2": dict.fromkeys(names, Undefined(name="ansible_facts"))}
    missing = {**without, "hostvars": unknown}
    assert network.peer_identities(missing) == network.peer_addresses(missing) == CLUSTER
    assert network.certificates(missing) == network.certificates(without)


def test_names_of_brokers() -> None:
    hostvars = {"b1": {}, "b2": {"choria_identity": "two.lan"}, "b3": {"choria_identity": "three.lan"}}
    variables = given(hostvars=hostvars, choria_broker_hosts=["b1", "b2", "three.lan"])
    assert network.server_names(variables) == {"b1": "b1", "b2": "b2", "b3": "three.lan"}
    assert network.peer_identities(variables) == ["b1", "two.lan", "three.lan"]
    assert network.peer_identities(given(choria_broker_hosts=["b1", "elsewhere", "b3", "b2", "b5"])) == []


def test_peers_of_a_cluster() -> None:
    hostvars = {
        "b1": {"choria_broker_peer_address": "10.0.0.1"},
        "b2": {"choria_broker_peer_address": "fd00::2"},
        "b3": {},
    }
    written = settings.broker_settings(given(hostvars=hostvars))
    peers = ["nats://10.0.0.1:5222", "nats://[fd00::2]:5222", "nats://b3:5222"]
    assert written["plugin.choria.network.peers"] == peers
    # Addresses of brokers outside of the inventory are unknown
    written = settings.broker_settings(given(hostvars=hostvars, choria_broker_hosts=["x1", "x2", "x3", "x4", "x5"]))
    assert written["plugin.choria.network.peers"] == [f"nats://x{number}:5222" for number in range(1, 6)]
    assert "plugin.choria.network.peers" not in settings.broker_settings(given(choria_broker_hosts=["b1"]))


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({}, ["b1", "b1"]),
        ({"choria_identity": "one.lan", "choria_broker_hosts": ["one.lan", "b1"]}, ["one.lan", "one.lan", "b1"]),
        ({"choria_broker": False}, ["b1"]),
        ({"choria_broker": False, **TOKENS}, []),
    ],
)
def test_names_for_which_a_certificate_has_to_be_valid(variables: dict[str, Any], names: list[str]) -> None:
    assert network.certificate_names(given(**variables)) == names


def test_certificates_to_make() -> None:
    hostvars = {
        "b1": {"choria_security_names": ["b1.lan"]},
        "b2": {"choria_identity": "two.lan", "choria_client_users": [{"name": "zoe"}]},
        "b3": {"choria_client_users": [{"name": "al", "certificate": "/al.pem"}]},
        "n1": {},
    }
    variables = given(hostvars=hostvars, choria_client_users=[{"name": "bob", "identity": "b3"}, {"name": "eve"}])
    hosts = [
        {"name": "b1", "hosts": ["b1", "b1.lan"]},
        {"name": "two.lan", "hosts": ["two.lan", "b2"]},
        {"name": "b3", "hosts": ["b3"]},
    ]
    assert network.certificates(variables) == [
        *hosts,
        {"name": "n1", "hosts": ["n1"]},
        {"name": "eve"},
        {"name": "zoe"},
    ]
    assert network.server_tokens(variables) == []
    # With tokens, only brokers show a certificate
    assert network.certificates({**variables, **TOKENS}) == hosts
    assert [token["name"] for token in network.server_tokens({**variables, **TOKENS})] == ["b1", "two.lan", "b3", "n1"]


def test_users_sign_in_with_their_files_or_with_those_that_are_made() -> None:
    own = {"name": "carl", "certificate": "/c.pem", "key": "/c.key"}
    variables = given(
        choria_client_users=[{"name": "bob", "identity": "robert"}, {"name": "eve"}, own],
        choria_security_clients=[{"name": "robert"}],
    )

    def signs_in(**more: Any) -> list[tuple[str, str]]:
        users = files.users({**variables, **more})
        assert [user["identity"] for user in users] == ["robert", "eve", "carl"]
        return [(user["certificate"] or user["token"], user["key"] or user["seed"]) for user in users]

    carl = ("/c.pem", "/c.key")
    assert signs_in() == [("", ""), ("", ""), carl]
    made = {"choria_security_folder": "/s"}
    assert signs_in(**made) == [("/s/robert.pem", "/s/robert.key"), ("/s/eve.pem", "/s/eve.key"), carl]
    assert signs_in(**made, **TOKENS) == [("/s/robert.jwt", "/s/robert.seed"), ("", ""), carl]


def test_files_of_the_controller() -> None:
    variables = given(
        choria_install_method="archive",
        choria_archive="/srv/choria",
        choria_security_folder="/s",
        choria_tls_ca="/s/ca.pem",
        choria_trusted_authorities=["/other/ca.pem"],
        choria_client_users=[{"name": "bob"}, {"name": "al", "token": "/al.jwt", "seed": "/al.seed"}],
        _choria_archives=[{"name": "A", "archive": "/a.tgz"}, {"name": "B", "archive": "https://web/b.tgz"}],
    )
    assert [(file["option"], file["path"]) for file in files.given_files(variables)] == [
        ("choria_archive", "/srv/choria"),
        ("choria_trusted_authorities", "/other/ca.pem"),
        ("choria_client_users, al: token", "/al.jwt"),
        ("choria_client_users, al: seed", "/al.seed"),
        ("choria_machines, A: archive", "/a.tgz"),
    ]


def test_material_to_check() -> None:
    variables = given(choria_client_users=[{"name": "al", "certificate": "/al.pem", "key": "/al.key"}])
    material = files.material(variables)
    pairs = [(pair["option"], pair["names"]) for pair in material["pairs"]]
    assert pairs == [("choria_tls_certificate and choria_tls_key", ["b1", "b1"]), ("choria_client_users, al", [])]
    assert material["tokens"] == []
    names = [token["option"] for token in files.material({**variables, **TOKENS})["tokens"]]
    assert names == ["choria_broker_token", "choria_server_token", "choria_client_token"]


@pytest.mark.parametrize(
    ("variables", "paths"),
    [
        ({}, ["/tls/ca.pem", "/tls/certificate.pem", "/tls/key.pem"]),
        ({"choria_tls_ca": "/ca", "choria_tls_certificate": "/c"}, []),
        ({"choria_broker": False, **TOKENS}, ["/tls/ca.pem"]),
        (
            {"choria_security_provider": "puppet", "choria_puppet_ssldir": "/p"},
            ["/p/certs/ca.pem", "/p/certs/b1.pem", "/p/private_keys/b1.pem"],
        ),
    ],
)
def test_files_that_have_to_be_on_the_host(variables: dict[str, Any], paths: list[str]) -> None:
    assert files.expected_files(given(**variables)) == paths


def test_folders_of_one_service() -> None:
    assert files.folders(given()) == []
    own = given(choria_stream_store="/srv/streams", choria_machine_store="/srv/machines", choria_submission_spool="")
    backups = [{"name": "night", "path": "/srv/backups"}, {"name": "other", "path": "/var/lib/choria/backups"}]
    found = files.folders({**own, "choria_backups": backups})
    assert [folder["path"] for folder in found] == ["/srv/streams", "/srv/machines", "/srv/backups"]
    assert (found[0]["own"], found[1]["own"]) == (["jetstream"], [])
    assert files.folders({**own, "choria_broker": False, "choria_server": False}) == []


def test_folders_are_checked_by_what_tasks_registered() -> None:
    stat = {"exists": True, "isdir": True, "pw_name": "www-data"}
    variables = given(
        choria_stream_store="/srv/streams",
        _choria_folder_stats={"results": [{"stat": stat}]},
        _choria_folder_names={"results": [{"files": [{"path": "/srv/streams/index.html"}]}]},
    )
    [problem] = host.registered_problems(variables)
    assert "/srv/streams of b1 exists" in problem and "index.html" in problem
    variables["_choria_folder_names"] = {"results": [{"skipped": True}]}
    assert host.registered_problems(variables) == []


def test_files_that_a_service_reads() -> None:
    broker, server = files.services(given())
    assert (broker["unit"], server["unit"]) == ("choria-broker.service", "choria-server.service")
    assert {"/usr/bin/choria", "/etc/choria/broker.jwt", "/tls/key.pem", broker["drop_in"]} < set(broker["files"])
    assert [service["name"] for service in files.services(given("n1"))] == ["server"]
    assert files.services(given(_choria_files=["client"])) == []


def test_schedules_of_timers() -> None:
    jobs = [{"name": "report", "on_calendar": "*:0/30"}, {"name": "other", "on_calendar": ""}]
    backups = [{"name": "night", "on_calendar": "03:15"}]
    assert files.calendars(given(_choria_jobs_wanted=jobs, choria_backups=backups)) == [
        {"option": "choria_governed_jobs, report", "on_calendar": "*:0/30"},
        {"option": "choria_backups, night", "on_calendar": "03:15"},
    ]


def test_files_to_remove() -> None:
    package = files.own_files(given(choria_policies={"puppet": "policy default deny"}))
    assert {"/etc/choria/policies/puppet.policy", "/etc/apt/preferences.d/choria"} < set(package)
    assert not {"/usr/bin/choria", "/tls/ca.pem"} & set(package)
    archive = files.own_files(given(choria_install_method="archive", choria_tls_ca="/ca.pem"))
    assert {"/usr/bin/choria", "/unpacked", "/tls/ca.pem"} < set(archive)


def test_contents_of_files_with_certificates() -> None:
    broker = settings.broker_settings(given(choria_broker_settings={"loglevel": "debug"}))
    assert broker["loglevel"] == "debug" and broker["plugin.choria.network.system.user"] is None
    for written in (broker, settings.server_settings(given()), settings.client_settings(given())):
        assert written["plugin.security.file.key"] == "/tls/key.pem"
        assert written["plugin.choria.middleware_hosts"] == ["b1:4222", "b2:4222", "b3:4222"]
        assert written["plugin.security.choria.token_file"] is None
        assert "plugin.security.issuer.names" not in written


@pytest.mark.parametrize(
    ("more", "mode"),
    [
        ({}, "0644"),
        ({"loglevel": "debug"}, "0644"),
        ({"plugin.nats.pass": "hunter2"}, "0600"),
        ({"plugin": {"nats": {"pass": "hunter2"}}}, "0600"),
        ({"plugin.choria.middleware_hosts": ["nats://bob:hunter2@b1:4222"]}, "0600"),
    ],
)
def test_all_users_may_read_what_has_no_secret(more: dict[str, Any], mode: str) -> None:
    assert settings.client_mode(given(choria_client_settings=more)) == mode


def test_contents_of_files_with_tokens() -> None:
    variables = given(**TOKENS, choria_trusted_issuers={"old": "cd" * 32})
    broker, server = settings.broker_settings(variables), settings.server_settings(variables)
    client = settings.client_settings(variables)
    assert broker["plugin.security.choria.key"] == "/tls/key.pem" and "plugin.security.choria.key" not in server
    assert broker["plugin.security.issuer.names"] == server["plugin.security.issuer.names"] == ["choria", "old"]
    assert broker["plugin.security.issuer.old.public"] == "cd" * 32 and "plugin.security.issuer.names" not in client
    for name, written in (("broker", broker), ("server", server), ("client", client)):
        assert written["plugin.security.choria.seed_file"] == f"/etc/choria/{name}.seed"


def test_streams_that_brokers_create() -> None:
    written = settings.broker_settings(given(choria_stream_retention={"event": "2d"}))
    prefix = "plugin.choria.network.stream"
    assert [written[f"{prefix}.{kind}_replicas"] for kind in ("advisory", "event", "executor", "machine")] == [3] * 4
    assert written[f"{prefix}.event_retention"] == "2d" and f"{prefix}.machine_retention" not in written


def test_all_values_of_the_role_are_known_and_documented() -> None:
    used = re.findall(r"'(\w+)' \| choria\.streams\.choria_role_value", (ROLE / "vars" / "main.yml").read_text())
    documented = yaml.safe_load(choria_role_value.DOCUMENTATION)["options"]["_input"]["choices"]
    assert sorted(used) == sorted(choria_role_value.COMPUTED) == documented
