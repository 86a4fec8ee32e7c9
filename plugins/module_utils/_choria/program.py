# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the choria program of this host, which the option ``program`` names."""

from __future__ import annotations

import os
import subprocess

from .. import _errors

_TIMEOUT = 30  # seconds


def ask(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command and return its status and output. Raises OptionError if it does not start, or does not end."""
    try:
        # Services know no AnsibleModule, whose run_command ansible-test would like to see here
        return subprocess.run(  # pylint: disable=ansible-bad-function
            [program, *arguments],
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL,
            env={"USER": "root", **os.environ},  # which some of its commands can't do without
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        words = " ".join(argument for argument in arguments if not argument.startswith("/"))
        raise _errors.OptionError("program", f"{program} {words} does not work ({error}): check program.") from error
