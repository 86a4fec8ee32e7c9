# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Submit a message to Choria Server's spool, or directly to the stream."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._api import lists, messages
from .._choria.signing import sign
from .._choria.spool import find_spool
from .._choria.submission_message import PRIORITIES, Message, subject_of, timestamp
from .._options import codecs, fields, quantities, untrusted, values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._choria.config import ChoriaConfig
    from .._connection import sessions

SPOOL, DIRECT = "spool", "direct"


def _row(option: str, codec: codecs.Codec, default: object = None, **extra: object) -> fields.Field:
    return fields.Field(option, codec, argument_extra=extra if default is None else {"default": default, **extra})


SUBMIT = fields.Spec(
    fields=(
        _row("subject", codecs.text(), required=True),
        _row("payload", codecs.Codec({"type": "raw"})),
        _row("encoding", codecs.choice(*values.ENCODINGS), values.TEXT),
        _row("src", codecs.Codec({"type": "path"})),
        _row("reliable", codecs.boolean(), False),
        _row("priority", codecs.whole(), 4, choices=list(PRIORITIES)),
        _row("ttl", codecs.duration(), "24h"),
        _row("max_tries", codecs.whole(), 100),
        _row("sender", codecs.text()),
        _row("sign", codecs.boolean(), False),
        _row("headers", codecs.Codec({"type": "dict"})),
        _row("transport", codecs.choice(SPOOL, DIRECT), SPOOL),
        _row("spool", codecs.Codec({"type": "path"})),
    ),
    rules={"mutually_exclusive": [("payload", "src")], "required_one_of": [("payload", "src")]},
)
SPOOL_INFO = fields.Spec((_row("spool", codecs.Codec({"type": "path"})),))

# Keys that name the seed for a server's signatures; go-choria, choria/framework.go, SignerSeedFile
_SIGNING_KEYS = (
    "plugin.security.choria.seed_file",
    "plugin.security.choria.token_file",
    "plugin.choria.security.request_signer.seed_file",
    "plugin.choria.security.request_signer.token_file",
    "plugin.security.server_anon_tls",
)


def submit(connect: Callable[[], sessions.Session], options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Submit the message of the options. ``connect`` is called for the direct transport alone."""
    direct = options["transport"] == DIRECT
    message = _publish(connect, options, check_mode) if direct else _spool(options, check_mode)
    return {"changed": True, "message": message}


def spool_info(connect: Callable[[], sessions.Session], options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the messages in the spool of a server. It never connects."""
    return {"changed": False, "spool": find_spool(options["spool"], options["choria_config"]).state()}


def _spool(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    spool = find_spool(options["spool"], options["choria_config"])
    message = _message(options, options["identity"] or (spool.config.identity if spool.config else ""))
    message.check_size()
    if message.sign and spool.config:
        _check_signing(spool.config)
    collective = spool.config.main_collective if spool.config else options["collective"]
    subject = subject_of(collective, message.subject) if collective else None
    if check_mode:
        spool.check(message.priority)
        return _result(message, subject, sent=False)
    return _result(message, subject, file=str(spool.write(message)))


def _publish(connect: Callable[[], sessions.Session], options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    # Faults of the message come before those of the connection
    _message(options, options["identity"])
    session = connect()
    message = _message(options, _identity(session, options))
    message.check_size(session.connected.max_payload)
    subject = subject_of(session.settings.collective, message.subject)
    headers = {**message.sent(), **_signature(session, message)}
    if check_mode:
        return _result(message, subject, sent=False, stream=_stream_of(session, subject))
    try:
        answer = messages.publish(session, f"Publishing to {subject}", subject, message.payload, headers)
    except _errors.NoAnswer as error:
        if error.failure.get("code") == "no_responders":
            raise _no_stream(subject) from error
        raise
    return _result(message, subject, stream=answer["stream"], sequence=answer["seq"])


def _message(options: Mapping[str, Any], identity: str) -> Message:
    headers = options["headers"] or {}
    for name, value in headers.items():
        if isinstance(value, (dict, list)) or value is None:
            raise _errors.OptionError("headers", f"the value of '{name}' must be text.")
    message = Message(
        subject=options["subject"],
        payload=_payload(options),
        sender=f"user {os.geteuid()}" if options["sender"] is None else options["sender"],
        identity=identity or socket.getfqdn(),
        reliable=options["reliable"],
        priority=options["priority"],
        ttl=quantities.parse_duration(options["ttl"]),
        max_tries=options["max_tries"],
        sign=options["sign"],
        headers={str(name): str(value) for name, value in headers.items()},
    )
    message.check()
    return message


def _payload(options: Mapping[str, Any]) -> bytes:
    if options["src"] is None:
        return _errors.checked("payload", values.to_bytes, options["payload"], options["encoding"])
    path = Path(options["src"])
    try:
        content = untrusted.read_bytes(path)
    except OSError as error:
        raise _errors.OptionError(
            "src", f"{path} can't be read ({error.strerror}): name a file on the managed host that this user may read."
        ) from error
    if not content:
        raise _errors.OptionError("src", f"{path} is empty, and Choria Server submits no empty messages.")
    return content


def _check_signing(config: ChoriaConfig) -> None:
    """Raise OptionError if the server has no seed, since it would discard messages that it can't sign."""
    if not any(config.get(key) for key in _SIGNING_KEYS):
        raise _errors.OptionError(
            "sign",
            f"Choria Server has nothing to sign with, {config.path} names no seed: set {_SIGNING_KEYS[0]} there, "
            "or leave out sign.",
        )


def _identity(session: sessions.Session, options: Mapping[str, Any]) -> str:
    """Return the identity of a message. A signed one has the token's, since choria_verify requires it."""
    token = session.settings.jwt if options["sign"] else None
    if token is None:
        return session.settings.identity
    if options["identity"] not in (None, "", token.caller):
        raise _errors.OptionError(
            "identity", f"'{options['identity']}' is not {token.caller}, whose token signs: leave out identity or sign."
        )
    return token.caller


def _signature(session: sessions.Session, message: Message) -> dict[str, str]:
    if not message.sign:
        return {}
    settings = session.settings
    if not settings.jwt or not settings.seed:
        raise _errors.OptionError(
            "sign",
            "needs a token and its seed with transport direct: give jwt and seed, or a choria_config with the "
            "security provider choria.",
        )
    return {"Choria-Token": settings.jwt.text, "Choria-Signature": sign(settings.seed, message.payload)}


def _stream_of(session: sessions.Session, subject: str) -> str | None:
    """Return the stream of the subject, or None if these credentials may not ask, as those of servers."""
    try:
        owners = lists.stream_names(session, subject)
    except _errors.PermissionMissing:
        return None
    if not owners:
        raise _no_stream(subject)
    return owners[0]


def _no_stream(subject: str) -> _errors.NoAnswer:
    return _errors.NoAnswer(
        f"No stream takes {subject}: declare one with that subject (choria.streams.choria_stream), "
        "or check collective and subject.",
        code="no_stream",
    )


def _result(message: Message, stream_subject: str | None, *, sent: bool = True, **where: Any) -> dict[str, Any]:
    """Return the result of a message. In check mode it has no id and no times."""
    return {
        "id": message.id if sent else None,
        "subject": message.subject,
        "stream_subject": stream_subject,
        "priority": message.priority,
        "reliable": message.reliable,
        "sender": message.sender,
        "identity": message.identity,
        "size": len(message.payload),
        "created": timestamp(message.created) if sent else None,
        "expires": timestamp(message.created + int(message.ttl * quantities.NANOSECOND)) if sent else None,
        "file": None,
        "stream": None,
        "sequence": None,
        **where,
    }
