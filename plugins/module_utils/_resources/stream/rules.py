# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check which fields of a stream contradict each other: the server would refuse or change them. Sends nothing."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import streams
from ..._options import codecs
from .. import subjects
from .table import SEALED, WITH_MARKERS, WITH_SCHEDULES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    Problem = tuple[tuple[str, ...], str]
    """The fields of which one has to be changed, as paths of the server, and the reason."""


_NOT_THROUGH_CONSUMER = ("opt_start_seq", "opt_start_time", "filter_subject")
_API = "$JS.API"
# The server's own subjects, and the part of each that streams may store like any other subject
_OWN = {"$JS.>": "$JS.EVENT.>", "$JSC.>": "", "$NRG.>": "", "$SYS.>": "$SYS.ACCOUNT.>"}


def check(
    config: Mapping[str, Any], present: Mapping[str, Any], given: Collection[str], names: Mapping[str, str]
) -> None:
    """Raise OptionError if given fields exclude others.

    ``config`` is the configuration after the change, and ``present`` the one before, so that what an older server or
    another tool made can be declared as it is. ``given`` are the given fields, and ``names`` the options by fields.
    """
    present_problems = list(_problems(present)) if present else []
    for fields, reason in _problems(config):
        path = next((field for field in fields if field in given), None)
        if path and (fields, reason) not in present_problems:
            option, sentence = names[path], re.sub(r"`(\w+)`", lambda match: names.get(match[1], match[1]), reason)
            raise _errors.OptionError(option, re.sub(rf"^{option}:? ", "", sentence))


def _problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _of_subjects(config)
    yield from _of_origins(config)
    yield from _of_transforms(config)
    yield from _of_limits(config)
    yield from _of_features(config)
    yield from _of_deleting(config)


def _of_subjects(config: Mapping[str, Any]) -> Iterator[Problem]:
    taken = config.get("subjects") or []
    overlap = subjects.clashing(taken, subjects.meet)
    if overlap:
        yield ("subjects",), f"'{overlap[0]}' and '{overlap[1]}' overlap: leave one out."
    reserved = next((subject for subject in taken if _reserved(subject)), None)
    if reserved and not config.get("no_ack"):
        yield (
            ("subjects", "no_ack"),
            f"'{reserved}' takes the server's own messages, which wait for no acknowledgement: set no_ack: true.",
        )
    target = (config.get("republish") or {}).get("dest", "")
    met = next((subject for subject in taken if target and subjects.meet(_pattern(target), subject)), None)
    if met:
        yield (
            ("republish", "subjects"),
            f"dest '{target}' comes back by the subject '{met}' of the stream itself: choose one that does not.",
        )


def _of_origins(config: Mapping[str, Any]) -> Iterator[Problem]:
    mirror, sources = config.get("mirror") or {}, config.get("sources") or []
    if mirror:
        for field in streams.NOT_MIRRORED:
            if config.get(field):
                # An existing stream loses its subjects when it is created again as a mirror
                fields = (field,) if field == "subjects" else (field, "mirror")
                yield fields, f"a mirror can't have `{field}`: leave one out."
    elif config.get("mirror_direct"):
        yield ("mirror_direct",), "is for mirrors, and this stream has no mirror: leave it out."
    for field, origins in (("mirror", [mirror]), ("sources", sources)):
        for origin in origins:
            if origin.get("name") == config["name"] and not origin.get("external"):
                yield (field,), f"{origin['name']} is the stream itself: name another one."
            if origin.get("consumer") and any(origin.get(other) for other in _NOT_THROUGH_CONSUMER):
                others = ", ".join(_NOT_THROUGH_CONSUMER)
                yield (field,), f"{origin['name']}: its consumer has a start and a filter: leave out {others}."
            if (origin.get("external") or {}).get("api") == _API:
                yield (field,), f"{origin['name']}: external with the api {_API} is this account: leave external out."
            if origin.get("filter_subject") and origin.get("subject_transforms"):
                yield (
                    (field,),
                    f"{origin['name']} has filter_subject and subject_transforms: leave one out, src of a transform "
                    "is a filter too.",
                )
    same = next((one for one, other in combinations(sources, 2) if _source(one) == _source(other)), None)
    if same:
        yield ("sources",), f"{same['name']} is there twice, with the same filter: leave one out."


def _of_transforms(config: Mapping[str, Any]) -> Iterator[Problem]:
    mirror, sources = config.get("mirror") or {}, config.get("sources") or []
    own = [("subject_transform", "", config.get("subject_transform") or {})]
    own += [("republish", "", config.get("republish") or {})]
    for field, origin in (("mirror", mirror), *(("sources", source) for source in sources)):
        theirs = origin.get("subject_transforms") or []
        own += [(field, f"subject_transforms of {origin.get('name')}: ", each) for each in theirs]
        # A mirror may not take anything twice, a source not all of it
        clash = subjects.meet if field == "mirror" else subjects.covers
        taken = [each.get("src") or ">" for each in theirs]
        pair = subjects.clashing(taken, clash)
        if pair:
            yield (field,), f"{origin.get('name')}: src '{pair[0]}' and src '{pair[1]}' overlap: leave one out."
    for field, where, each in own:
        reason = _transform_problem(each.get("src", ""), each.get("dest", ""))
        if reason:
            yield (field,), f"{where}{reason}."


def _of_limits(config: Mapping[str, Any]) -> Iterator[Problem]:
    age, window = int(config.get("max_age") or 0), int(config.get("duplicate_window") or 0)
    if 0 < age < window:
        reason = f"{codecs.seconds(window)}s is longer than `max_age`, which is {codecs.seconds(age)}s"
        yield ("duplicate_window", "max_age"), f"{reason}: give at most that, or leave it out."
    if config.get("discard_new_per_subject"):
        if config.get("discard", "old") != "new":
            yield ("discard_new_per_subject", "discard"), "`discard_new_per_subject` needs discard: new."
        if int(config.get("max_msgs_per_subject") or 0) <= 0:
            yield (
                ("discard_new_per_subject", "max_msgs_per_subject"),
                "`discard_new_per_subject` needs a limit in `max_msgs_per_subject`.",
            )


def _of_features(config: Mapping[str, Any]) -> Iterator[Problem]:
    if config.get("allow_msg_counter"):
        for field in ("allow_msg_ttl", "allow_msg_schedules"):
            if config.get(field):
                yield (field, "allow_msg_counter"), f"{field} does not go with allow_msg_counter: leave one out."
        yield from _needed(config, "allow_msg_counter", {"discard": "old", "retention": "limits"})
    if config.get("allow_msg_schedules"):
        yield from _needed(config, "allow_msg_schedules", {"discard": "old", **WITH_SCHEDULES})
        if config.get("sources"):
            yield ("allow_msg_schedules", "sources"), "allow_msg_schedules does not go with sources: leave one out."
    if config.get("persist_mode") == "async":
        yield from _needed(config, "persist_mode: async", {"storage": "file", "allow_atomic": False})
        if int(config.get("num_replicas") or 1) > 1:
            yield ("persist_mode", "num_replicas"), "persist_mode: async needs `num_replicas`: 1."


def _of_deleting(config: Mapping[str, Any]) -> Iterator[Problem]:
    if config.get("subject_delete_marker_ttl"):
        yield from _needed(config, "subject_delete_marker_ttl", {**WITH_MARKERS, "deny_purge": False})
    if config.get("sealed"):
        for field, value in SEALED.items():
            if config.get(field, value) != value:
                yield (field,), f"sealed: true sets it to {_errors.in_words(value)}: leave it out."
        for field in ("allow_msg_counter", "allow_msg_schedules"):
            if config.get(field):
                yield ("sealed", field), f"sealed: true sets discard: new, which does not go with `{field}`."
    elif config.get("allow_rollup_hdrs") and config.get("deny_purge"):
        fields = ("allow_rollup_hdrs", "deny_purge", "allow_msg_schedules", "subject_delete_marker_ttl")
        yield fields, "a roll-up is a purge, and deny_purge is true: leave one out."


def _needed(config: Mapping[str, Any], feature: str, values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the fields that a feature needs with other values. A missing field has the needed value."""
    for field, value in values.items():
        if config.get(field, value) != value:
            path = feature.partition(":")[0]
            yield (path, field), f"`{path}`{feature.removeprefix(path)} needs `{field}`: {_errors.in_words(value)}."


def _source(origin: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the parts that identify a source."""
    external = (origin.get("external") or {}).get("api", "")
    transforms = [f"{one.get('src')} {one.get('dest')}" for one in origin.get("subject_transforms") or []]
    return (str(origin.get("name")), external, origin.get("filter_subject", ""), *transforms)


def _pattern(subject: str) -> str:
    """Return the subject with wildcards for the words that a transform fills in."""
    return re.sub(r"\{\{.*?\}\}|\$\d+", "*", subject)


def _reserved(subject: str) -> bool:
    """Return True if a stream with acknowledgements may not have this subject."""
    if subject == ">":
        return True
    return any(subjects.meet(subject, own) and not (but and subjects.covers(but, subject)) for own, but in _OWN.items())


# Transforms of subjects, as servers check them (server/subject_transform.go)

_FUNCTION = re.compile(r"\{\{\s*(\w+)\s*\((.*)\)\s*\}\}")
# By function: how many arguments it takes, at least and at most
_FUNCTIONS: dict[str, tuple[int, int]] = {
    "wildcard": (1, 1),
    "partition": (1, 99),
    "random": (1, 1),
    **dict.fromkeys(("splitfromleft", "splitfromright", "slicefromleft", "slicefromright"), (2, 2)),
    **dict.fromkeys(("split", "left", "right"), (2, 2)),
}
_WITHOUT_WORDS = ("partition", "random")


def _transform_problem(src: str, dest: str) -> str:
    """Return why the server would refuse a transform, or an empty text."""
    if not dest:
        return ""
    words, tokens = (src or ">").split("."), dest.split(".")
    if "*" in tokens:
        return f"'{dest}' can't hold *: {{{{wildcard(1)}}}} is the first * of src"
    if (words[-1] == ">") != (tokens[-1] == ">"):
        return f"'{src or '>'}' and '{dest}' both have to end with >, or none of them"
    open_words = words.count("*")
    reasons = (_of_token(token, open_words, bool(open_words) or words[-1] == ">") for token in tokens)
    return next((reason for reason in reasons if reason), "")


def _of_token(token: str, stars: int, has_wildcards: bool) -> str:
    if token[0] == "$" and token[1:].isdecimal():
        return _out_of_range(token, [int(token[1:])], stars)
    if not (len(token) > 4 and token.startswith("{{") and token.endswith("}}")):
        return ""
    match = _FUNCTION.fullmatch(token)
    name, given = (match[1].lower(), [text.strip() for text in match[2].split(",")]) if match else ("", [])
    if name not in _FUNCTIONS:
        return f"'{token}' is not a function of the server, such as {{{{wildcard(1)}}}}"
    least, most = _FUNCTIONS[name]
    if not least <= len(given) <= most or not all(given):
        return f"'{token}' has too few or too many arguments"
    numbers = given[:1] if name == "split" else given
    if not all(re.fullmatch(r"[+-]?\d+", text) for text in numbers):
        return f"'{token}' needs whole numbers"
    if name in _WITHOUT_WORDS:
        return _out_of_range(token, [int(text) for text in given[1:]] if has_wildcards else [], stars)
    return _out_of_range(token, [int(given[0])], stars)


def _out_of_range(token: str, places: list[int], stars: int) -> str:
    wrong = next((place for place in places if place > stars), 0)
    return f"'{token}' means * number {wrong} of src, which has {stars or 'none'}" if wrong else ""
