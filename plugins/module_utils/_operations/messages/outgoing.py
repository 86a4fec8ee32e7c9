# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A message to publish, also with a schedule (ADR-51) or an increment (ADR-49), and why a stream would refuse it."""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._options import codecs, composite, fields, names, quantities, values
from ..._resources import subjects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..._api import messages
    from ..._connection import wire

V2_12, V2_14 = (2, 12, 0), (2, 14, 0)
SCHEDULE_HEADER, INCREMENT_HEADER = "Nats-Schedule", "Nats-Incr"
_TIMES = ("at", "every", "cron")
_LITERAL = codecs.text(r"[^\s.*>]+(\.[^\s.*>]+)*", "a target is one subject: words joined by dots, without * and >")
SCHEDULE = fields.Field(
    "schedule",
    composite.obj(
        fields.Field("at", codecs.timestamp()),
        fields.Field("every", codecs.duration(1, zero_allowed=False)),
        fields.Field("cron", codecs.text(r"@\w+|\S+( \S+){5}", "give six fields, of which the first are seconds")),
        fields.Field("time_zone", codecs.text()),
        fields.Field("target", _LITERAL),
        fields.Field("ttl", codecs.duration(1, zero_allowed=False)),
        needs=("target",),
    ),
)
INCREMENT = fields.Field(
    "increment", codecs.text(r"[+-]?\d{1,40}", "give a whole number, such as 1 or -5"), wire=INCREMENT_HEADER
)


def _schedule_headers(schedule: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a schedule on the wire. Raises OptionError if it is invalid."""
    given = [name for name in _TIMES if schedule.get(name)]
    if len(given) != 1:
        raise _errors.OptionError("schedule", "needs one of at, every and cron.")
    if schedule.get("time_zone") and "cron" not in given:
        raise _errors.OptionError("schedule", "time_zone goes with cron only.")
    if "at" in given:
        pattern = f"@at {schedule['at']}"
    else:
        pattern = f"@every {codecs.seconds(schedule['every'])}s" if "every" in given else schedule["cron"]
    headers = {SCHEDULE_HEADER: pattern, "Nats-Schedule-Target": schedule["target"]}
    if schedule.get("time_zone"):
        headers["Nats-Schedule-Time-Zone"] = schedule["time_zone"]
    if schedule.get("ttl"):
        headers["Nats-Schedule-TTL"] = f"{-(-schedule['ttl'] // quantities.NANOSECOND)}s"
    return headers


def _problems(
    headers: Mapping[str, str], subject: str, server: wire.Server, config: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield option, reason and code of each obstacle. The configuration is empty if it is unknown."""
    stream = f"stream {config.get('name', '')}"
    pattern = headers.get(SCHEDULE_HEADER)
    if pattern:
        since = V2_12 if pattern.startswith("@at ") else V2_14
        yield from _too_old("schedule", server, since)
        if config and not config.get("allow_msg_schedules"):
            yield (
                "schedule",
                f"{stream} takes no schedules: set allow_msg_schedules: true with choria_stream",
                "refused",
            )
        target = headers["Nats-Schedule-Target"]
        taken = config.get("subjects") or []
        if target == subject or (config and not any(subjects.covers(each, target) for each in taken)):
            why = f"the target {target} has to be another subject of {stream if config else 'the same stream'}"
            yield "schedule", why, "refused"
    if INCREMENT_HEADER in headers:
        yield from _too_old("increment", server, V2_12)
        if config and not config.get("allow_msg_counter"):
            yield "increment", f"{stream} has no counters: create one with allow_msg_counter: true", "refused"
    elif config.get("allow_msg_counter"):
        yield "increment", f"{stream} holds counters, and takes increments alone: give it in place of data", "refused"


def is_due(pattern: str, now: Any) -> bool:
    """Return True if the single moment of a schedule is over, so that the server has removed it."""
    return pattern.startswith("@at ") and quantities.parse_timestamp(pattern[4:]) <= now


def is_scheduled(last: messages.Stored | None, payload: bytes, headers: Mapping[str, str]) -> bool:
    """Return True if the last message on the subject is this schedule."""
    if last is None or last.data != payload:
        return False
    there, compared = (
        {name: value for name, value in each.items() if name not in _NOT_COMPARED} for each in (last.headers, headers)
    )
    return there == compared


# Headers that the server adds or does not keep, or that differ from one attempt to another
_NOT_COMPARED = (
    "Nats-Rollup",
    "Nats-Msg-Id",
    "Nats-Expected-Stream",
    "Nats-Expected-Last-Sequence",
    "Nats-Expected-Last-Subject-Sequence",
)


def count_of(last: messages.Stored | None) -> int:
    """Return the value of a counter, by its last message."""
    try:
        return int(json.loads(last.data)["val"]) if last else 0
    except (ValueError, KeyError, TypeError):
        return 0


def _too_old(option: str, server: wire.Server, since: tuple[int, ...]) -> Iterator[tuple[str, str, str]]:
    if server.version < since:
        needed = ".".join(map(str, since[:2]))
        yield option, f"needs nats-server {needed}, and {server.runs}: upgrade the server", "server_too_old"


LAST_SEQUENCE, LAST_SUBJECT_SEQUENCE = "expected_last_sequence", "expected_last_subject_sequence"
LAST_MSG_ID = "expected_last_msg_id"
_EXPECTED = (LAST_SEQUENCE, LAST_SUBJECT_SEQUENCE, LAST_MSG_ID)
_TTLS_SINCE = (2, 11, 0)
_STREAM_HEADER, _ROLLUP_HEADER = "Nats-Expected-Stream", "Nats-Rollup"
_HEADER_NAME = re.compile(r"[!-9;-~]+")

_SUBJECT = codecs.text(
    r"[^\s.*>]+(\.[^\s.*>]+)*", "a message goes to one subject: words joined by dots, without spaces, * and >"
)
_ONE_LINE = codecs.text(r"[^\r\n]*", "it must be one line")
# Of nats-server (processJetStreamMsg in server/stream.go), which no option raises
_MOST_HEADERS = (1 << 16) - 1
# Options that become headers, which the server checks before it stores the message
_HEADERS = fields.Spec(
    (
        fields.Field("msg_id", codecs.text(r"[^\r\n]+", "it must be one line, and not empty"), wire="Nats-Msg-Id"),
        fields.Field("ttl", codecs.duration(1, zero_allowed=False), wire="Nats-TTL"),
        fields.Field(LAST_SEQUENCE, codecs.whole(0), wire="Nats-Expected-Last-Sequence"),
        fields.Field(LAST_SUBJECT_SEQUENCE, codecs.whole(0), wire="Nats-Expected-Last-Subject-Sequence"),
        fields.Field(LAST_MSG_ID, _ONE_LINE, wire="Nats-Expected-Last-Msg-Id"),
    )
)
# The subject, and data or an increment
_FEWEST = 2
_PATHS = {row.option: row.path for row in _HEADERS}
STREAM = fields.Field("stream", names.STREAM_NAME)
PUBLISH = fields.Spec(
    (
        fields.Field("subject", _SUBJECT),
        fields.Field("data", codecs.Codec({"type": "raw"})),
        fields.Field("headers", codecs.Codec({"type": "dict"})),
        SCHEDULE,
        INCREMENT,
    )
).merge(_HEADERS)

_MESSAGE = fields.Spec((STREAM, *PUBLISH))
# The options of headers that have one, by their names in lower case
_HAVE_OPTIONS = {row.path.lower(): row.option for row in (*_HEADERS, STREAM._replace(wire=_STREAM_HEADER), INCREMENT)}
_HAVE_OPTIONS[SCHEDULE_HEADER.lower()] = SCHEDULE.option


class Outgoing(NamedTuple):
    """A message. ``expected`` are the options that the server compares before it stores. ``ttl`` is in nanoseconds."""

    subject: str
    payload: bytes
    headers: Mapping[str, str] = MappingProxyType({})
    encoding: str = values.TEXT
    stream: str = ""
    msg_id: str = ""
    ttl: int = 0
    expected: Mapping[str, Any] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"Outgoing({self.subject!r})"  # the rest may be secret

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Outgoing:
        """Return the message in options. Raises OptionError: the option, the fault and the remedy."""
        given = fields.checked(_MESSAGE, options.get)
        return cls.from_checked(given, options["encoding"], bool(options["allow_data_loss"]))

    @classmethod
    def from_checked(cls, given: Mapping[str, Any], encoding: str, allow_data_loss: bool) -> Outgoing:
        """Return the message of options that are valid, each alone. Raises OptionError as ``from_options`` does."""
        counted = given.get("increment")
        if ("data" in given) == (counted is not None):
            raise _errors.OptionError("data", "give the payload, or increment for a counter, and not both.")
        payload = b"" if counted else _errors.checked("data", values.to_bytes, given["data"], encoding)
        if len(given) == _FEWEST and not counted:
            return cls(given["subject"], payload, {}, encoding)
        headers = _own_headers(given["headers"], allow_data_loss) if "headers" in given else {}
        expected = {}
        for option, value in given.items():
            if option in _PATHS:
                headers[_PATHS[option]] = _ttl(value) if option == "ttl" else str(value)
            if option in _EXPECTED:
                expected[option] = value
        if "stream" in given:
            headers[_STREAM_HEADER] = given["stream"]
        if counted:
            headers[INCREMENT.path] = counted
        if given.get("schedule"):
            headers.update(_schedule_headers(given["schedule"]))
        stream, msg_id, ttl = given.get("stream", ""), given.get("msg_id", ""), given.get("ttl", 0)
        return cls(given["subject"], payload, headers, encoding, stream, msg_id, ttl, expected)

    @property
    def size(self) -> int:
        """The size in bytes with headers, as servers count."""
        return len(self.payload) + self.header_size

    @property
    def header_size(self) -> int:
        """The size of the headers in bytes."""
        lines = sum(len(f"{name}: {value}\r\n".encode()) for name, value in self.headers.items())
        return lines + len("NATS/1.0\r\n\r\n") if lines else 0

    @property
    def schedule(self) -> str:
        """The schedule, or empty for a message that is stored as it is."""
        return self.headers.get(SCHEDULE_HEADER, "")

    @property
    def increment(self) -> int | None:
        """The increment of a counter, or None for other messages."""
        text = self.headers.get(INCREMENT_HEADER)
        return int(text) if text else None

    @property
    def rolls_up(self) -> bool:
        """True if it deletes the messages before it."""
        return _ROLLUP_HEADER in self.headers

    def check(self, server: wire.Server, config: Mapping[str, Any]) -> None:
        """Raise Refused if the server, or a stream of this configuration, would refuse or ignore an option.

        The configuration is empty if it is unknown.
        """
        if LAST_MSG_ID in self.expected:
            _check_copies(config)
        for option, why, code in _problems(self.headers, self.subject, server, config):
            raise refused(option, why, code)
        limit = int(config.get("max_msg_size") or 0)
        limit = min(server.max_payload, limit) if limit > 0 else server.max_payload
        stream = f"stream {config.get('name', '')}"
        if self.size > limit:
            size = f"has {self.size} bytes with its headers, and {limit} are allowed"
            remedy = "send less, or raise max_msg_size of the stream or max_payload of the server"
            raise refused("data", f"{size}: {remedy}")
        if self.header_size > _MOST_HEADERS:
            raise refused(
                "headers", f"they have {self.header_size} bytes, and streams store {_MOST_HEADERS} at most: send less"
            )
        if config.get("sealed"):
            raise refused("stream", f"{stream} is sealed, and never takes a message again")
        if config.get("no_ack"):
            raise refused("stream", f"{stream} acknowledges nothing (no_ack), so nobody can say what is stored")
        if self.ttl and server.version < _TTLS_SINCE:
            why = f"needs nats-server 2.11, and {server.runs}: leave it out, or upgrade the server"
            raise refused("ttl", why, "server_too_old")
        if self.ttl and config and not config.get("allow_msg_ttl"):
            raise refused(
                "ttl", f"{stream} takes no message with a lifetime: set allow_msg_ttl: true with choria_stream"
            )
        if config and self.rolls_up and not config.get("allow_rollup_hdrs"):
            raise refused("headers", f"{stream} allows no roll-up: set allow_rollup_hdrs: true with choria_stream")


def refused(option: str, why: str, code: str = "refused") -> _errors.Refused:
    """Return the error of an option."""
    return _errors.Refused(f"{option}: {why}.", code=code, option=option)


def _check_copies(config: Mapping[str, Any]) -> None:
    # Leaders compare the id with that of the last stored message, and not with those on their way. If they accept a
    # wrong id, each replica refuses it, and stores nothing any more ("critical write error: last msgid mismatch").
    copies = int(config.get("num_replicas") or 1) if config else None
    if copies == 1:
        return
    copied = (
        f"stream {config['name']} has {copies} copies" if copies else "how many copies the stream has can't be seen"
    )
    why = "one whose expectation fails while others publish puts a stream with more than one out of service"
    raise refused(LAST_MSG_ID, f"{copied}, and {why}: give {LAST_SEQUENCE} or {LAST_SUBJECT_SEQUENCE}")


def nobody(subject: str) -> _errors.Refused:
    """Return the error of a subject without a stream."""
    return refused(
        "subject",
        f"no stream takes {subject}: create one with choria_stream that has it among its subjects, or check the "
        "subject and the options of the connection (servers, user, domain and api_prefix)",
        "no_stream",
    )


def wrong_stream(outgoing: Outgoing, owner: str) -> _errors.Refused:
    """Return the error of a subject that belongs to another stream."""
    there = f"{outgoing.subject} belongs to {owner}, and not to {outgoing.stream}"
    return refused("stream", f"{there}: check the subject, or give the right stream, or none", "wrong_stream")


def full(subject: str, limit: str) -> _errors.Refused:
    """Return the error of a full stream."""
    why = f"the stream is full ({limit}), and refuses new messages (discard: new)"
    return refused("subject", f"nothing was published to {subject}, {why}: purge it, or raise its limits", "full")


def moved(outgoing: Outgoing, option: str, present: Any) -> _errors.Refused:
    """Return the error of a failed expectation; ``present`` is None if the present value is unknown."""
    expected = outgoing.expected[option]
    where = f"on {outgoing.subject}" if option == LAST_SUBJECT_SEQUENCE else "in the stream"
    if option == LAST_MSG_ID:
        last = f"the last message {where} has the id '{present}', not '{expected}'"
    elif present is None:
        last = f"the last message {where} is not {expected}"
    elif not present:
        last = f"there is no message {where} yet, and {expected} was expected"
    else:
        last = f"the last message {where} is {present}, not {expected}"
    return _errors.Refused(
        f"{option}: {last}, so it was not published: read what is there, then decide.",
        code="wrong_last",
        option=option,
        found=present,
    )


def _ttl(nanoseconds: int) -> str:
    """Return whole seconds, since servers cut off the rest."""
    return f"{-(-nanoseconds // quantities.NANOSECOND)}s"


def _own_headers(given: Mapping[str, Any], allow_data_loss: bool) -> dict[str, str]:
    """Return the headers that a user may set. Raises OptionError for those with an option, and those that delete."""
    headers: dict[str, str] = {}
    for name, value in given.items():
        option = _HAVE_OPTIONS.get(str(name).lower())
        if option:
            raise _errors.OptionError("headers", f"{name} has an option of its own: give {option}.")
        if not _HEADER_NAME.fullmatch(str(name)):
            raise _errors.OptionError(
                "headers", f"'{name}' is not a name of a header: write ASCII without spaces and colons."
            )
        if value is None or isinstance(value, (dict, list)) or re.search(r"[\r\n]", str(value)):
            raise _errors.OptionError("headers", f"the value of {name} must be one line of text.")
        if str(name).lower() == _ROLLUP_HEADER.lower() and not allow_data_loss:
            loss = f"{name} deletes the messages that were there before"
            raise _errors.OptionError("headers", f"{loss}: set allow_data_loss: true if that is wanted.")
        headers[str(name)] = values.to_bytes(value, values.TEXT).decode().strip()
    return headers
