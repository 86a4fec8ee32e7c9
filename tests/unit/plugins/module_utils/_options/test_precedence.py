# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The precedence of connection options from several places, as docs/choria-sites.md documents it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._options.connection import (
    AROUND,
    CONNECTION,
    FOREIGN,
    TASK,
    chosen,
)

DEFAULTS = {row.option: row.argument().get("default") for row in CONNECTION}
T, A, F = TASK, AROUND, FOREIGN


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"servers": (F, ["f"])}, {"servers": ["f"]}, id="NATS_URL alone"),
        pytest.param(
            {"context": (T, "c"), "servers": (F, ["f"])}, {"context": "c"}, id="the task's context leaves NATS_URL out"
        ),
        pytest.param(
            {"choria_config": (T, "c"), "servers": (A, ["a"]), "context": (A, "x")},
            {"choria_config": "c"},
            id="the task's file leaves the environment's servers and context out",
        ),
        pytest.param(
            {"choria_config": (A, "c"), "servers": (F, ["f"])},
            {"choria_config": "c"},
            id="our variable before NATS_URL",
        ),
        pytest.param(
            {"servers": (T, ["t"]), "context": (A, "x"), "choria_config": (A, "c")},
            {"servers": ["t"]},
            id="the task's servers leave sources of the environment out",
        ),
        pytest.param(
            {"servers": (T, ["t"]), "user": (A, "u"), "password": (A, "p"), "ca_path": (A, "ca")},
            {"servers": ["t"], "user": "u", "password": "p", "ca_path": "ca"},
            id="single options of the environment complete the task's servers",
        ),
        pytest.param(
            {"context": (T, "c"), "user": (A, "u"), "ca_path": (A, "ca"), "validate_certs": (A, False)},
            {"context": "c"},
            id="and are not added to the task's context",
        ),
        pytest.param({"context": (T, "c"), "timeout": (A, "1m")}, {"context": "c", "timeout": "1m"}, id="but timeouts"),
        pytest.param(
            {"context": (T, "c"), "ca_path": (T, "ca"), "servers": (T, ["t"])},
            {"context": "c", "ca_path": "ca", "servers": ["t"]},
            id="what the task sets beside its context counts",
        ),
        pytest.param(
            {"token": (T, "t"), "user": (A, "u"), "password": (A, "p")}, {"token": "t"}, id="credentials as a whole"
        ),
        pytest.param({"domain": (T, "d"), "api_prefix": (A, "x")}, {"domain": "d"}, id="domain or api_prefix"),
        pytest.param(
            {"servers": (T, ""), "token": (T, ""), "ca_path": (A, ""), "timeout": (T, None), "tls_first": (A, "")},
            {},
            id="empty is not set",
        ),
        pytest.param({"servers": (T, [""]), "validate_certs": (T, False)}, {"validate_certs": False}, id="empty list"),
    ],
)
def test_the_first_place_counts(given: dict[str, tuple[int, Any]], expected: dict[str, Any]) -> None:
    values = {name: value for name, (_origin, value) in given.items()}
    found = chosen(values, {name: origin for name, (origin, _value) in given.items()})
    assert found == {**DEFAULTS, **expected}
