# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the configuration files of Choria clients, servers and brokers. Rules: go-choria, config/util.go and config.go.

It needs the standard library alone, since submissions read the spool's path from it on any node.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _errors
from .._options import connection, quantities, untrusted

if TYPE_CHECKING:
    from collections.abc import Mapping

USER_FILES = ("~/.choriarc", "~/.mcollective")
SYSTEM_FILES = ("/etc/choria/client.conf", "/usr/local/etc/choria/client.conf")
SERVER_FILE = "/etc/choria/server.conf"

# Each Choria file has at least one of these keys. A file without them belongs to another program.
_OURS = re.compile(
    r"(plugin\.|identity$|main_collective$|collectives$|securityprovider$|connector$|loglevel$|logfile$)"
)


@dataclass(frozen=True)
class ChoriaConfig:
    """A configuration: its ``path``, all ``files`` that were read, the raw ``values`` by key, and the path's option."""

    path: str
    files: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    option: str = "choria_config"

    def get(self, key: str, default: str = "") -> str:
        """Return the raw value of a key."""
        return self.values.get(key, default)

    def parts(self, key: str) -> list[str]:
        """Return the parts of a comma-separated value."""
        return [part.strip() for part in self.get(key).split(",") if part.strip()]

    def file(self, key: str) -> str:
        """Return a path, with ``~`` expanded."""
        return os.path.expanduser(self.get(key))

    def boolean(self, key: str, *, default: bool) -> bool:
        """Return True for 1, yes, true, y and t, as Choria does."""
        return self.get(key, str(default)).strip().lower() in ("1", "yes", "true", "y", "t")

    def number(self, key: str, default: int) -> int:
        """Return a whole number. Raises OptionError if the value is none."""
        value = self.get(key, str(default))
        try:
            return int(value)
        except ValueError as error:
            reason = f"{key} in {self.path} is '{value}', which is not a whole number."
            raise _errors.OptionError(self.option, reason) from error

    def duration(self, key: str, default: str) -> float:
        """Return a duration in seconds. Raises OptionError if the value is none."""
        try:
            return quantities.parse_duration(self.get(key, default))
        except ValueError as error:
            raise _errors.OptionError(self.option, f"{key} in {self.path}: {error}.") from error

    @property
    def provider(self) -> str:
        """The security provider, by default ``puppet``."""
        return self.get("plugin.security.provider", "puppet").strip()

    @property
    def collectives(self) -> list[str]:
        """The collectives of the file, or its main collective. The default depends on the provider."""
        default = self.get("main_collective") or (
            "choria" if self.provider == "choria" else connection.DEFAULT_COLLECTIVE
        )
        return self.parts("collectives") or [default]

    @property
    def main_collective(self) -> str:
        """The main collective, by default the first one."""
        return self.get("main_collective") or self.collectives[0]

    @property
    def identity(self) -> str:
        """The identity in the file, or the host's FQDN."""
        return self.get("identity") or socket.getfqdn()

    @property
    def is_node(self) -> bool:
        """True for the file of a server or broker. Its certificate has the name of the identity, not of a user."""
        return Path(self.path).stem in ("server", "broker")


def find_config() -> str:
    """Return the file that ``choria`` uses for this user, or an empty text if there is none."""
    candidates = [os.path.expanduser(path) for path in USER_FILES] + list(SYSTEM_FILES)
    return next((path for path in candidates if os.path.isfile(path)), "")


def read_config(path: str, instead: str = "", option: str = "choria_config") -> ChoriaConfig:
    """Read a file and its ``plugin.d``. Raises OptionError with the fault, or with the option to give ``instead``."""
    path = os.path.abspath(os.path.expanduser(path))
    values = _read_file(path, "", option, instead)
    if not any(_OURS.match(key) for key in values):
        reason = f"{path} is not a Choria configuration file, it has none of its keys: give the right file."
        raise _errors.OptionError(option, reason)
    files = [path]
    folder = Path(path).parent / "plugin.d"
    # As in Choria: files in a home folder have no plugin.d
    if folder.is_dir() and not path.startswith(os.path.expanduser("~") + os.sep):
        for extra in sorted(folder.glob("*.cfg")):
            settings = _read_file(str(extra), f"plugin.{extra.stem}.", option)
            files.append(str(extra))
            # The others are for the plugins of Choria
            if extra.stem == "choria":
                values.update(settings)
    return ChoriaConfig(path, tuple(files), values, option)


def _read_file(path: str, prefix: str, option: str, instead: str = "") -> dict[str, str]:
    try:
        text = untrusted.read_text(path)
    except OSError as error:
        raise _errors.OptionError(
            option,
            f"{path} can't be read ({error.strerror}): check path and permissions{instead and f', or give {instead}'}.",
        ) from error
    values: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = stripped.partition("=")
        if not key or not equals:
            reason = f"{path}, line {number} is not 'key = value': correct it, or begin it with # for a comment."
            raise _errors.OptionError(option, reason)
        if value.strip():
            values[prefix + key.strip()] = value.strip()
    return values
