# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of requests without an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _errors
from .._options import connection

if TYPE_CHECKING:
    from . import wire
    from .settings import Settings


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
        f"The server does not let us listen for replies under '{settings.inbox_prefix}': {remedy}.",
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
            f"JetStream is not enabled on the server {server.name}: enable it there, "
            "for a Choria Broker with plugin.choria.network.stream.store.",
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
