# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Select messages of a stream, and show them in results."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream, messages, reading, streams
from ..._options import codecs, fields, names, quantities, values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..._connection import sessions

# More than this is no answer to a question but an export, and would fill the memory
MOST = 100_000

FILTER = codecs.text(
    r"(([^\s.*>]+|\*)(\.([^\s.*>]+|\*))*(\.>)?|>)",
    "a subject is words joined by dots, without spaces; * stands for one word, > at the end for all that follow",
)
WHICH = fields.Spec(
    (
        fields.Field("subject", FILTER),
        fields.Field("sequence", codecs.whole(1)),
        fields.Field("start_sequence", codecs.whole(1)),
        fields.Field("since", codecs.text()),
        fields.Field("last", codecs.whole(1, MOST)),
        fields.Field("limit", codecs.whole(1, MOST)),
    ),
    {
        "mutually_exclusive": [
            ("sequence", "start_sequence", "since", "last"),
            ("sequence", "limit"),
            ("last", "limit"),
            ("sequence", "subject"),
        ]
    },
)
STREAM = fields.Field("stream", names.STREAM_NAME, argument_extra={"required": True})
ENCODING = fields.Field("encoding", codecs.choice(*values.ENCODINGS), argument_extra={"default": values.ENCODINGS[0]})
READ = fields.Spec((STREAM, ENCODING)).merge(WHICH)


@dataclass(frozen=True)
class Selection:
    """A selection, the oldest first. ``sequence``, or ``subject`` alone, selects a single message."""

    subject: str = ""
    sequence: int = 0
    start_sequence: int = 0
    since: datetime | None = None
    last: int = 0
    limit: int = 0

    @classmethod
    def from_options(cls, get_option: Callable[[str], Any]) -> Selection:
        """Return the selection in options. Raises OptionError: the option, the fault and the remedy."""
        given = fields.checked(WHICH, get_option)
        for group in WHICH.rules["mutually_exclusive"]:
            there = [name for name in group if name in given]
            if len(there) > 1:
                raise _errors.OptionError(
                    there[0], f"can't be given together with {' and '.join(there[1:])}: give one of them."
                )
        if "since" in given:
            given["since"] = moment_of("since", given["since"], datetime.now(timezone.utc))
        return cls(**given)

    @property
    def single(self) -> bool:
        """True if it selects one message, which may be missing."""
        return not (self.start_sequence or self.since or self.last or self.limit)

    def name_in(self, stream: str) -> str:
        """Return the single message in words."""
        which = f" {self.sequence}" if self.sequence else f" on {self.subject}" if self.subject else ""
        return f"message{which} in stream {stream}"

    def read(self, session: sessions.Session, stream: str) -> list[messages.Stored]:
        """Return the messages. Raises Refused if the stream does not exist or too much is selected."""
        try:
            return self._read(session, stream)
        except _errors.ApiError as error:
            raise explained(stream, error) from error

    def _read(self, session: sessions.Session, stream: str) -> list[messages.Stored]:
        subject = self.subject or reading.ALL
        if self.sequence:
            message = messages.get(session, stream, sequence=self.sequence)
            return [message] if message else []
        if self.last or self.single:
            return reading.newest(session, stream, subject, self.last or 1)
        start = self.since or self.start_sequence or 1
        if self.limit:
            return list(reading.onward(session, stream, subject, start, self.limit))
        everything = list(islice(reading.onward(session, stream, subject, start), MOST + 1))
        if len(everything) > MOST:
            raise _errors.Refused(
                f"Stream {stream} has more than {MOST} such messages: select fewer with limit, subject or since.",
                code="too_many",
                option="limit",
            )
        return everything


def checked_stream(name: Any) -> str:
    """Return the name of a stream. Raises OptionError if it is invalid."""
    if not isinstance(name, str):
        raise _errors.OptionError("stream", f"'{name}' is not a name: give text.")
    return str(fields.checked(fields.Spec((STREAM,)), {"stream": name}.get)["stream"])


def explained(stream: str, error: _errors.StreamsError) -> _errors.StreamsError:
    """Return the error, or a better one if the stream does not exist."""
    return (
        streams.missing(stream)
        if isinstance(error, _errors.ApiError) and error.err_code == jetstream.STREAM_NOT_FOUND
        else error
    )


def read(session: sessions.Session, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the result of choria_stream_message_info."""
    stream = checked_stream(options["stream"])
    selected = Selection.from_options(options.get).read(session, stream)
    return [described(stream, message, value_of(stream, message, options["encoding"])) for message in selected]


def value_of(stream: str, stored: messages.Stored, encoding: str) -> Any:
    """Return the value of a message's payload. Raises Refused if it does not have this ``encoding``."""
    try:
        return values.from_bytes(stored.data, encoding)
    except ValueError as error:
        name = f"message {stored.sequence} in stream {stream}"
        raise _errors.Refused(
            f"encoding: the payload of {name} {error}: choose another, such as base64.",
            code="encoding",
            option="encoding",
        ) from error


def described(stream: str, stored: messages.Stored, data: Any) -> dict[str, Any]:
    """Return a message and its value. ``time`` is RFC 3339 UTC, None before it is stored.

    ``stream`` and ``sequence`` are None if they are unknown before.
    """
    return {
        "stream": stream or None,
        "subject": stored.subject,
        "sequence": stored.sequence or None,
        "time": stored.time or None,
        "headers": dict(stored.headers),
        "data": data,
    }


def moment_of(option: str, text: str, now: datetime) -> datetime:
    """Return the moment of RFC 3339 text, or of a duration before now."""
    try:
        return now - timedelta(seconds=quantities.parse_duration(text))
    except (ValueError, OverflowError):
        pass
    try:
        return quantities.parse_timestamp(text)
    except ValueError:
        raise _errors.OptionError(
            option, f"'{text}' is neither a time nor a duration: write RFC 3339 such as 2026-03-01T12:00:00Z, or 7d."
        ) from None
