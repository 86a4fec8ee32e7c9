# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Combine the states of all brokers of a cluster: unhealthy brokers, and streams with differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.module_utils._options.quantities import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# The streams that brokers create themselves, by their words in Choria's settings
STREAMS = {
    "advisory": "CHORIA_STREAM_ADVISORIES",
    "event": "CHORIA_EVENTS",
    "executor": "CHORIA_EXECUTOR",
    "machine": "CHORIA_MACHINE",
}


def brokers(
    answers: Sequence[Mapping[str, Any]], replicas: Any, retention: Mapping[str, Any], host: str
) -> dict[str, Any]:
    """Return which brokers are not healthy, whether ``host`` may change now, and which streams differ.

    ``answers`` are the results of a loop with choria_broker_info over all brokers, whose items are the names of the
    brokers. ``replicas`` and ``retention`` are the variables choria_stream_replicas and choria_stream_retention.

    The result has:

    - ``ill``: the names of brokers that are not healthy.
    - ``problems``: a text with these brokers and their problems.
    - ``not_well``: the names of those that choria_broker_info does not call well.
    - ``not_whole``: a text as ``problems``, of those that choria_broker_info does not call whole.
    - ``cannot_spare``: the text why the cluster can't spare ``host``, empty if it can. A cluster can spare a broker if
      all are whole. It can also spare a broker that is the only one that is not well.
    - ``drift``: a list of dicts with ``name`` and ``text``, the streams that brokers create and that differ.
    """
    ill = {str(answer.get("item", "")): answer for answer in answers if _problems(answer)}
    not_well = [name for name, answer in ill.items() if not _is(answer, "well")]
    not_whole = _text({name: answer for name, answer in ill.items() if not _is(answer, "whole")})
    return {
        "ill": list(ill),
        "problems": _text(ill),
        "not_well": not_well,
        "not_whole": not_whole,
        "cannot_spare": "" if not_well == [host] else not_whole,
        "drift": [
            {"name": name, "text": f"{name} {' and '.join(differences)}"}
            for name, differences in _differences(answers, int(replicas), retention)
            if differences
        ],
    }


def _is(answer: Mapping[str, Any], key: str) -> bool:
    return bool((answer.get("broker") or {}).get(key))


def _text(ill: Mapping[str, Mapping[str, Any]]) -> str:
    return "; ".join(f"{name} ({'; '.join(_problems(answer))})" for name, answer in ill.items())


def _problems(answer: Mapping[str, Any]) -> list[str]:
    """Return why a broker is not healthy, also if it did not answer."""
    broker = answer.get("broker")
    if isinstance(broker, dict):
        return [str(problem) for problem in broker["problems"]]
    return [str(answer.get("msg") or "no answer").rstrip(".")]


def _differences(
    answers: Sequence[Mapping[str, Any]], replicas: int, retention: Mapping[str, Any]
) -> Iterator[tuple[str, list[str]]]:
    """Yield each stream that brokers should create and that differs from the variables, with its differences.

    Only the leader of a stream is asked: other copies, and a broker that just started, may know an old configuration.
    """
    led = {stream["name"]: stream for answer in answers for stream in (answer.get("broker") or {}).get("streams", [])}
    for kind, name in STREAMS.items():
        # A broker does not create a stream whose retention is 0 seconds
        seconds = parse_duration(str(retention[kind])) if kind in retention else None
        if seconds == 0:
            continue
        present = led.get(name)
        if present is None:
            yield name, ["is missing, or has no leader"]
            continue
        differences = []
        if present["replicas"] != replicas:
            differences.append(f"has {present['replicas']} replicas in place of {replicas}")
        if seconds is not None and present["max_age"] != seconds:
            differences.append(f"keeps messages for {present['max_age']:.0f}s in place of {seconds:.0f}s")
        yield name, differences
