# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules between options of a consumer: combinations that the server refuses, or ignores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import codecs, quantities
from .. import subjects
from . import table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    Problem = tuple[tuple[str, ...], str]
    """The fields of which one has to be changed, and the reason."""

_STARTS = {"opt_start_seq": "by_start_sequence", "opt_start_time": "by_start_time"}


def check_given(config: Mapping[str, Any]) -> None:
    """Raise OptionError for given options that exclude each other, without the server."""
    _raise_first(_conflicts(config), config)


def check(config: Mapping[str, Any], present: Mapping[str, Any], given: Collection[str]) -> None:
    """Raise OptionError if given fields exclude others.

    ``config`` is the configuration after the change, and ``present`` the one before, so that what another tool made can
    be declared as it is.
    """
    present_problems = [*_conflicts(present), *_gaps(present)] if present else []
    _raise_first(
        (problem for problem in (*_conflicts(config), *_gaps(config)) if problem not in present_problems), given
    )


def _raise_first(problems: Iterable[Problem], given: Collection[str]) -> None:
    for fields, reason in problems:
        option = next((field for field in fields if field in given), None)
        if option:
            raise _errors.OptionError("replicas" if option == "num_replicas" else option, reason)


def without_match(config: Mapping[str, Any], stream: Mapping[str, Any]) -> list[str]:
    """Return the filters that no new message of the stream can match."""
    return [subject for subject in subjects.filters(config) if not subjects.may_match(subject, stream)]


def check_filters(
    name: str, config: Mapping[str, Any], stream: Mapping[str, Any], stored: Collection[str] | None
) -> None:
    """Raise Refused if a filter matches nothing of the stream, and no stored message.

    ``stored`` are the filters that match stored messages, None if unknown.
    """
    lost = [subject for subject in without_match(config, stream) if stored is not None and subject not in stored]
    if lost:
        option = "filter_subjects" if config.get("filter_subjects") else "filter_subject"
        raise _errors.Refused(
            f"{option}: '{lost[0]}' of consumer {name} matches none of the subjects of stream {stream['name']}, which "
            f"are {', '.join(stream.get('subjects') or ['none'])}, and no message that it holds: change the filter, or "
            "give the stream such a subject first.",
            code="filter",
            option=option,
        )


def _conflicts(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield fields that exclude each other."""
    yield from _of_kind(config)
    yield from _acks(config)
    filters = subjects.filters(config)
    if config.get("filter_subject") and config.get("filter_subjects"):
        yield ("filter_subjects", "filter_subject"), "give either filter_subject or filter_subjects, not both."
    overlap = subjects.clashing(filters, subjects.covers)
    if overlap:
        yield (
            ("filter_subjects",),
            f"'{overlap[0]}' holds '{overlap[1]}' already: leave one out (JetStream error 10138).",
        )
    policy = config.get("deliver_policy")
    for field, start in _STARTS.items():
        if config.get(field) and policy not in (None, start):
            yield (field, "deliver_policy"), f"{field} goes with deliver_policy: {start} only, it is {policy}."
    backoff, tries = config.get("backoff") or [], config.get("max_deliver", -1)
    if 0 < tries < len(backoff):
        yield (
            ("backoff", "max_deliver"),
            f"has {len(backoff)} steps, more than max_deliver ({tries}): give fewer steps or more deliveries "
            "(JetStream error 10116).",
        )
    if backoff and config.get("ack_wait", backoff[0]) != backoff[0]:
        yield ("ack_wait", "backoff"), "it is the first step of backoff where that is set: leave ack_wait out."


def _of_kind(config: Mapping[str, Any]) -> Iterator[Problem]:
    if config.get("deliver_subject"):
        refused = [field for field in table.PULL_ONLY if field not in table.UNUSED_PUSHED]
        yield from _for_pull(config, refused)
    if config.get("priority_policy") == "none":
        for field in _set(config, ("priority_groups", "priority_timeout")):
            yield (field, "priority_policy"), f"{field} goes with a priority_policy, and that is none."


def _for_pull(config: Mapping[str, Any], fields: Iterable[str]) -> Iterator[Problem]:
    for field in _set(config, fields):
        yield (
            (field, "deliver_subject"),
            f"{field} is for pull consumers, and deliver_subject makes this one a push consumer: leave one out.",
        )


def _acks(config: Mapping[str, Any]) -> Iterator[Problem]:
    if config.get("ack_policy") == "none" and config.get("deliver_subject") and config.get("max_ack_pending", 0) > 0:
        reason = "max_ack_pending of a push consumer needs acknowledgements, and ack_policy is none"
        yield ("max_ack_pending", "ack_policy", "deliver_subject"), f"{reason} (JetStream error 10082)."
    if config.get("ack_policy") == "flow_control":
        for field in _set(config, ("ack_wait", "backoff", "max_deliver")):
            yield (field, "ack_policy"), f"{field} does not go with ack_policy: flow_control."
        if config.get("idle_heartbeat", quantities.NANOSECOND) != quantities.NANOSECOND:
            yield ("idle_heartbeat", "ack_policy"), "it has to be 1s with ack_policy: flow_control."
        if config.get("flow_control") is False:
            yield ("flow_control", "ack_policy"), "it can't be off with ack_policy: flow_control."


def _gaps(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield fields that need others."""
    if config.get("ack_policy") == "none":
        # Clients give pull consumers a limit that means nothing
        for field in _set(config, table.UNUSED_UNACKED):
            yield (field, "ack_policy"), f"{field} needs acknowledgements, and ack_policy is none."
    policy = config.get("deliver_policy", "all")
    for field, start in _STARTS.items():
        if policy == start and not config.get(field):
            yield ("deliver_policy", field), f"{start} needs {field}."
        if config.get(field) and policy != start:
            yield (field, "deliver_policy"), f"{field} goes with deliver_policy: {start} only, it is {policy}."
    if policy == "last_per_subject" and subjects.filters(config) == [">"] and not config.get("filter_subject"):
        yield (
            ("deliver_policy", "filter_subject", "filter_subjects"),
            "last_per_subject needs filter_subject or filter_subjects; '>' takes all subjects.",
        )
    if config.get("deliver_subject"):
        yield from _for_pull(config, table.UNUSED_PUSHED)
    else:
        for field in _set(config, table.PUSH_ONLY):
            yield (field, "deliver_subject"), f"{field} is for push consumers: give deliver_subject, or leave it out."
        if config.get("ack_policy") == "flow_control":
            yield ("ack_policy", "deliver_subject"), "flow_control is for push consumers: give deliver_subject."
    if config.get("flow_control") and not config.get("idle_heartbeat"):
        yield (
            ("flow_control", "idle_heartbeat"),
            "flow_control needs idle_heartbeat: give both, or leave flow_control out.",
        )
    if config.get("ack_policy") == "flow_control" and not config.get("max_ack_pending", 1) > 0:
        yield ("max_ack_pending", "ack_policy"), "needs a limit with ack_policy: flow_control."
    chosen = config.get("priority_policy") or "none"
    if chosen != "none" and not config.get("priority_groups"):
        yield ("priority_policy", "priority_groups"), f"{chosen} needs priority_groups, for example [all]."
    if chosen == "none":
        for field in _set(config, ("priority_groups", "priority_timeout")):
            yield (field, "priority_policy"), f"{field} goes with a priority_policy, and that is none."


def check_stream(config: Mapping[str, Any], given: Collection[str], stream: Mapping[str, Any], ackable: int) -> None:
    """Raise OptionError for options that do not fit the stream.

    ``ackable`` is how many unacknowledged messages the stream or the account allows, 0 for any number.
    """
    _check_replicas({path: config[path] for path in given if path in config}, stream)
    _raise_first(_against_stream(config, stream, ackable), given)


def _against_stream(config: Mapping[str, Any], stream: Mapping[str, Any], ackable: int) -> Iterator[Problem]:
    target = config.get("deliver_subject")
    met = next((subject for subject in stream.get("subjects") or [] if target and subjects.meet(target, subject)), None)
    if met:
        yield (
            ("deliver_subject",),
            f"{target} comes back by the subject '{met}' of the stream itself (JetStream error 10081): choose another.",
        )
    if 0 < ackable < int(config.get("max_ack_pending") or 0):
        reason = f"{config['max_ack_pending']} are more than the {ackable} that the stream or the account allows"
        yield ("max_ack_pending",), f"{reason} (JetStream error 10121)."
    longest = int((stream.get("consumer_limits") or {}).get("inactive_threshold") or 0)
    if 0 < longest < int(config.get("inactive_threshold") or 0):
        reason = f"it is longer than the {codecs.seconds(longest)}s that consumer_limits of the stream allow"
        yield ("inactive_threshold",), f"{reason} (JetStream error 10153)."


def check_queue(
    name: str, config: Mapping[str, Any], stream: Mapping[str, Any], others: Iterable[Mapping[str, Any]], *, new: bool
) -> None:
    """Raise Refused if a stream for work queues would refuse the consumer beside these others."""
    if stream.get("retention") != "workqueue":
        return
    what = f"consumer {name}: stream {stream['name']} is a work queue, "
    if new and config.get("ack_policy") not in ("explicit", "flow_control"):
        err_code = 10098 if config.get("deliver_subject") or config.get("ack_policy") == "all" else 10084
        raise _queued("ack_policy", f"ack_policy of {what}which needs ack_policy: explicit", err_code)
    if new and config.get("deliver_policy", "all") != "all":
        raise _queued("deliver_policy", f"deliver_policy of {what}which needs deliver_policy: all", 10101)
    mine = subjects.filters(config)
    option = "filter_subjects" if config.get("filter_subjects") else "filter_subject"
    for other in others:
        theirs = subjects.filters(other["config"])
        pair = next(((one, each) for one in mine for each in theirs if subjects.meet(one, each)), None)
        if pair:
            reason = (
                f"in which each message has one consumer, and '{pair[0]}' overlaps with '{pair[1]}' of {other['name']}"
            )
            unfiltered = mine == [">"] and not config.get("filter_subject")
            err_code = 10099 if unfiltered and new else 10100
            raise _queued(option, f"{option} of {what}{reason}: give another filter", err_code)


def _queued(option: str, reason: str, err_code: int) -> _errors.Refused:
    return _errors.Refused(
        f"{reason} (JetStream error {err_code}).", code="work_queue", option=option, err_code=err_code
    )


def _check_replicas(config: Mapping[str, Any], stream: Mapping[str, Any]) -> None:
    number, most = int(config.get("num_replicas") or 0), int(stream.get("num_replicas") or 1)
    if number > most:
        raise _errors.OptionError(
            "replicas",
            f"{number} copies are more than the stream has, which is {most} (JetStream error 10126): "
            "give fewer, or 0 for as many as the stream has.",
        )
    if number and number != most and stream.get("retention") in ("interest", "workqueue"):
        raise _errors.OptionError(
            "replicas",
            f"has to be that of the stream, {most}, since its retention is {stream['retention']} "
            "(JetStream error 10134): leave it out, or give 0.",
        )


def _set(config: Mapping[str, Any], fields: Iterable[str]) -> list[str]:
    """Return the fields that differ from their defaults."""
    return [field for field in fields if config.get(field) not in (None, 0, -1, "", "none", [], False)]
