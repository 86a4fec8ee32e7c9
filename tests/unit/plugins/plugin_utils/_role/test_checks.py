# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks of the role's variables: wrong values are refused in a sentence with their name, right ones are
accepted.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.choria.streams.plugins.filter import choria_role_problems
from ansible_collections.choria.streams.plugins.plugin_utils._role import checks as role_checks
from support import ROOT

DEFAULTS = yaml.safe_load((ROOT / "roles" / "choria" / "defaults" / "main.yml").read_text())
HOST = "web1"
# Values of the role's defaults that are templates
GIVEN: dict[str, Any] = {
    **DEFAULTS,
    "choria_broker_hosts": ["broker1"],
    "choria_broker": False,
    "choria_identity": HOST,
    "choria_architecture": "arm64",
    "choria_repository": "mirror://mirrorlists.example.net/apt/mirrors.txt",
    "choria_tls_ca": "",
    "choria_tls_certificate": "",
    "choria_tls_key": "",
    "choria_tls_ca_path": "/etc/choria/tls/ca.pem",
    "choria_tls_certificate_path": "/etc/choria/tls/certificate.pem",
    "choria_tls_key_path": "/etc/choria/tls/key.pem",
    "choria_issuer_public_key": "",
    "choria_stream_replicas": 1,
}
JOB = {"name": "patch", "governor": "PATCH", "command": "apt-get -y upgrade", "schedule": "*/30 * * * *"}
BACKUP = {"name": "night", "streams": ["ORDERS", "KV_CFG"], "path": "/srv/backups", "on_calendar": "03:15"}
PATH_OF_OTHERS = [
    "",
    "etc",
    "relative/path",
    "/a/../b",
    "/a/./b",
    "/a/",
    "/a b",
    "/a\nb",
    "/a\n",
    "~/a",
    "/a;b",
    '/a"b',
    5,
    None,
]
SYSTEM_FOLDERS = [
    "/",
    "/etc",
    "/opt",
    "/var",
    "/var/lib",
    "/usr/local",
    "/tmp",
    "/root",
    "/home",
    "/dev/shm",
    "/proc/self",
    "/usr/bin/x",
]
NO_PORTS = [0, -1, 65536, 70000, "x", "", None, 4222.5, True, "4222\n4223", "9" * 5000]
NO_NAMES = ["a b", "a\n", "a\nb", "a/b", "../a", "a;b", "a$b", None, 5]
NO_HOSTS = ["nats://b1", "b1:4222", "b1 b2", "", "-b1", "b1-", "b1\n", "b..1", "b/1", None, 1]
NO_CHECKSUMS = [
    "sha256:00",
    "sha256",
    "abc",
    "sha257:" + "0" * 64,
    "sha256:" + "g" * 64,
    "sha256:" + "0" * 64 + "\n",
    None,
]
NO_CRON = [
    "99 99 * * *",
    "* * * *",
    "* * * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * 32 * *",
    "* * * 13 *",
    "* * * * 8",
    "*/0 * * * *",
    "5-1 * * * *",
    "1-2-3 * * * *",
    "a * * * *",
    "@never",
    "* * * * *\n* * * * *",
    "@daily\n",
    "*/x * * * *",
    ",* * * * *",
    "* * * foo *",
]
NO_BACKUPS: list[dict[str, Any]] = [
    *({"path": path} for path in (*PATH_OF_OTHERS, *SYSTEM_FOLDERS)),
    *({"name": name} for name in (*NO_NAMES, "", "1a")),
    *({"streams": [name]} for name in (*NO_NAMES, "*", "")),
    {"streams": []},
    {"streams": "ORDERS"},
    {"streams": None},
    *({"keep": keep} for keep in (0, -1, "all", None)),
    *({"on_calendar": when} for when in ("", "daily\nUser=x", None)),
    *({"config": path} for path in PATH_OF_OTHERS),
    *({"path": f"/var/lib/choria/{path}"} for path in ("streams", "streams/backups", "submission/x")),
]
WRONG: list[tuple[str, Any]] = [
    *((f"choria_{name}_port", port) for name in ("broker", "broker_peer", "broker_stats") for port in NO_PORTS),
    *(
        (f"choria_{name}_port", port)
        for name in ("leafnode", "gateway", "websocket")
        for port in (-1, 65536, "x", None)
    ),
    *(("choria_broker_hosts", [name]) for name in NO_HOSTS),
    *(("choria_broker_hosts", value) for value in ([], ["b1", "b2"], ["b1"] * 3, "b1", None, {"b1": 1})),
    *(("choria_identity", name) for name in ("", " ", "a b", "a\n", "-a", "../a", None, 7, "a,b", "a'b")),
    *(("choria_collectives", [name]) for name in NO_NAMES),
    *(("choria_security_names", [name]) for name in NO_HOSTS),
    *(("choria_broker_peer_address", name) for name in NO_HOSTS if name),
    *(
        ("choria_firewall_peers", value)
        for value in (["b1"], [""], ["192.0.2.1/24"], ["192.0.2.1; flush"], "192.0.2.1", [1])
    ),
    *(("choria_architecture", value) for value in ("a b", "a\n", "../a", None)),
    *(("choria_version", value) for value in ("1 2", "1\n", "1;rm", "-1", None, "$(id)")),
    *(("choria_archive_checksum", value) for value in NO_CHECKSUMS if value is not None),
    *(("choria_repository_key_checksum", value) for value in NO_CHECKSUMS if value is not None),
    *(("choria_archive_member", value) for value in ("", "/choria", "../choria", "a/../b", "a\n", None)),
    *(
        ("choria_repository", value)
        for value in ("", "repo", "ftp://r", "https://r\nTrusted: yes", "https://a b", None)
    ),
    *(("choria_repository_suite", value) for value in ("", "a b", "a\n", None)),
    *(("choria_repository_component", value) for value in ("a b", "a\nb", None)),
    *(("choria_repository_key", value) for value in ("key", "https://k\n", "ftp://k")),
    *(
        (f"choria_security_{name}", value)
        for name in ("validity", "renew_before")
        for value in ("soon", "", None, -1, 0, "1d\n1d")
    ),
    *(("choria_stream_store", value) for value in (*PATH_OF_OTHERS, *SYSTEM_FOLDERS)),
    *(("choria_submission_spool", value) for value in (*PATH_OF_OTHERS[1:-1], *SYSTEM_FOLDERS)),
    *(("choria_machine_store", value) for value in (*PATH_OF_OTHERS[1:-1], *SYSTEM_FOLDERS)),
    *(
        (f"choria_{name}", value)
        for name in ("config_folder", "status_file", "tls_ca_path", "tls_key_path")
        for value in PATH_OF_OTHERS
    ),
    ("choria_submission_spool", "/var/lib/choria/streams"),
    ("choria_machine_store", "/etc/choria"),
    ("choria_machine_store", "/var/lib/choria/streams/machines"),
    *(
        ("choria_broker_memory", value)
        for value in ("4G\nExecStartPre=/bin/id", "4G\n", "much", "-1", "4 G", "200%", None, 4)
    ),
    *(("choria_broker_open_files", value) for value in (0, -1, "many", "5\nUser=root", None)),
    *(("choria_broker_listen_address", value) for value in ("", "all", "1.2.3", "::\n", None)),
    *(("choria_broker_system_user", value) for value in NO_NAMES),
    *(("choria_broker_system_password", value) for value in ("hunter2\nx = y", "hunter2\n", " hunter2", 52)),
    *(("choria_restart_timeout", value) for value in (-1, 0, "long", None)),
    *(("choria_server_batch", value) for value in (-1, 0, "all", None, 1.5)),
    *(("choria_stream_replicas", value) for value in (0, -1, 2, 6, "x", None)),
    *(
        ("choria_stream_retention", value)
        for value in ({"event": "soon"}, {"events": "1d"}, {"event": "1d\n"}, {"event": -1}, "1d", {"event": None})
    ),
    *(("choria_registration_interval", value) for value in (0, -1, "x", None)),
    *(("choria_submission_size", value) for value in (0, -1, "x", None)),
    *(("choria_registration", [name]) for name in NO_NAMES),
    *(("choria_issuer", name) for name in NO_NAMES),
    *(("choria_trusted_authorities", value) for value in (["ca.pem"], "ca.pem", [""], ["a\nb"], None)),
    *(("choria_trusted_issuers", {name: "ab" * 32}) for name in ("a b", "a\n", "choria")),
    *(("choria_trusted_issuers", {"other": key}) for key in ("", "ab", "xy" * 32, "ab" * 32 + "\n", None)),
    ("choria_trusted_issuers", ["other"]),
    *(("choria_policies", {name: "policy default deny"}) for name in ("../../cron.d/x", "a b", "a\n", "")),
    *(("choria_policies", {"puppet": policy}) for policy in ("", None, ["b"])),
    ("choria_policies", []),
    ("choria_policies", "a"),
    *(("choria_submission_group", name) for name in ("", "a b", "a\n", "0day", "a:b", None)),
    *(("choria_federation_hosts", [value]) for value in ("b1", "b1:", "b1:0", "b1:x", ":4222", "nats://b1:4222", None)),
    *((f"choria_{name}", {"a b": {}}) for name in ("leafnode_remotes", "gateway_remotes", "adapters")),
    *((f"choria_{name}", ["a"]) for name in ("leafnode_remotes", "gateway_remotes", "adapters", "facts")),
    *(("choria_other_keys", [value]) for value in ("a b", "a\n", "a = b", None)),
    *(("choria_resources_owner", value) for value in ("", "a\nb", " ", None)),
    *(("choria_governed_jobs", [{**JOB, "schedule": value}]) for value in NO_CRON),
    *(
        ("choria_governed_jobs", [{**JOB, **bad}])
        for bad in (
            {"name": "../x"},
            {"name": "a b"},
            {"name": ""},
            {"name": "1a"},
            {"name": "a\n"},
            {"command": ""},
            {"command": "echo 'a"},
            {"command": "a\nb"},
            {"command": None},
            {"governor": ""},
            {"governor": "a b"},
            {"governor": "A\n"},
            {"schedule": ""},
            {"on_calendar": "daily"},
            {"schedule": "", "on_calendar": "daily\nUser=x"},
            {"user": "a b"},
            {"user": "a\n"},
            {"user": ""},
            {"max_wait": "soon"},
            {"max_wait": "-1"},
            {"max_wait": "90"},
            {"max_wait": 90},
            {"max_wait": "1e3"},
            {"max_wait": ""},
            {"environment": {"A B": 1}},
            {"environment": {"A\n": 1}},
            {"environment": ["A"]},
            {"config": "server.conf"},
            {"config": "/a\nb"},
        )
    ),
    ("choria_governed_jobs", [JOB, JOB]),
    *(("choria_backups", [{**BACKUP, **bad}]) for bad in NO_BACKUPS),
    ("choria_backups", [BACKUP, BACKUP]),
    ("choria_backups", [{}]),
    ("choria_backups", ["night"]),
    ("choria_backups", BACKUP),
    ("choria_backups", [{"name": "night"}]),
    ("choria_governed_jobs", [{}]),
    ("choria_governed_jobs", ["patch"]),
    ("choria_governed_jobs", JOB),
    *(("choria_machines", [{"name": name}]) for name in NO_NAMES),
    *(
        ("choria_machines", [{"name": "a", "archive": "a.tar", **more}])
        for more in ({}, {"archive_checksum": "sha256:00"})
    ),
    ("choria_machines", [{"name": "a"}, {"name": "a"}]),
    *(("choria_client_users", [{"name": name}]) for name in ("", "a b", "a\n", "../a", None)),
    *(("choria_client_users", [{"name": "bob", one: "bob.file"}]) for one in ("certificate", "key", "token", "seed")),
    ("choria_client_users", [{"name": "bob", "identity": "b b"}]),
    ("choria_security_clients", [{"identity": "bob"}]),
    *(
        ("choria_streams", value)
        for value in ([{"nam": "A"}], [{"name": "A B"}], [{"name": "A", "max_age": "soon"}], ["A"], [{"name": "A"}] * 2)
    ),
    *(("choria_consumers", value) for value in ([{"name": "A"}], [{"stream": "A", "name": "B", "ack_waits": 5}])),
    *(
        ("choria_kv_buckets", value)
        for value in ([{"name": "A.B"}], [{"name": "A", "histroy": 5}], [{"name": "A", "history": "many"}])
    ),
    *(("choria_governors", value) for value in ([{"name": "A", "capacity": 0}], [{"name": "A", "capacty": 5}])),
    *(
        ("choria_keys", value)
        for value in ([{"bucket": "A"}], [{"bucket": "A", "key": "..", "value": "a"}], [{"bucket": "A", "kee": "a"}])
    ),
    *(
        (f"choria_{name}", value)
        for name in ("broker", "client", "server", "purge_data", "machines_purge", "resources_prune")
        for value in ("false", "true", "no", "", 0, None)
    ),
    *(("choria_governed_jobs", [{**JOB, "environment": {"A": value}}]) for value in (None, ["x"], {"x": 1}, "a\0b")),
    *(("choria_governed_jobs", [{**JOB, "max_per_period": value}]) for value in ("false", 1, None)),
    ("choria_machines", [{"name": "a", "remote_src": "false"}]),
    *(
        (f"choria_{name}_settings", value)
        for name in ("broker", "client", "server")
        for value in (None, "loglevel=info", ["loglevel"])
    ),
    *((f"choria_{name}", 5) for name in ("archive", "security_folder", "tls_key", "client_token")),
    *(
        (f"choria_{name}", value)
        for name in ("status_file", "tls_ca_path", "tls_certificate_path")
        for value in ("/etc", "/var/log", "/etc/ssl/certs", "/usr/bin/x")
    ),
    ("choria_gateway_port", 7222),
    ("choria_broker_peer_port", 4222),
    ("choria_leafnode_port", 4222),
    ("choria_broker_stats_port", 5222),
    ("choria_install_method", "archive"),
    ("choria_archive", "https://example.net/choria"),
    ("choria_security_provider", "choria"),
    ("choria_broker", True),
]
RIGHT: list[dict[str, Any]] = [
    {},
    {"choria_backups": [BACKUP, {**BACKUP, "name": "week", "keep": "52", "config": "/root/.choriarc"}]},
    {"choria_backups": [{**BACKUP, "config": "/root/.choriarc"}], "choria_client": False},
    {
        "choria_broker_hosts": ["b1", "b2.example.net", "2001:db8::1"],
        "choria_stream_replicas": 3,
        "choria_gateway_port": 7222,
    },
    {
        "choria_broker_port": "14222",
        "choria_broker_memory": "1.5G",
        "choria_version": "0.30.2",
        "choria_server_batch": "5",
    },
    {"choria_governed_jobs": [JOB, {**JOB, "name": "b", "schedule": "@daily"}, {"name": "gone", "state": "absent"}]},
    {"choria_governed_jobs": [{**JOB, "schedule": "0,30 8-18/2 1 jan-mar,dec MON-FRI", "environment": {"A": "x\ny"}}]},
    {
        "choria_governed_jobs": [
            {**JOB, "schedule": "", "on_calendar": "*:0/30", "user": "www-data", "max_wait": "1h30m"}
        ]
    },
    {
        "choria_firewall_peers": ["192.0.2.1", "192.0.2.0/24", "2001:db8::/64"],
        "choria_broker_peer_address": "192.0.2.9",
    },
    {"choria_status_file": "/run/choria/status.json", "choria_tls_key_path": "/etc/ssl/private/choria.pem"},
    {"choria_stream_store": "/srv/choria/streams", "choria_machine_store": "", "choria_submission_spool": ""},
    {"choria_machines": [{"name": "a", "archive": "a.tar", "archive_checksum": f"sha256:{'0' * 64}"}]},
    {"choria_client_users": [{"name": "bob", "certificate": "bob.pem", "key": "bob.key"}]},
    {
        "choria_policies": {"puppet": "policy default deny\n"},
        "choria_stream_retention": {"event": "7d", "machine": "0s"},
    },
    {"choria_security_provider": "choria", "choria_issuer_public_key": "ab" * 32},
    {
        "choria_tls_ca": "ca.pem",
        "choria_trusted_authorities": ["old.pem"],
        "choria_trusted_issuers": {"old": "ab" * 32},
    },
    {"choria_streams": [{"name": "A", "max_age": "1d"}], "choria_keys": [{"bucket": "B", "key": "a", "value": "b"}]},
]


def problems(**given: Any) -> list[str]:
    return role_checks.problems({**GIVEN, **given}, HOST, "Debian")


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda value: repr(value)[:60])
def test_a_wrong_variable_is_refused(name: str, value: Any) -> None:
    found = problems(**{name: value})
    assert found
    assert any(name in text or "choria_broker_hosts" in text for text in found)
    assert all("hunter2" not in text for text in found)
    assert all(ord(letter) >= 32 for text in found for letter in text)


@pytest.mark.parametrize("name", sorted(role_checks.NEEDED))
def test_null_is_no_value(name: str) -> None:
    assert problems(**{name: None}) == [f"{name} is null: give a value, or leave it out for its default."]


@pytest.mark.parametrize("value", [None, "x", 5, [], True])
def test_the_filter_takes_variables_alone(value: Any) -> None:
    filters = choria_role_problems.FilterModule().filters()
    with pytest.raises(AnsibleFilterError, match="choria_role_problems: give a dict of variables"):
        filters["choria_role_problems"](value, HOST, "Debian")


def test_there_are_enough_wrong_ones() -> None:
    assert len(WRONG) >= 200


@pytest.mark.parametrize("given", RIGHT, ids=lambda value: repr(value)[:60])
def test_right_variables_are_not(given: dict[str, Any]) -> None:
    assert problems(**given) == []


def test_every_system_but_two_needs_another_method() -> None:
    assert "web1 is Slackware" in " ".join(role_checks.problems(GIVEN, HOST, "Slackware"))
    assert role_checks.problems({**GIVEN, "choria_install_method": "none"}, HOST, "Slackware") == []


def test_a_backup_needs_a_client() -> None:
    [problem] = problems(choria_backups=[BACKUP], choria_client=False)
    assert problem.startswith("choria_backups, night: it signs in as a client")


def test_all_that_is_wrong_is_named_at_once() -> None:
    assert (
        len(problems(choria_broker_port=0, choria_identity="a b", choria_governed_jobs=[{**JOB, "name": "a b"}])) == 3
    )


def test_variables_can_be_checked_by_themselves() -> None:
    assert len(role_checks.problems({"choria_broker_port": 70000}, HOST, "Debian")) == 1
    assert role_checks.problems({"choria_broker_port": 4222}, HOST, "Debian") == []


def test_every_variable_is_checked_or_free() -> None:
    free = {"choria_state", "choria_rpc_authorization"}
    results = {name for name in DEFAULTS if name.startswith("choria_results_")}
    assert role_checks.NEEDED | free | results == set(DEFAULTS)


def test_what_is_removed_is_checked_without_brokers() -> None:
    without = {**GIVEN, "choria_broker_hosts": [], "choria_stream_replicas": 0}
    assert role_checks.removal_problems(without) == []
    for name, value in (("stream_store", "/srv"), ("status_file", "/var/log"), ("purge_data", "false")):
        [problem] = role_checks.removal_problems({**without, f"choria_{name}": value})
        assert problem.startswith(f"choria_{name} is '{value}'")


def test_jobs_and_agents_are_checked_by_themselves() -> None:
    """Their entry points need no brokers, and no other variables."""
    jobs = {"choria_config_folder": "/etc/choria", "choria_security_provider": "file"}
    agents = {"choria_machines_keep": ["SITE-*"], "choria_machine_store": "/etc/choria/machines"}
    assert role_checks.job_problems({**jobs, "choria_governed_jobs": [JOB]}) == []
    [problem] = role_checks.job_problems({**jobs, "choria_governed_jobs": [{**JOB, "on_calendar": "03:15"}]})
    assert "give schedule, for cron, or on_calendar" in problem
    assert role_checks.machine_problems({**agents, "choria_machines": [{"name": "A"}]}) == []
    [problem] = role_checks.machine_problems({**agents, "choria_machines": [{"name": "a b"}]})
    assert problem.startswith("choria_machines, 'a b': name is 'a b'")
