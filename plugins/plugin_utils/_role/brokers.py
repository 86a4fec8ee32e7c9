# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Combine the states of all brokers of a cluster: unhealthy brokers, and streams with differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.module_utils._options.quantities import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# The streams that brokers make themselves, by the words of Choria's settings
STREAMS = {
    "advisory": "CHORIA_STREAM_ADVISORIES",
    "event": "CHORIA_EVENTS",
    "executor": "CHORIA_EXECUTOR",
    "machine": "CHORIA_MACHINE",
}


def brokers(answers: Sequence[Mapping[str, Any]], replicas: Any, retention: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``ill`` and ``drift``, each a list of dicts with ``name`` and ``text``.

    Those of ``ill`` also have ``well`` and ``whole`` of choria_broker_info.

    ``answers`` are the results of a loop with choria_broker_info over all brokers, whose items are the names of the
    brokers. ``replicas`` and ``retention`` are the variables choria_stream_replicas and choria_stream_retention.
    """
    return {
        "ill": [
            {
                "name": str(answer.get("item", "")),
                "text": f"{answer.get('item', '')} ({'; '.join(reasons)})",
                **{key: bool((answer.get("broker") or {}).get(key)) for key in ("well", "whole")},
            }
            for answer, reasons in ((answer, _problems(answer)) for answer in answers)
            if reasons
        ],
        "drift": [
            {"name": name, "text": f"{name} {' and '.join(differences)}"}
            for name, differences in _differences(answers, int(replicas), retention)
            if differences
        ],
    }


def _problems(answer: Mapping[str, Any]) -> list[str]:
    """Return why a broker is not healthy, also if it did not answer."""
    broker = answer.get("broker")
    if isinstance(broker, dict):
        return [str(problem) for problem in broker["problems"]]
    return [str(answer.get("msg") or "no answer").rstrip(".")]


def _differences(
    answers: Sequence[Mapping[str, Any]], replicas: int, retention: Mapping[str, Any]
) -> Iterator[tuple[str, list[str]]]:
    """Yield each stream that brokers should make, with what is different.

    Only the leader of a stream is asked: other copies, and a broker that just started, may know an old configuration.
    """
    led = {stream["name"]: stream for answer in answers for stream in (answer.get("broker") or {}).get("streams", [])}
    for kind, name in STREAMS.items():
        # Choria keeps a stream for 0 seconds by not making it
        wanted = parse_duration(str(retention[kind])) if kind in retention else None
        if wanted == 0:
            continue
        found = led.get(name)
        if found is None:
            yield name, ["is missing, or has no leader"]
            continue
        differences = []
        if found["replicas"] != replicas:
            differences.append(f"has {found['replicas']} replicas in place of {replicas}")
        if wanted is not None and found["max_age"] != wanted:
            differences.append(f"keeps messages for {found['max_age']:.0f}s in place of {wanted:.0f}s")
        yield name, differences
