# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A message to publish, and the reasons why a stream would refuse it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import codecs, fields, names, quantities, values
from . import features

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import wire

LAST_SEQUENCE, LAST_SUBJECT_SEQUENCE = "expected_last_sequence", "expected_last_subject_sequence"
LAST_MSG_ID = "expected_last_msg_id"
_TTLS_SINCE = (2, 11, 0)
_STREAM_HEADER, _ROLLUP_HEADER = "Nats-Expected-Stream", "Nats-Rollup"
_HEADER_NAME = re.compile(r"[!-9;-~]+")

_SUBJECT = codecs.text(
    r"[^\s.*>]+(\.[^\s.*>]+)*", "a message goes to one subject: words joined by dots, without spaces, * and >"
)
_ONE_LINE = codecs.text(r"[^\r\n]*", "it must be one line")
# Options that become headers, which the server looks at before it stores the message
_HEADERS = fields.Spec(
    (
        fields.Field("msg_id", codecs.text(r"[^\r\n]+", "it must be one line, and not empty"), wire="Nats-Msg-Id"),
        fields.Field("ttl", codecs.duration(1, zero_allowed=False), wire="Nats-TTL"),
        fields.Field(LAST_SEQUENCE, codecs.whole(0), wire="Nats-Expected-Last-Sequence"),
        fields.Field(LAST_SUBJECT_SEQUENCE, codecs.whole(0), wire="Nats-Expected-Last-Subject-Sequence"),
        fields.Field(LAST_MSG_ID, _ONE_LINE, wire="Nats-Expected-Last-Msg-Id"),
    )
)
_STREAM = fields.Field("stream", names.STREAM_NAME)
PUBLISH = fields.Spec(
    (
        fields.Field("subject", _SUBJECT),
        fields.Field("data", codecs.Codec({"type": "raw"})),
        fields.Field("headers", codecs.Codec({"type": "dict"})),
        features.SCHEDULE,
        features.INCREMENT,
    )
).merge(_HEADERS)


@dataclass(frozen=True)
class Outgoing:
    """A message. ``expected`` are the options that the server compares before it stores. ``ttl`` is in nanoseconds."""

    subject: str
    payload: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    encoding: str = values.TEXT
    stream: str = ""
    msg_id: str = ""
    ttl: int = 0
    expected: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Outgoing:
        """Return the message in options. Raises OptionError: the option, the fault and the remedy."""
        given = fields.checked(fields.Spec((_STREAM, *PUBLISH)), options.get)
        counted = given.get("increment")
        if (options["data"] is None) == (counted is None):
            raise _errors.OptionError("data", "give the payload, or increment for a counter, and not both.")
        try:
            payload = b"" if counted else values.to_bytes(options["data"], options["encoding"])
        except ValueError as error:
            raise _errors.OptionError("data", f"{error}.") from error
        headers = _own_headers(options["headers"] or {}, bool(options["allow_data_loss"]))
        for row in _HEADERS:
            if row.option in given:
                headers[row.path] = _ttl(given["ttl"]) if row.option == "ttl" else str(given[row.option])
        if "stream" in given:
            headers[_STREAM_HEADER] = given["stream"]
        if counted:
            headers[features.INCREMENT.path] = counted
        if given.get("schedule"):
            headers.update(features.schedule_headers(given["schedule"]))
        return cls(
            subject=given["subject"],
            payload=payload,
            headers=headers,
            encoding=options["encoding"],
            stream=given.get("stream", ""),
            msg_id=given.get("msg_id", ""),
            ttl=given.get("ttl", 0),
            expected={
                name: given[name] for name in (LAST_SEQUENCE, LAST_SUBJECT_SEQUENCE, LAST_MSG_ID) if name in given
            },
        )

    @property
    def size(self) -> int:
        """The size in bytes with headers, as servers count."""
        lines = sum(len(f"{name}: {value}\r\n".encode()) for name, value in self.headers.items())
        return len(self.payload) + (lines + len("NATS/1.0\r\n\r\n") if lines else 0)

    @property
    def schedule(self) -> str:
        """The schedule, or empty for a message that is stored as it is."""
        return self.headers.get(features.SCHEDULE_HEADER, "")

    @property
    def increment(self) -> int | None:
        """The increment of a counter, or None for other messages."""
        text = self.headers.get(features.INCREMENT_HEADER)
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
        for option, why, code in features.problems(self.headers, self.subject, server, config):
            raise refused(option, why, code)
        limit = int(config.get("max_msg_size") or 0)
        limit = min(server.max_payload, limit) if limit > 0 else server.max_payload
        stream = f"stream {config.get('name', '')}"
        if self.size > limit:
            size = f"has {self.size} bytes with its headers, and {limit} are allowed"
            remedy = "send less, or raise max_msg_size of the stream or max_payload of the server"
            raise refused("data", f"{size}: {remedy}")
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
    # Leaders compare the id with that of the last message that is stored, and not with those on their way. What they
    # let pass each copy refuses, and then stores nothing any more ("critical write error: last msgid mismatch").
    copies = int(config.get("num_replicas") or 1) if config else None
    if copies == 1:
        return
    found = f"stream {config['name']} has {copies} copies" if copies else "how many copies the stream has can't be seen"
    why = "one whose expectation fails while others publish puts a stream with more than one out of service"
    raise refused(LAST_MSG_ID, f"{found}, and {why}: give {LAST_SEQUENCE} or {LAST_SUBJECT_SEQUENCE}")


def nobody(subject: str) -> _errors.Refused:
    """Return the error of a subject without a stream."""
    return refused(
        "subject",
        f"no stream takes {subject}: make one with choria_stream that has it among its subjects, or check the "
        "subject, and where we are connected to (servers, user, domain and api_prefix)",
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


def moved(outgoing: Outgoing, option: str, found: Any) -> _errors.Refused:
    """Return the error of a failed expectation; ``found`` is None if the present value is unknown."""
    wanted = outgoing.expected[option]
    where = f"on {outgoing.subject}" if option == LAST_SUBJECT_SEQUENCE else "in the stream"
    if option == LAST_MSG_ID:
        last = f"the last message {where} has the id '{found}', not '{wanted}'"
    elif found is None:
        last = f"the last message {where} is not {wanted}"
    elif not found:
        last = f"there is no message {where} yet, and {wanted} was expected"
    else:
        last = f"the last message {where} is {found}, not {wanted}"
    return _errors.Refused(
        f"{option}: {last}, so it was not published: read what is there, then decide.",
        code="wrong_last",
        option=option,
        found=found,
    )


def _ttl(nanoseconds: int) -> str:
    """Return whole seconds, since servers cut off the rest."""
    return f"{-(-nanoseconds // quantities.NANOSECOND)}s"


def _own_headers(given: Mapping[str, Any], allow_data_loss: bool) -> dict[str, str]:
    """Return the headers that a user may set. Raises OptionError for those with an option, and those that delete."""
    rows = (*_HEADERS, _STREAM._replace(wire=_STREAM_HEADER), features.INCREMENT)
    options = {row.path.lower(): row.option for row in rows}
    options[features.SCHEDULE_HEADER.lower()] = features.SCHEDULE.option
    headers = {}
    for name, value in given.items():
        option = options.get(str(name).lower())
        if option:
            raise _errors.OptionError("headers", f"{name} has an option of its own: give {option}.")
        if not _HEADER_NAME.fullmatch(str(name)):
            raise _errors.OptionError(
                "headers", f"'{name}' is no name of a header: write ASCII without spaces and colons."
            )
        if value is None or isinstance(value, (dict, list)) or re.search(r"[\r\n]", str(value)):
            raise _errors.OptionError("headers", f"the value of {name} must be one line of text.")
        if str(name).lower() == _ROLLUP_HEADER.lower() and not allow_data_loss:
            loss = f"{name} deletes the messages that were there before"
            raise _errors.OptionError("headers", f"{loss}: set allow_data_loss: true if that is wanted.")
        headers[str(name)] = values.to_bytes(value, values.TEXT).decode().strip()
    return headers
