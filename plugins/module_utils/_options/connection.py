# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CONNECTION: the options that every module and plugin shares. Their documentation is the fragment ``connection``."""

from __future__ import annotations

from . import codecs, fields

DEFAULT_SERVERS = ["nats://127.0.0.1:4222"]
DEFAULT_COLLECTIVE = "mcollective"
DEFAULT_API = "$JS.API"
DEFAULT_INBOX = "_INBOX"

REQUIRED, PREFERRED, OFF = "required", "preferred", "off"

# Options that replace each other: one set of credentials, one certificate with its key.
CREDENTIALS = ("user", "password", "token", "creds", "nkey_seed", "jwt", "seed")
TLS_PAIR = ("client_cert", "client_key")


def _row(option: str, kind: str, default: object = None, **extra: object) -> fields.Field:
    codec = codecs.duration() if kind == "duration" else codecs.Codec({"type": kind})
    spec = dict(extra)
    if default is not None:
        spec["default"] = default
    return fields.Field(option, codec, argument_extra=spec)


CONNECTION = fields.Spec(
    fields=(
        _row("servers", "list", elements="str"),
        _row("choria_config", "path"),
        _row("context", "str"),
        _row("user", "str"),
        _row("password", "str", no_log=True),
        _row("token", "str", no_log=True),
        _row("creds", "path"),
        _row("nkey_seed", "str", no_log=True),
        _row("jwt", "path"),
        _row("seed", "path"),
        _row("tls", "str", choices=[REQUIRED, PREFERRED, OFF]),
        _row("ca_path", "path"),
        _row("client_cert", "path"),
        _row("client_key", "path"),
        _row("validate_certs", "bool", True),
        _row("tls_first", "bool"),
        _row("connect_timeout", "duration", "5s"),
        _row("timeout", "duration", "10s"),
        _row("domain", "str"),
        _row("api_prefix", "str"),
        _row("inbox_prefix", "str"),
        _row("collective", "str"),
        _row("identity", "str"),
    ),
    rules={
        "mutually_exclusive": [("user", "token", "creds", "nkey_seed", "jwt"), ("domain", "api_prefix")],
        "required_together": [("user", "password"), TLS_PAIR, ("jwt", "seed")],
    },
)

NAMES = tuple(row.option for row in CONNECTION)


def environment(option: str) -> list[str]:
    """The environment variables that set an option, the first that is there wins."""
    own = f"CHORIA_STREAMS_{option.upper()}"
    return [own, "NATS_URL"] if option == "servers" else [own]
