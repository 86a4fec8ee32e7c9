# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""CONNECTION: the options that all modules and plugins share. The fragment ``connection`` documents them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import codecs, fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_SERVERS = ["nats://127.0.0.1:4222"]
DEFAULT_COLLECTIVE = "mcollective"
DEFAULT_API = "$JS.API"
DEFAULT_INBOX = "_INBOX"

REQUIRED, PREFERRED, OFF = "required", "preferred", "off"

# The key of the data that an action passes to its module besides the options
WIRING = "_wiring"

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
    """Return the environment variables that set an option, in order of precedence."""
    own = f"CHORIA_STREAMS_{option.upper()}"
    return [own, "NATS_URL"] if option == "servers" else [own]


# The source of an option's value: the task with module_defaults and variables, the surroundings (our environment
# variables and ansible.cfg), or variables of other programs, such as NATS_URL. A lower number wins.
TASK, AROUND, FOREIGN = range(3)
WHERE = ("servers", "choria_config", "context")
_ALONE = ("connect_timeout", "timeout")
_INSTEAD = (WHERE, CREDENTIALS, TLS_PAIR, ("domain", "api_prefix"))


def is_unset(value: object) -> bool:
    """Return True if the value is one of the forms in which people leave an option unset."""
    return value is None or value in ("", [], [""])


def chosen(given: Mapping[str, Any], origins: Mapping[str, int]) -> dict[str, Any]:
    """Return the options in effect. ``origins`` has the origin of each option, by default TASK.

    Servers, choria_config or context of the task replace all three of the environment, and so do credentials. A file or
    a context replaces all options of the environment except timeouts.
    """
    options = {row.option: given.get(row.option) for row in CONNECTION}
    options = {name: None if is_unset(value) else value for name, value in options.items()}
    for group in _INSTEAD:
        best = min((origins.get(name, TASK) for name in group if options[name] is not None), default=TASK)
        _drop(options, origins, group, best)
    if options["choria_config"] is not None or options["context"] is not None:
        source = min(origins.get(name, TASK) for name in WHERE if options[name] is not None)
        _drop(options, origins, [name for name in options if name not in _ALONE], source)
    for row in CONNECTION:
        if options[row.option] is None:
            options[row.option] = row.argument().get("default")
    return options


def _drop(options: dict[str, Any], origins: Mapping[str, int], names: Iterable[str], best: int) -> None:
    for name in names:
        if origins.get(name, TASK) > best:
            options[name] = None
