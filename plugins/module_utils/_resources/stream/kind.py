# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kind: what streams, buckets and governors differ in, and the configuration that follows from their options."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import fields
from .. import resource
from ..ownership import marked
from . import windows
from .replicas import CHECKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import wire


class Kind:
    """Define the noun, the table, and fixed or implied fields of one kind.

    ``implied`` are the rows of fields without an option of the kind, which ``fixed`` and ``complete`` set. With
    ``keeps_data``, losses count as data and need ``allow_data_loss``. ``content`` is the word for one message of it.
    """

    noun = "stream"
    prefix = ""
    spec = fields.Spec()
    implied: tuple[fields.Field, ...] = ()
    states: Mapping[str, Any] = MappingProxyType({})
    checks = CHECKS
    keeps_data = True
    content = "message"

    # What kinds change

    def fixed(self, name: str, collective: str | None, server: wire.Server) -> dict[str, Any]:
        """Return the configuration that each such stream has regardless of the options. Drift is repaired to it."""
        return {}

    def complete(self, name: str, desired: dict[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
        """Return the desired configuration with the fields that it implies."""
        return desired

    def expected(self, config: Mapping[str, Any], release: tuple[int, ...]) -> dict[str, Any]:
        """Return a configuration with the defaults of a server of this release."""
        return dict(config)

    def unmanaged(
        self, name: str, desired: Mapping[str, Any], current: Mapping[str, Any], server: wire.Server
    ) -> dict[str, Any]:
        """Return the values in exact mode of the fields that are not given."""
        from ..exact import defaults

        return defaults(self.spec, server)

    def result(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Return the resource for results."""
        raise NotImplementedError

    def stream_of(self, options: Mapping[str, Any]) -> str:
        """Return the name of the stream. Raises OptionError if the kind does not allow the name."""
        return f"{self.prefix}{self.spec.checked_name(options['name'])}"

    def desired(
        self, options: Mapping[str, Any], current: Mapping[str, Any], server: wire.Server, collective: str
    ) -> dict[str, Any]:
        """Return the configuration that the options ask for, by the names of the server."""
        name = options["name"]
        desired = resource.to_wire(self.spec, options, server)
        desired.pop("name", None)
        desired.update(self.fixed(name, options.get("collective") or (None if current else collective), server))
        exact = bool(options.get("exact") and current)
        desired = self.complete(name, marked(desired, current, options.get("owner"), exact=exact), current)
        if exact:
            desired = {**self.unmanaged(name, desired, current, server), **desired}
        return windows.settled(desired, current, server.version)

    @property
    def rows(self) -> tuple[fields.Field, ...]:
        """The fields that the kind sets, with an option or without."""
        return (*self.spec, *self.implied)

    @property
    def names(self) -> dict[str, str]:
        """The options by the fields of the server."""
        return {row.path: row.option for row in (*self.implied, *self.spec)}

    def overlap(self, subject: str, owner: str) -> _errors.Refused:
        """Return the error of a subject that another stream has."""
        choosable = any(row.option == "subjects" for row in self.spec)
        option = "subjects" if choosable else "name"
        remedy = "subjects that no other stream has" if choosable else "another name, or change that stream"
        return _errors.Refused(
            f"{option}: '{subject}' overlaps with the subjects of stream {owner}: a message can be in one stream only, "
            f"so choose {remedy}.",
            code="subjects_overlap",
            option=option,
        )
