# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kind: the differences between streams, buckets and governors, and the configuration that their options ask for."""

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

    from ..._api import answers
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

    # Methods that kinds override

    def fixed(self, name: str, collective: str | None, server: wire.Server) -> dict[str, Any]:
        """Return the configuration that all streams of the kind have, whatever the options. Tasks correct drift."""
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
        """Return the values that ``exact`` gives to fields whose options are not given."""
        from ..exact import defaults

        return defaults(self.spec, server)

    def result(self, config: Mapping[str, Any], info: answers.StreamInfo | None) -> dict[str, Any]:
        """Return the resource for results, with this configuration. ``info`` is None for one that is planned."""
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
        rows = {row.path: row for row in self.rows if current.get(row.path) is not None}
        settled = windows.settled(desired, current, server.version)
        # As the server has it where it means the same: it takes tags in another order for another placement
        same = (path for path in settled if path in rows and rows[path].equal(current[path], settled[path]))
        return {**settled, **{path: current[path] for path in same}}

    @property
    def rows(self) -> tuple[fields.Field, ...]:
        """The fields that the kind sets, with an option or without."""
        return (*self.spec, *self.implied)

    @property
    def names(self) -> dict[str, str]:
        """The option of each field, by the field's path in the server's configuration."""
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
