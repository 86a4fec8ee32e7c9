# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of a connection: refused connects, requests without an answer, and missing permissions."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._choria.tokens import SERVER
from .._options import connection
from . import wire

if TYPE_CHECKING:
    from .._choria.tokens import Token
    from .settings import Settings

PUBLISH, SUBSCRIBE = "publish to", "subscribe to"

_API = r"(\$JS\.(.+\.)?API|choria\.streams)\."
_OF_ALL = r"STREAM\.(INFO|MSG)|DIRECT\.GET|CONSUMER\.(CREATE|DURABLE|INFO|MSG)"
_OF_CLIENTS = r"INFO|STREAM\.(NAMES|LIST)|CONSUMER\.(NAMES|LIST|DELETE)"
# The broker ignores the one without the other
_GOVERNOR = "--governor --stream-user"

# Which permission of a Choria token allows a subject, as ``choria jwt`` names it (go-choria,
# broker/network/choria_auth.go). The first row whose pattern matches counts. It has the flag for clients and the flag
# for servers; None if no server's token may. The last rows are for permissions that name the subject.
_ROWS = {
    PUBLISH: (
        (rf"{_API}({_OF_ALL})\b", "--stream-user", "--stream-user"),
        (rf"{_API}({_OF_CLIENTS})\b", "--stream-user", None),
        (_API, "--stream-admin", None),
        (r"\$JS\.(ACK|FC)\.", "--stream-user", "--stream-user"),
        (r"\$(KV|O)\.", "--stream-user", None),
        (r"[^.]+\.governor\.[^.]+$|choria\.lifecycle\.event\.governor\.", _GOVERNOR, _GOVERNOR),
        (r"[^.]+\.submission\.in\.", "--publish {}", "--submission"),
        ("", "--publish {}", "--subjects {}"),
    ),
    SUBSCRIBE: (
        (r"choria\.(lifecycle|machine)\.", "--event-viewer", None),
        (r"\$JS\.EVENT\.", "--stream-admin", None),
        ("", "--subscribe {}", None),
    ),
}
_MOST_WORDS = 200


# During the connect


def explain(settings: Settings, server: str, error: Exception, info: dict[str, Any]) -> Exception:
    """Return our error for an exception during the connect to one server. ``info`` is the server's INFO."""
    text = str(error).lower()
    if isinstance(error, (wire.TlsNotOffered, wire.TlsNotWanted, wire.BrokenGreeting)):
        return _explain_greeting(server, error)
    refused = _certificate_error(error)
    if refused:
        return _explain_certificate(settings, server, refused)
    if settings.websocket and type(error).__module__.partition(".")[0] == "aiohttp":
        return _explain_websocket(settings, server, error)
    if "authorization violation" in text or "authentication" in text:
        return _errors.PermissionMissing(
            f"{server} refused the credentials ({_credential_names(settings)}).", code="authentication"
        )
    if (isinstance(error, ValueError) and (settings.creds or settings.nkey_seed)) or "nkeys" in type(error).__module__:
        option = "creds" if settings.creds else "nkey_seed"
        return _errors.OptionError(
            option, "does not hold a valid user JWT and seed, or seed: give what 'nsc' or 'nk' made."
        )
    # With TLS 1.3 a server that wants another certificate of ours hangs up when all seems well
    if info.get("tls_verify") and not isinstance(error, (ssl.SSLError, asyncio.TimeoutError)):
        return _client_certificate(settings, server)
    # As a Choria Broker does, which does not say that it verifies
    if settings.client_cert and info.get("tls_required") and isinstance(error, ConnectionError):
        return _client_certificate(settings, server)
    if isinstance(error, ssl.SSLError) or "certificate required" in text or "certificate_required" in text:
        return _explain_tls(settings, server, error)
    return _errors.Unreachable(f"{server} can't be reached: {_reason(settings, error)}.", server=server)


def _explain_greeting(server: str, error: Exception) -> _errors.Unreachable:
    if isinstance(error, wire.TlsNotOffered):
        return _errors.Unreachable(
            f"{server} offers no TLS, and the options ask for it, so nothing was sent: "
            "check servers, or set tls: off for a server without TLS.",
            code="tls_not_offered",
        )
    if isinstance(error, wire.TlsNotWanted):
        return _errors.Unreachable(
            f"{server} takes no connection without TLS, and tls is off, so nothing was sent: leave out tls: off.",
            code="tls_required",
        )
    return _errors.Unreachable(
        f"{server} does not greet as a NATS server ({error}): check what listens there.", code="greeting"
    )


def _credential_names(settings: Settings) -> str:
    if settings.jwt:
        return f"check that the seed belongs to the token of {settings.jwt.caller}, and that its issuer is known there"
    used = next((name for name in ("user", "token", "creds", "nkey_seed") if getattr(settings, name)), "")
    if used:
        return "check user and password" if used == "user" else f"check {used}"
    others = "user and password, token, creds, nkey_seed"
    return (
        f"check client_cert, or set {others}"
        if settings.client_cert
        else f"none were given: set {others} or client_cert"
    )


def _certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Return the error that refused a certificate, also if aiohttp wraps it."""
    if isinstance(error, ssl.SSLCertVerificationError) and hasattr(error, "verify_message"):
        return error
    inner = getattr(error, "certificate_error", None) or error.__cause__
    return _certificate_error(inner) if inner else None


def _explain_websocket(settings: Settings, server: str, error: Exception) -> Exception:
    """Return our error for one of aiohttp's, whose text may contain all that the server sent."""
    cause = getattr(error, "os_error", None) or error.__cause__
    if isinstance(cause, ssl.SSLError):
        return _explain_tls(settings, server, cause)
    if isinstance(cause, OSError):
        return _errors.Unreachable(f"{server} can't be reached: {_reason(settings, cause)}.", server=server)
    return _errors.Unreachable(
        f"{server} can't be reached: what listens there does not speak NATS over websockets, check the port and the "
        "scheme in servers.",
        server=server,
    )


def _explain_certificate(settings: Settings, server: str, error: ssl.SSLCertVerificationError) -> Exception:
    reason = error.verify_message or "it is not valid"
    if "mismatch" in reason.lower() or "doesn't match" in reason.lower() or "not valid for" in reason.lower():
        remedy = "name the server in servers as its certificate does"
    elif "expired" in reason.lower() or "not yet valid" in reason.lower():
        remedy = "renew it on the server, or set the clock of this host"
    elif settings.ca_path:
        remedy = f"check that ca_path {settings.ca_path} is the CA of this server"
    else:
        remedy = "set ca_path to the CA of this server"
    return _errors.Unreachable(
        f"The certificate of {server} is refused: {reason.rstrip('.')}: {remedy}.", code="tls_certificate"
    )


def _explain_tls(settings: Settings, server: str, error: Exception) -> Exception:
    reason = getattr(error, "reason", None) or type(error).__name__
    if any(words in reason.upper() for words in ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW")):
        return _errors.Unreachable(
            f"TLS with {server} failed ({reason}): it has no TLS 1.2 or newer, so update the server or its settings.",
            code="tls_version",
        )
    if "alert" in reason.lower() or "certificate" in reason.lower():
        return _client_certificate(settings, server)
    remedy = "leave out tls_first, or check the port" if settings.tls_first else "check that the port speaks TLS"
    return _errors.Unreachable(f"TLS with {server} failed ({reason}): {remedy}.", code="tls")


def _client_certificate(settings: Settings, server: str) -> _errors.PermissionMissing:
    path = settings.client_cert
    if not path:
        problem = "wants a client certificate: set client_cert and client_key"
    elif _has_expired(path):
        problem = f"refused our TLS certificate {path}, which has expired: renew it, or give another client_cert"
    else:
        problem = f"refused our TLS certificate {path}: give a valid client_cert of a CA that it trusts"
    return _errors.PermissionMissing(f"{server} {problem}.", code="authentication")


def _has_expired(certificate: str) -> bool:
    """Return True if a certificate has expired, as far as the standard library can read it."""
    decode: Any = getattr(getattr(ssl, "_ssl", None), "_test_decode_cert", None)
    return bool(decode) and ssl.cert_time_to_seconds(decode(certificate)["notAfter"]) < time.time()


def _reason(settings: Settings, error: Exception) -> str:
    if isinstance(error, asyncio.TimeoutError):
        limit = f"connect_timeout ({settings.connect_timeout:g}s)"
        return f"no answer within {limit}, check host, port, firewall and tls_first"
    if isinstance(error, ConnectionRefusedError) or "connect call failed" in str(error).lower():
        return "the connection was refused, check that the server runs and listens there (option servers)"
    if isinstance(error, socket.gaierror):
        return "the host name is not known, check servers"
    if "empty response" in str(error):
        return "what listens there does not speak NATS, check the port in servers, and tls_first"
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return "the server hung up, check servers"  # with an end, a reset or a broken pipe
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}, check servers"
    if type(error).__module__ == "nats.errors":  # what the server said before it hung up
        words = "".join(filter(str.isprintable, str(error)))[:_MOST_WORDS]
        return f"{words.removeprefix('nats: ')}, check servers"
    return f"the connection ended with {type(error).__name__}, check servers"


# Requests without an answer


def broken(settings: Settings) -> _errors.Unreachable:
    """Return the error of a connection that broke during a request."""
    servers = ", ".join(settings.servers)
    return _errors.Unreachable(
        f"The connection to {servers} broke while waiting for an answer: check the server and its log."
    )


def server_silent(settings: Settings, subject: str) -> _errors.Unreachable:
    """Return the error of a server that stopped answering."""
    servers = ", ".join(settings.servers)
    return _errors.Unreachable(
        f"{servers} stopped answering: nothing came for {subject} within timeout ({settings.timeout:g}s), "
        "check the server.",
        code="hangs",
    )


def inbox_refused(settings: Settings) -> _errors.PermissionMissing:
    """Return the error of credentials that may not subscribe to the inbox prefix."""
    token, collective = settings.jwt, settings.collective
    if token and settings.inbox_prefix == token.inbox(collective):
        remedy = f"the token of {token.caller} is for no such collective, so set collective to one of its own"
    else:
        remedy = "set inbox_prefix to what these credentials may subscribe to"
    return _errors.PermissionMissing(
        f"These credentials may not subscribe to replies under '{settings.inbox_prefix}': {remedy}.",
        code="inbox_prefix",
    )


def no_answer(settings: Settings, subject: str) -> _errors.NoAnswer:
    """Return the error of a request without an answer from a server that is up."""
    return _errors.NoAnswer(
        f"No answer on {subject} within timeout ({settings.timeout:g}s), though the server is there: it may be busy "
        "(raise timeout), or answers may not get through (check inbox_prefix and what these credentials may do).",
        code="timeout",
    )


def no_responders(settings: Settings, server: wire.Server | None, subject: str) -> _errors.StreamsError:
    """Return the error of a subject without a subscriber, which the server reports with status 503."""
    api, elsewhere = subject.startswith(f"{settings.api}."), settings.api != connection.DEFAULT_API
    if server is not None and not server.jetstream and not elsewhere:
        return _errors.NoAnswer(
            f"JetStream is not enabled on the server {server.name}: enable it there, for a Choria Broker with "
            f"plugin.choria.network.stream.store, or check servers ({', '.join(settings.servers)}).",
            code="jetstream_off",
        )
    direct = subject.startswith(f"{settings.api}.DIRECT.")
    if api and elsewhere:
        return _errors.NoAnswer(
            f"Nobody answers at the JetStream API prefix {settings.api}: check domain and api_prefix, and that the "
            "server behind it is connected (a leaf node may be cut off).",
            code="no_responders" if direct else "no_api",
        )
    if api and not direct:
        return _errors.NoAnswer(
            "JetStream is off in this account, though the server has it: enable it for the account, "
            "or check user, domain and api_prefix.",
            code="jetstream_off_in_account",
        )
    return _errors.NoAnswer(
        f"No stream and no service listens on the subject {subject}: check that it exists.", code="no_responders"
    )


# Permissions


def missing_permission(verb: str, subject: str, jwt: Token | None = None) -> _errors.PermissionMissing:
    """Return the error for a refused subject. ``verb`` is PUBLISH or SUBSCRIBE, ``jwt`` the token in use."""
    for_clients, for_servers = next(row[1:] for row in _ROWS[verb] if re.match(row[0], subject))
    flag = for_clients.format(subject)
    if jwt is None:
        remedy = f"allow it for the user, or use a Choria token made with 'choria jwt client … {flag}'"
    elif jwt.purpose != SERVER:
        remedy = f"make the token of {jwt.caller} with 'choria jwt client … {flag}'"
    elif for_servers is None:
        remedy = f"no server's token may, so use a client's, made with 'choria jwt client … {flag}'"
    else:
        flag = for_servers.format(subject)
        remedy = f"make the token of {jwt.caller} with 'choria jwt server … {flag}'"
    return _errors.PermissionMissing(
        f"These credentials may not {verb} {subject}: {remedy}.",
        subject=subject,
        permission=flag.split()[0].lstrip("-"),
    )
