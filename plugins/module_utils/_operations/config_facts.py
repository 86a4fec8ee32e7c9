# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the connection options of a Choria file without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _errors
from .._choria.config import SYSTEM_FILES, USER_FILES, find_config, read_config
from .._connection.settings import Settings
from .._connection.sources import choria_options

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECRET = ("password",)
_OWN_PLACE = ("choria_config", "collectives", "collective", "identity", "tls")


def config_facts(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of choria_config_info. Raises OptionError if there is no file, or it can't be read."""
    path = options["choria_config"] or find_config()
    if not path:
        raise _errors.OptionError(
            "choria_config", f"there is none of {', '.join((*USER_FILES, *SYSTEM_FILES))}: name the file."
        )
    config = read_config(path)
    connection, settings, problem = {}, None, None
    try:
        connection = choria_options(config)
        settings = Settings.from_options({"choria_config": config.path}.get)
    except _errors.OptionError as error:
        problem = error.message
    return {
        "path": config.path,
        "files": list(config.files),
        "provider": config.provider,
        "identity": config.identity,
        "collectives": config.collectives,
        "main_collective": config.main_collective,
        "connection": {name: value for name, value in connection.items() if name not in (*_SECRET, *_OWN_PLACE)},
        "token": _token(settings),
        "problem": problem,
        "spool": config.file("plugin.choria.submission.spool") or None,
    }


def _token(settings: Settings | None) -> dict[str, Any] | None:
    if settings is None or settings.jwt is None:
        return None
    token = settings.jwt
    return {
        "purpose": token.purpose,
        "caller": token.caller,
        "organization": token.organization,
        "expires": token.expires,
        "permissions": list(token.permissions),
    }
