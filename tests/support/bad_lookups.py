# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calls the lookups with bad terms and options, in a process where Ansible loads them as it does for users.

``python bad_lookups.py URL COUNT`` prints a line for each call that raised another error than Ansible's, or took
more than five seconds.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, lookup_loader
from ansible.template import Templar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.bad_values import BAD

LOOKUPS: dict[str, tuple[str, list[str]]] = {
    "choria_kv": ("B/k", ["bucket", "missing", "revision", "history", "prefix", "as_of", "format", "query", "default"]),
    "choria_stream": ("S", ["sequence", "subject", "last", "since", "limit", "format", "query", "full", "missing"]),
    "choria_governor": ("G", ["missing"]),
}
_CONNECTION = ["servers", "ca_path", "context", "timeout", "choria_config", "jwt", "creds", "domain", "tls"]
_NO_TERMS: tuple[Any, ...] = (None, "", 5, {}, "\0", "\ud800")
_LONGEST = 5.0


def call(name: str, term: Any, options: dict[str, Any], variables: dict[str, Any]) -> str:
    """Return the fault of a call, or an empty text for a value or a refusal in time."""
    lookup = lookup_loader.get(
        f"choria.streams.{name}", loader=DataLoader(), templar=Templar(DataLoader(), dict(variables))
    )
    began = time.monotonic()
    problem = ""
    try:
        lookup.run([term], variables, **options)
        if term in _NO_TERMS:
            problem = "took a term that is none"
    except AnsibleError as error:
        if "Traceback" in str(error):
            problem = str(error)
    except Exception as error:  # any exception is a fault
        problem = f"{type(error).__name__}: {error}"
    return problem or ("took too long" if time.monotonic() - began > _LONGEST else "")


def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    init_plugin_loader()
    connection = {"servers": [url], "timeout": "2s", "connect_timeout": "1s"}
    cases: list[tuple[str, Any, dict[str, Any], dict[str, Any]]] = []
    for name, (term, own) in LOOKUPS.items():
        cases += [(name, bad, connection, {}) for bad in BAD]
        cases += [(name, term, {**connection, option: bad}, {}) for option in (*own, *_CONNECTION) for bad in BAD]
        for option in _CONNECTION:
            others = {key: value for key, value in connection.items() if key != option}
            cases += [(name, term, others, {f"choria_streams_{option}": bad}) for bad in BAD]
    chosen: list[tuple[str, Any, dict[str, Any], dict[str, Any]]] = [
        (name, bad, connection, {}) for name in LOOKUPS for bad in _NO_TERMS
    ]
    for name, term, options, variables in [*chosen, *random.Random(1).sample(cases, min(count, len(cases)))]:
        problem = call(name, term, options, variables)
        if problem:
            print(ascii((name, term, options, variables))[:400], ascii(problem)[:400])


if __name__ == "__main__":
    main()
