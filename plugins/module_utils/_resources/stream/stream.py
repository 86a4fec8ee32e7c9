# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams: what their options imply, and what servers fill in."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..._options import fields, names
from .. import resource
from . import base, table, windows
from .recreation import recreate
from .replicas import CHECKS, WAIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions, wire
    from .current import Current

PRESENT_OR_ABSENT: dict[str, Any] = {"state": {"type": "str", "choices": ["present", "absent"], "default": "present"}}
EXACT: dict[str, Any] = {"type": "bool", "default": False}
REPLICATED: dict[str, Any] = {**PRESENT_OR_ABSENT, **WAIT}
WITH_DATA: dict[str, Any] = {
    **REPLICATED,
    "allow_data_loss": {"type": "bool", "default": False},
    "exact": EXACT,
    "wait_for_origins": {"type": "bool", "default": False},
    **recreate.OPTION,
}


class StreamResource(base.StreamBacked):
    noun = "stream"
    spec = table.SPEC
    states = MappingProxyType(
        {**WITH_DATA, "renamed_from": {"type": "str"}, resource.PEDANTIC.option: resource.PEDANTIC.argument()}
    )
    checks = CHECKS.merge(fields.Spec((fields.Field("renamed_from", names.STREAM_NAME),)))

    def read(self, session: sessions.Session, options: Mapping[str, Any]) -> Current:
        old = options.get("renamed_from") if options["state"] == "present" else None
        if old:
            from .recreation import renaming

            found = renaming.read(session, old, self.stream_of(options))
            if found:
                return self.read_beside(session, options, *found, renamed_from=old)
        return super().read(session, options)

    def result(self, info: Mapping[str, Any]) -> dict[str, Any]:
        return table.result(info)

    def plan_change(self, current: Current, options: Mapping[str, Any], server: wire.Server) -> resource.Plan:
        return resource.pedantically(super().plan_change(current, options, server), options, server)

    def complete(self, name: str, desired: dict[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
        if desired.get("sealed"):
            desired = {**table.SEALED, **desired}
        if desired.get("subject_delete_marker_ttl"):
            desired = {**table.WITH_MARKERS, **desired}
        if desired.get("allow_msg_schedules"):
            desired = {**table.WITH_SCHEDULES, **desired}
        whole = {**current, **desired}
        if desired.get("subjects") == [] and not (whole.get("mirror") or whole.get("sources")):
            desired = {**desired, "subjects": [name]}  # what the server makes of none
        if desired.get("mirror") == {} and current.get("mirror_direct"):
            desired = {"mirror_direct": False, **desired}  # the server would refuse it without a mirror
        return desired

    def unmanaged(
        self, name: str, desired: Mapping[str, Any], current: Mapping[str, Any], server: wire.Server
    ) -> dict[str, Any]:
        from ..exact import keep_mirror

        keep_mirror(f"stream {name}", desired, current)
        wanted = super().unmanaged(name, desired, current, server)
        wanted["duplicate_window"] = windows.by_server(desired, server.version)
        if desired.get("mirror") or desired.get("sources"):
            # Their subjects are those of the origins, and what follows from these is the server's choice
            return {path: value for path, value in wanted.items() if path != "mirror_direct"}
        return {**wanted, "subjects": [name]}

    def expected(self, config: Mapping[str, Any], release: tuple[int, ...]) -> dict[str, Any]:
        filled = dict(config)
        if not (filled.get("mirror") or filled.get("sources")):
            filled["subjects"] = filled.get("subjects") or [filled["name"]]
        filled["duplicate_window"] = filled.get("duplicate_window") or windows.by_server(filled, release)
        return filled


STREAM = StreamResource()
