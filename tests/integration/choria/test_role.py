# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role refuses wrong variables before it changes anything. Scenarios in extensions/molecule test the deployment
on hosts.
"""

from __future__ import annotations

import os
import pwd
import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest

from support.playbook import PlaybookResult, run_playbook
from support.tls import Authority

if TYPE_CHECKING:
    from pathlib import Path

# Each entry is a host of one play. FOLDER and PORT are replaced when the test runs
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
    # In case it ever installs something
    "choria_repository_key": "file:///nowhere",
    "family": "Debian",
    "choria_install_method": "none",
    "choria_stream_replicas": 1,
    "choria_tls_ca": "FOLDER/ca.crt",
    "choria_tls_certificate": "FOLDER/one.crt",
    "choria_tls_key": "FOLDER/one.key",
}
ROLE = {"ansible.builtin.include_role": {"name": "choria.streams.choria"}}
# All facts that the role needs, since gathering them for so many hosts takes long
KNOWN = {"ansible.builtin.set_fact": {"cacheable": True, "ansible_os_family": "{{ family }}"}}
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}


def messages(result: dict[str, Any]) -> str:
    return " ".join(str(one.get(key, "")) for one in result.get("results", [result]) for key in ("msg", "stderr"))


@pytest.mark.once
def test_wrong_variables_and_files_are_refused(tmp_path: Path) -> None:
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
    """Brokers are restarted one after the other, which only the strategy linear supports."""
    result = run_playbook(
        [{"hosts": "all", "gather_facts": False, "strategy": "free", "tasks": [ROLE]}],
        inventory={"all": {"hosts": {"b1": {}, "b2": {}, "b3": {}}, "vars": {**GOOD, **LOCAL}}},
    )
    assert result.rc != 0 and not any(task.changed for task in result.tasks)
    assert (
        "Only with 'strategy: linear' can brokers restart one after the other: set it, or leave strategy out"
        in result.output
    )


@pytest.mark.once
def test_values_are_computed_from_variables_when_they_are_used() -> None:
    """Facts and results of tasks do not exist before their tasks."""

    def shown(**variables: Any) -> PlaybookResult:
        task = {"ansible.builtin.debug": {"msg": "{{ 'users' | choria.streams.choria_role_value }}"}, "name": "it"}
        later = {"choria_security_folder": "", "choria_security_provider": "{{ not_yet_registered.provider }}"}
        play = {"hosts": "localhost", "gather_facts": False, "vars": {**later, **variables}, "tasks": [task]}
        return run_playbook([play])

    user = shown(who="bob", choria_client_users=[{"name": "{{ who }}"}]).check().task("it").result["msg"][0]
    assert (user["name"], user["identity"]) == ("bob", "bob")
    assert "needs the variable 'choria_client_users': define it." in shown().output
    wrong = shown(choria_client_users=5)
    assert "choria_role_value: a variable for users has a wrong value (" in wrong.output
    assert "not_yet_registered" in shown(choria_client_users=[{"name": "bob"}], choria_security_folder="/s").output


def test_entry_points_check_their_own_variables() -> None:
    """The entry points for jobs and agents need no brokers."""
    job = {"name": "report", "governor": "JOBS", "command": "true"}
    hosts: dict[str, tuple[dict[str, Any], str]] = {
        "no schedule": ({"part": "jobs", "choria_governed_jobs": [job]}, "report: give schedule, for cron, or on_cal"),
        "no list": ({"part": "jobs", "choria_governed_jobs": 5}, "choria_governed_jobs"),
        "no name": (
            {"part": "machines", "choria_machines": [{"name": "a b"}]},
            "choria_machines, 'a b': name is 'a b'",
        ),
        "no Choria": ({"part": "jobs", "choria_state": "absent"}, "choria_state is absent for no Choria: run the role"),
        "backups": ({"part": "jobs", "choria_backups": [{"name": "b"}]}, ""),
    }
    # ansible-core 2.19 uses the same tasks_from for all hosts of a task
    tasks = [
        {
            "ansible.builtin.include_role": {"name": "choria.streams.choria", "tasks_from": part},
            "when": f"part == '{part}'",
        }
        for part in ("jobs", "machines")
    ]
    result = run_playbook(
        [{"hosts": "all", "gather_facts": False, "tasks": tasks}],
        inventory={"all": {"hosts": {name: given for name, (given, _says) in hosts.items()}, "vars": LOCAL}},
    )
    said = {task.host: str(task.result) for task in result.tasks if task.status == "failed"}
    assert said.pop("backups", "") == ""
    assert all(says in said.get(name, "") for name, (_given, says) in hosts.items()), result.output


def test_what_is_removed_is_checked_first() -> None:
    """In check mode, since a role that checks nothing would remove these folders."""
    hosts: dict[str, tuple[dict[str, Any], str]] = {
        "store": ({"choria_stream_store": "/srv"}, "choria_stream_store is '/srv', which belongs to the system"),
        "status": ({"choria_status_file": "/var/log"}, "choria_status_file is '/var/log', which belongs to the system"),
        "job": ({"choria_governed_jobs": [{"name": ""}]}, "choria_governed_jobs, '': name is ''"),
        "text": ({"choria_purge_data": "false"}, "choria_purge_data is 'false': give true or false without quotes"),
    }
    given = {"choria_state": "absent", "choria_purge_data": True, "choria_install_method": "none", **LOCAL}
    result = run_playbook(
        [{"hosts": "all", "gather_facts": False, "tasks": [ROLE]}],
        inventory={"all": {"hosts": {name: bad for name, (bad, _says) in hosts.items()}, "vars": given}},
        check=True,
    )
    assert not any(task.changed for task in result.tasks), result.output
    said = {task.host: task.message for task in result.tasks if task.status == "failed"}
    assert all(says in said[name] for name, (_bad, says) in hosts.items()), said


def test_a_link_of_a_user_leads_nowhere(tmp_path: Path) -> None:
    """The role runs as root, and gives ~/.choria to its user. That must not be a folder of others."""
    home, other = tmp_path / "home", tmp_path / "other"
    home.mkdir()
    other.mkdir(mode=0o755)
    (home / ".choria").symlink_to(other)
    user = pwd.getpwuid(os.getuid()).pw_name
    role = {"name": "choria.streams.choria", "tasks_from": "client/users.yml"}
    accounts = {user: ["x", str(os.getuid()), str(os.getgid()), "", str(home), "/bin/sh"]}
    given = {"choria_client_users": [{"name": user}], "_choria_accounts": accounts}
    task = {"ansible.builtin.include_role": role, "vars": given}
    result = run_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}])
    assert "already exists as a link" in str([task.result for task in result.tasks if task.status == "failed"])
    assert stat.S_IMODE(other.stat().st_mode) == 0o755 and not list(other.iterdir())


def redhat(folder: Path, *, check: bool, **given: Any) -> PlaybookResult:
    """Run the tasks that install from a repository on EL, in the test's folders. They fail where this system is not
    EL.
    """
    install = {
        "ansible.builtin.include_role": {"name": "choria.streams.choria", "tasks_from": "install/redhat"},
        "vars": {"_choria_rpm_key": str(folder / "key"), **given},
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "module_defaults": {
            "ansible.builtin.yum_repository": {"reposdir": str(folder)},
            # The module has to report that it can't run here. If it could, it would install into this folder
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
    # Without a host of EL, it fails when it installs the package
    result = redhat(tmp_path, check=False, choria_repository_key="", choria_version="0.30.2")
    written = (tmp_path / "choria.repo").read_text()
    assert "repo_gpgcheck = 0" in written and "gpgkey" not in written
    installed = result.task("choria.streams.choria : Install the package")
    assert installed.status == "failed"
    given = installed.result["invocation"]["module_args"]
    assert (given["name"], given["state"], given["allow_downgrade"]) == (["choria-0.30.2*"], "present", True)
