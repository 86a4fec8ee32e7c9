# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""choria_credentials: tasks that use the same folder at once, and names that certificates can't have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._choria import issuing
from ansible_collections.choria.streams.plugins.module_utils._choria.signing import claims_signed_by
from support.in_process import Outcome, run_module
from support.playbook import run_playbook

if TYPE_CHECKING:
    from pathlib import Path


def make(folder: Path, **given: Any) -> Outcome:
    return run_module("choria_credentials", {"folder": str(folder), **given})


def test_hosts_share_a_folder(tmp_path: Path) -> None:
    """Each makes its own files on the controller, all at once: they get one authority and one issuer."""
    folder, hosts = tmp_path / "keys", ["h1", "h2", "h3", "h4"]
    task = {
        "choria.streams.choria_credentials": {
            "folder": str(folder),
            "certificates": [{"name": "{{ inventory_hostname }}"}],
            "server_tokens": [{"name": "{{ inventory_hostname }}"}],
        },
        "delegate_to": "localhost",
    }
    play = {"hosts": "all", "gather_facts": False, "tasks": [task]}
    run_playbook([play], inventory=hosts, args=["--forks", "4"]).check()
    issuer = issuing.public_key((folder / "issuer.seed").read_text())
    for host in hosts:
        certificate, key, authority = ((folder / name).read_text() for name in (f"{host}.pem", f"{host}.key", "ca.pem"))
        assert issuing.certificate_facts(certificate, key, authority)
        assert claims_signed_by(issuer, (folder / f"{host}.jwt").read_text())
    assert not any(task.changed for task in run_playbook([play], inventory=hosts).check().tasks)


@pytest.mark.parametrize(("kind", "length"), [("certificates", 64), ("client_tokens", 250)])
def test_long_names(kind: str, length: int, tmp_path: Path) -> None:
    assert make(tmp_path, **{kind: [{"name": "a" * length}]}).result["changed"]
    outcome = make(tmp_path, **{kind: [{"name": "a" * (length + 1)}]})
    assert outcome.message.endswith(f"is too long: give at most {length} characters."), outcome


@pytest.mark.parametrize("host", ["fe80::1%eth0", "FE80::1", "192.0.2.1", "A.example.net"])
def test_a_certificate_is_made_once(host: str, tmp_path: Path) -> None:
    entry = {"certificates": [{"name": "web1", "hosts": [host]}]}
    assert [make(tmp_path, **entry).result["changed"] for _run in range(2)] == [True, False]


@pytest.mark.parametrize("host", ["", "a b", "a,b", "10.0.0.0/8", "a\tb", "mün.example.net"])
def test_hosts_that_certificates_do_not_have(host: str, tmp_path: Path) -> None:
    outcome = make(tmp_path, certificates=[{"name": "web1", "hosts": [host]}])
    assert outcome.message == (
        f"certificates[0].hosts: {host} can't be in a certificate: use ASCII names and addresses.".replace("\t", " ")
    ), outcome
    assert not list(tmp_path.iterdir())


def warned(outcome: Outcome) -> bool:
    """Return True if there is a warning about this authority."""
    ends = outcome.result["credentials"]["authority_expires"]
    return f"expires at {ends}, and is never renewed by itself: with its ca.key beside" in str(outcome.warnings)


def test_an_authority_that_expires_soon(tmp_path: Path) -> None:
    """Nothing renews it by itself. A new certificate for its key leaves all others valid."""
    task = {"certificates": [{"name": "web1"}], "validity": "90d"}
    authority = tmp_path / "ca.pem"
    assert not warned(make(tmp_path, **task))
    for days, warns in ((91, False), (89, True), (0, True)):
        authority.write_text(issuing.new_authority("Choria", (tmp_path / "ca.key").read_text(), days * 86400))
        for check_mode in (True, False):
            outcome = run_module("choria_credentials", {"folder": str(tmp_path), **task}, check_mode=check_mode)
            assert not outcome.result["changed"]
            assert warned(outcome) == warns
    authority.unlink()
    renewed = make(tmp_path, **task)
    assert renewed.result["written"] == ["ca.pem"]
    assert not warned(renewed)
    assert not make(tmp_path, **task).result["changed"]
