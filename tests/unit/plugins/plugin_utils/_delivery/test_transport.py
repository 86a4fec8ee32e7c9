# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Warnings of the callback's connection, which the last line of a run shows."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.plugin_utils._delivery.transport import Direct
from support.connect import settings


@pytest.mark.parametrize(
    ("given", "says"),
    [({"validate_certs": False, "tls": "required"}, "validate_certs"), ({"tls": "off"}, "")],
)
def test_warnings_of_the_connection(given: dict[str, Any], says: str) -> None:
    warning = Direct(settings(servers="nats://127.0.0.1:1", **given), "runs", "RUNS").warning
    assert says in warning
    assert bool(warning) == bool(says)
