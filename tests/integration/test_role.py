# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role refuses before it changes anything. That it deploys is tried on hosts: extensions/molecule."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from support.playbook import PlaybookResult, run_playbook
from support.tls import Authority

if TYPE_CHECKING:
    from pathlib import Path

# Each is a host of one play. What FOLDER and PORT stand for is known when the test runs.
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no brokers": ({"choria_broker_hosts": []}, "There are no brokers"),
    "an even cluster": ({"choria_broker_hosts": ["localhost", "b2"]}, "choria_broker_hosts has 2 brokers"),
    "replicas over peers": (
        {"choria_stream_replicas": 3},
        "choria_stream_replicas is 3, but 1 broker(s) can hold 1 copies at most",
    ),
    "a broker that nobody names": ({"choria_broker_hosts": ["b1"]}, "choria_broker_hosts does not name it"),
    "no time": (
        {"choria_stream_retention": {"event": "soon"}},
        "choria_stream_retention has 'event', which is 'soon': give a number",
    ),
    "no stream": (
        {"choria_stream_retention": {"events": "1d"}},
        "choria_stream_retention has a name that is 'events': give one of advisory",
    ),
    "a gateway of one": ({"choria_gateway_port": 7222}, "choria_gateway_port is set"),
    "no issuer": (
        {"choria_security_provider": "choria"},
        "choria_issuer_public_key is not the public key of an issuer",
    ),
    "no archive": ({"choria_install_method": "archive"}, "choria_archive names none"),
    "a URL without a checksum": (
        {"choria_install_method": "archive", "choria_archive": "https://localhost/choria"},
        "give choria_archive_checksum too",
    ),
    "a missing archive": (
        {"choria_install_method": "archive", "choria_archive": "/nowhere/choria"},
        "choria_archive: /nowhere/choria is not on the controller",
    ),
    "another archive": (
        {
            "choria_install_method": "archive",
            "choria_archive": "FOLDER/one.crt",
            "choria_archive_checksum": "sha256:" + "0" * 64,
        },
        "/one.crt has",
    ),
    "a missing authority": (
        {"choria_tls_ca": "/nowhere/ca.pem"},
        "choria_tls_ca: /nowhere/ca.pem is not on the controller",
    ),
    "no certificates": (
        {"choria_tls_ca": "", "choria_tls_certificate": "", "choria_tls_key": ""},
        "/etc/tls/ca.pem is not on no certificates: put it there",
    ),
    "no certificates of Puppet": (
        {"choria_security_provider": "puppet", "choria_puppet_ssldir": "FOLDER/puppet"},
        "/puppet/certs/ca.pem is not on no certificates of Puppet",
    ),
    "a folder for a certificate": ({"choria_tls_certificate": "FOLDER"}, "choria_tls_certificate: "),
    "a certificate of another authority": ({"choria_tls_ca": "FOLDER/other.crt"}, "one.crt is not valid with "),
    "an expired certificate": (
        {"choria_tls_certificate": "FOLDER/old.crt", "choria_tls_key": "FOLDER/old.key"},
        "certificate has expired",
    ),
    "a certificate for another name": (
        {"choria_broker": False, "choria_identity": "web1.example.net"},
        "one.crt is not valid for web1.example.net",
    ),
    "a token that is none": (
        {
            "choria_security_provider": "choria",
            "choria_issuer_public_key": "ab" * 32,
            "choria_server_token": "FOLDER/one.crt",
            "choria_server_seed": "FOLDER/one.key",
        },
        "choria_server_token: FOLDER/one.crt does not hold a token",
    ),
    "no certificate but a key": ({"choria_tls_certificate": "FOLDER/one.key"}, "one.key and "),
    "a key that does not match": ({"choria_tls_key": "FOLDER/two.key"}, "two.key can't be used: KEY_VALUES_MISMATCH"),
    "an unknown key": (
        {"choria_broker_settings": {"plugin.choria.network.client_prot": 1}},
        "did you mean plugin.choria.network.client_port",
    ),
    "a taken port": ({"choria_broker_port": "PORT"}, "Port PORT of a taken port is taken by another program"),
    "another system": (
        {"choria_install_method": "package", "family": "Slackware"},
        "installs on Debian and RedHat alone, and another system is Slackware",
    ),
    "a user's missing key": (
        {"choria_client_users": [{"name": "bob", "certificate": "FOLDER/one.crt", "key": "/nowhere/bob.key"}]},
        "choria_client_users, bob: key: /nowhere/bob.key is not on the controller",
    ),
    "an agent's missing archive": (
        {"choria_machines": [{"name": "A", "archive": "/nowhere/a.tar", "archive_checksum": "sha256:" + "0" * 64}]},
        "choria_machines, A: archive: /nowhere/a.tar is not on the controller",
    ),
    "an archive without a checksum": (
        {"choria_machines": [{"name": "A", "archive": "https://localhost/a.tar"}]},
        "choria_machines, A: an archive needs archive_checksum",
    ),
}
GOOD = {
    "choria_broker": True,
    "choria_broker_hosts": ["localhost"],
    "choria_identity": "localhost",
    "choria_broker_port": 1,
    "choria_config_folder": "FOLDER/etc",
    # Should it ever install something
    "choria_repository_key": "file:///nowhere",
    "family": "Debian",
    "choria_install_method": "none",
    "choria_stream_replicas": 1,
    "choria_tls_ca": "FOLDER/ca.crt",
    "choria_tls_certificate": "FOLDER/one.crt",
    "choria_tls_key": "FOLDER/one.key",
}
ROLE = {"ansible.builtin.include_role": {"name": "choria.streams.choria"}}
# All that the role wants to know of hosts, which takes a while to gather for so many
KNOWN = {"ansible.builtin.set_fact": {"cacheable": True, "ansible_os_family": "{{ family }}"}}
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}


def messages(result: dict[str, Any]) -> str:
    return " ".join(str(one.get(key, "")) for one in result.get("results", [result]) for key in ("msg", "stderr"))


@pytest.mark.once
def test_what_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    Authority(tmp_path, "other")
    for name, days in (("one", 1), ("two", 1), ("old", -1)):
        authority.issue(name, ["localhost"], days=days, folder=tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])

        def known(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: known(item) for name, item in value.items()}
            if isinstance(value, list):
                return [known(item) for item in value]
            return value.replace("FOLDER", str(tmp_path)).replace("PORT", port) if isinstance(value, str) else value

        hosts = {label: known({**GOOD, **bad}) for label, (bad, _says) in BAD.items()}
        result = run_playbook(
            [{"hosts": "all", "gather_facts": False, "tasks": [KNOWN, ROLE]}],
            inventory={"all": {"hosts": hosts, "vars": LOCAL}},
        )
    assert all(stats.get("failures") == 1 and not stats.get("changed") for stats in result.stats.values())
    said = {task.host: messages(task.result) for task in result.tasks if task.status == "failed"}
    for label, (_bad, says) in BAD.items():
        assert known(says) in said[label]
    assert not (tmp_path / "etc").exists()


def test_hosts_have_to_wait_for_each_other() -> None:
    """Brokers are restarted one after the other, which other strategies than linear know nothing of."""
    result = run_playbook(
        [{"hosts": "all", "gather_facts": False, "strategy": "free", "tasks": [ROLE]}],
        inventory={"all": {"hosts": {"b1": {}, "b2": {}, "b3": {}}, "vars": {**GOOD, **LOCAL}}},
    )
    assert result.rc != 0 and not any(task.changed for task in result.tasks)
    assert (
        "Only with 'strategy: linear' can brokers restart one after the other: set it, or leave strategy out"
        in result.output
    )


def redhat(folder: Path, *, check: bool, **given: Any) -> PlaybookResult:
    """The tasks that install from a repository on EL, as far as this system lets them go, in folders of the test's."""
    install = {
        "ansible.builtin.include_role": {"name": "choria.streams.choria", "tasks_from": "install/redhat"},
        "vars": {"_choria_rpm_key": str(folder / "key"), **given},
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "module_defaults": {
            "ansible.builtin.yum_repository": {"reposdir": str(folder)},
            # The module itself has to say that it can do nothing here; should it be able to, it does it in this folder
            "ansible.builtin.dnf": {"use_backend": "dnf4", "installroot": str(folder / "root")},
        },
        "tasks": [KNOWN, install],
    }
    env = {"ANSIBLE_INJECT_INVOCATION": "true"}
    return run_playbook([play], extra_vars={"family": "RedHat"}, env=env, check=check, diff=True)


@pytest.mark.once
def test_the_repository_of_el(tmp_path: Path) -> None:
    (tmp_path / "key.asc").write_text("a key")
    result = redhat(tmp_path, check=True, choria_repository_key=f"file://{tmp_path}/key.asc").check()
    assert result.task("choria.streams.choria : Install the repository's key").changed
    diff = result.task("choria.streams.choria : Configure the repository").result["diff"]
    shown = "\n".join(one.get("after", "") for one in ([diff] if isinstance(diff, dict) else diff))
    assert set(shown.split("\n")) >= {
        "[choria]",
        "mirrorlist = http://mirrorlists.choria.io/yum/release/el/generic/$basearch.txt",
        f"gpgkey = file://{tmp_path}/key",
        "repo_gpgcheck = 1",
        "gpgcheck = 0",
        "sslverify = 1",
    }
    own = redhat(
        tmp_path, check=True, choria_repository_key="", choria_repository="https://mirror.example.net/el9"
    ).check()
    diff = own.task("choria.streams.choria : Configure the repository").result["diff"]
    shown = "\n".join(one.get("after", "") for one in ([diff] if isinstance(diff, dict) else diff))
    assert "baseurl = https://mirror.example.net/el9" in shown and "mirrorlist" not in shown
    # Without a host of EL it ends where the package is to be installed
    result = redhat(tmp_path, check=False, choria_repository_key="", choria_version="0.30.2")
    written = (tmp_path / "choria.repo").read_text()
    assert "repo_gpgcheck = 0" in written and "gpgkey" not in written
    installed = result.task("choria.streams.choria : Install the package")
    assert installed.status == "failed"
    given = installed.result["invocation"]["module_args"]
    assert (given["name"], given["state"], given["allow_downgrade"]) == (["choria-0.30.2*"], "present", True)
