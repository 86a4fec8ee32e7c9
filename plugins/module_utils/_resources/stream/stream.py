# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind stream: fields that its options imply, and fields that servers fill in."""

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

    from ..._api import answers
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
            from .recreation import copying

            source = copying.read_renamed(session, old, self.stream_of(options))
            if source:
                return self.read_beside(session, options, *source, renamed_from=old)
        return super().read(session, options)

    def result(self, config: Mapping[str, Any], info: answers.StreamInfo | None) -> dict[str, Any]:
        return table.result(config, info)

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
            desired = {**desired, "subjects": [name]}  # the server's choice for an empty list
        if desired.get("mirror") == {} and current.get("mirror_direct"):
            desired = {"mirror_direct": False, **desired}  # the server would refuse it without a mirror
        return desired

    def unmanaged(
        self, name: str, desired: Mapping[str, Any], current: Mapping[str, Any], server: wire.Server
    ) -> dict[str, Any]:
        from ..exact import keep_mirror

        keep_mirror(f"stream {name}", desired, current)
        values = super().unmanaged(name, desired, current, server)
        values["duplicate_window"] = windows.by_server(desired, server.version)
        if desired.get("mirror") or desired.get("sources"):
            # The server chooses subjects and mirror_direct by the origins
            return {path: value for path, value in values.items() if path != "mirror_direct"}
        return {**values, "subjects": [name]}

    def expected(self, config: Mapping[str, Any], release: tuple[int, ...]) -> dict[str, Any]:
        filled = dict(config)
        if not (filled.get("mirror") or filled.get("sources")):
            filled["subjects"] = filled.get("subjects") or [filled["name"]]
        filled["duplicate_window"] = filled.get("duplicate_window") or windows.by_server(filled, release)
        return filled


STREAM = StreamResource()
