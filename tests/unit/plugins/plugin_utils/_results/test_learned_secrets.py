# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forked processes send secrets to the process that masks events. They learn them from templates."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible.vars.hostvars import HostVarsVars

from ansible_collections.choria.streams.plugins.module_utils._options.mask import USUAL
from ansible_collections.choria.streams.plugins.plugin_utils._results import learned_secrets as _learned_secrets
from ansible_collections.choria.streams.plugins.plugin_utils._results import template_watch

if TYPE_CHECKING:
    from collections.abc import Iterator

T = trust_as_template
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> _learned_secrets.Channel:
    monkeypatch.setattr(_learned_secrets, "_channel", None)
    return _learned_secrets.open_channel()


def in_processes(count: int, work: Any) -> None:
    processes = [FORK.Process(target=work, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def test_secrets_of_forked_processes_are_read(channel: _learned_secrets.Channel) -> None:
    def work(number: int) -> None:
        for item in range(200):
            _learned_secrets.learn([f"secret {number}\n{item} ü"])

    in_processes(8, work)
    found = channel.read()
    assert sorted(found) == sorted(f"secret {number}\n{item} ü" for number in range(8) for item in range(200))
    assert channel.read() == []
    # A known secret is not written again
    in_processes(2, work)
    assert channel.read() == []
    _learned_secrets.learn(["x" * 3_000_000])
    assert len(channel.read()[0]) == 3_000_000


def test_programs_do_not_inherit_it(channel: _learned_secrets.Channel) -> None:
    names = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in (3, 4, 5, 6, 7) "
            "if os.path.exists(f'/proc/self/fd/{n}')])",
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        close_fds=False,
    ).stdout
    assert "choria_results" not in names


def test_without_a_callback_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_learned_secrets, "_channel", None)
    _learned_secrets.learn(["secret"])
    assert _learned_secrets.open_channel().read() == []


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("app.password", "PLANTED", {"PLANTED"}),
        ("app.password", {"a": ["PLANTED", 1234567, True, None, ""]}, {"PLANTED", "1234567"}),
        ("app", {"password": "PLANTED", "port": 5432}, {"PLANTED"}),
        ("app", [{"deep": {"api_key": ["PLANTED"]}, "name": "x"}], {"PLANTED"}),
        ("app", [{"name": "API_TOKEN", "value": "PLANTED"}, {"name": "PORT", "value": "80"}], {"PLANTED"}),
        ("app", "PLANTED", set()),
    ],
)
def test_secrets_in_lookup_values(key: str, value: Any, expected: set[str], channel: _learned_secrets.Channel) -> None:
    assert set(_learned_secrets.secrets_in(key, value, USUAL)) == expected
    _learned_secrets.learn_values(key, value)
    assert set(channel.read()) == expected


@pytest.fixture
def learned() -> Iterator[set[str]]:
    found: set[str] = set()
    assert template_watch.watch(USUAL.hides, found.update)
    yield found
    template_watch.Watch.hides = staticmethod(lambda _key: False)


@pytest.mark.parametrize(
    ("variables", "template", "expected"),
    [
        ({"db_password": T("{{ 'PLAN' ~ 'TED' }}")}, "{{ db_password }}", {"PLANTED"}),
        ({"db_password": "PLANTED"}, "{{ db_password }}", set()),
        ({"colour": T("{{ 'bl' ~ 'ue' }}")}, "{{ colour }}", set()),
        ({"pin_token": T("{{ '123' ~ '4567' }}")}, "{{ pin_token }}", {"1234567"}),
        ({"a": {"b": [{"api_key": T("{{ 'PLAN' ~ 'TED' }}")}]}}, "{{ a.b[0].api_key }}", {"PLANTED"}),
        ({"secrets": {"x": T("{{ 'PLAN' ~ 'TED' }}")}}, "{{ secrets.x }}", {"PLANTED"}),
        ({"secrets": {"x": T("{{ 'PLAN' ~ 'TED' }}")}}, "{{ secrets }}", {"PLANTED"}),
        ({"secrets": [T("{{ 'PLAN' ~ 'TED' }}"), "b"]}, "{{ secrets | first }}", {"PLANTED"}),
        ({"secrets": T("{{ {'x': ['PLANTED']} }}")}, "{{ secrets.x[0] }}", {"PLANTED"}),
        ({"secrets": T("{{ other }}"), "other": {"x": T("{{ 'PLAN' ~ 'TED' }}")}}, "{{ secrets.x }}", {"PLANTED"}),
        ({"secrets": {"x": T("{{ 1 / 0 }}"), "y": T("{{ 'PLAN' ~ 'TED' }}")}}, "{{ secrets.y }}", {"PLANTED"}),
        ({"db_password": T("{{ missing }}")}, "{{ db_password | default('x') }}", set()),
    ],
)
def test_secrets_in_results_of_templates(variables: Any, template: str, expected: set[str], learned: set[str]) -> None:
    Templar(loader=DataLoader(), variables=variables).template(T(template))
    assert learned == expected


def test_variables_of_other_hosts(learned: set[str]) -> None:
    variables = HostVarsVars(
        {"db_password": T("{{ 'PLAN' ~ 'TED' }}"), "colour": T("{{ 'bl' ~ 'ue' }}")}, DataLoader(), "a"
    )
    assert (str(variables["db_password"]), str(variables["colour"])) == ("PLANTED", "blue")
    assert learned == {"PLANTED"}


def test_another_ansible_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_watch, "LAZY", None)
    assert not template_watch.watch(USUAL.hides, print)
