# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A message is one short line that a terminal shows as it is, whatever names and values it has."""

from __future__ import annotations

import json

import pytest

from ansible_collections.choria.streams.plugins.module_utils._errors import (
    LONGEST,
    OptionError,
    OutcomeUnknown,
    Unreachable,
)
from support.in_process import run_module


def test_messages_are_one_line_without_control_characters() -> None:
    error = OptionError("path", "'a\nb\r\x1b[31m\0\ud800ä\u2028' is not there.")
    assert error.message == "path: 'a b  [31m  ä ' is not there."
    assert OutcomeUnknown("a", Unreachable("b\nc.")).message.endswith("Reason: b c.")
    assert OptionError("a", "b:\n- c\n- d").message == "a: b:\n- c\n- d"


@pytest.mark.parametrize("option", ["priority", "encoding", "sign", "headers"])
def test_long_values_are_cut(option: str) -> None:
    """Some of these values are refused by Ansible itself."""
    value = "a\n" * 500_000
    outcome = run_module("choria_submit", {"subject": "a", "payload": "x", option: value})
    assert outcome.failed and option in outcome.message
    assert len(outcome.message) < LONGEST + 10 and outcome.message.isprintable()
    assert len(json.dumps(outcome.result.get("failure", ""))) < LONGEST
