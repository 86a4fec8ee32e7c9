# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detect answers of the right shape that belong to another request."""

from __future__ import annotations

from typing import Any

from . import answers

# A call that names a consumer has more words than this
_CONSUMER_NAMED = 3
# How types of answers begin. Servers of a cluster answer some updates and restores as creations.
_TYPE, _ALIKE = "io.nats.jetstream.api.v1.", ("stream_create", "stream_update", "stream_restore")


def other_kind(call: str, answer: dict[str, Any]) -> str:
    """Return the mismatch if an answer, or an error, belongs to another kind of call; else an empty text.

    nats-server sends the kind of each answer in ``type`` (server/jetstream_api.go).
    """
    found, words = answer.get("type"), call.split(".")
    known = [key for key in (".".join(words[:3]), ".".join(words[:2])) if key in answers.SHAPES]
    if not known or not isinstance(found, str) or not found.startswith(_TYPE):
        return ""
    wanted, kind = known[0].lower().replace(".", "_"), found[len(_TYPE) :].removesuffix("_response")
    alike = kind in (wanted, "system") or {kind, wanted} <= set(_ALIKE)
    return "" if alike else "it is of another kind of request"


def of(call: str, body: Any, answer: Any) -> str:
    """Return the mismatch if an answer of the right shape belongs to another request; else an empty text."""
    words, asked = call.split("."), body if isinstance(body, dict) else {}
    kind = ".".join(words[:2])
    if kind in ("STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE") and answer["config"]["name"] != words[2]:
        return "it is of another stream"
    if kind == "STREAM.SNAPSHOT" and answer["config"]["name"] != words[2]:
        return "it is of another stream"
    if kind in ("CONSUMER.INFO", "CONSUMER.CREATE", "CONSUMER.RESET") and len(words) > _CONSUMER_NAMED:
        return "" if [answer["stream_name"], answer["name"]] == words[2:4] else "it is of another consumer"
    if kind == "CONSUMER.LIST" and any(info["stream_name"] != words[2] for info in answer.get("consumers") or ()):
        return "it is of another stream"
    if kind == "STREAM.MSG" and words[2] == "GET":
        return _other_message(asked, answer["message"])
    return ""


def _other_message(asked: dict[str, Any], message: Any) -> str:
    wanted = asked.get("next_by_subj") or asked.get("last_by_subj")
    if message["seq"] < asked.get("seq", 0) or ("seq" in asked and not wanted and message["seq"] != asked["seq"]):
        return "it is another message"
    return "" if not wanted or matches(message["subject"], wanted) else "it is of another subject"


def matches(subject: str, pattern: str) -> bool:
    """Return True if a subject matches a pattern with wildcards."""
    if subject == pattern or pattern == ">":
        return True
    words, wanted = subject.split("."), pattern.split(".")
    if wanted[-1] == ">":
        if len(words) < len(wanted):
            return False
        wanted = wanted[:-1]
        words = words[: len(wanted)]
    return len(words) == len(wanted) and all(want in ("*", word) for word, want in zip(words, wanted))
