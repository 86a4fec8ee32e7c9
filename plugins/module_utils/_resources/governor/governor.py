# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Concurrency governors: what makes a stream one, as ``choria governor add`` makes it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import names
from .. import shared_fields
from ..stream import base as stream_base
from ..stream.stream import EXACT, REPLICATED
from ..stream.table import SPEC as STREAM_ROWS
from ..stream.windows import window_for
from . import events, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import answers
    from ..._connection import sessions, wire
    from .. import resource

# A waiter that gets a seat and heard of further ones wakes others itself
_MOST_WOKEN = 1000


class GovernorResource(stream_base.StreamBacked):
    noun = "governor"
    prefix = names.GOVERNOR_PREFIX
    spec = table.SPEC
    implied = tuple(row for row in STREAM_ROWS if row.path not in {row.path for row in table.SPEC})
    states: Mapping[str, Any] = MappingProxyType({**REPLICATED, "exact": EXACT})
    keeps_data = False
    content = "seat"

    def fixed(self, name: str, collective: str | None, server: wire.Server) -> dict[str, Any]:
        config: dict[str, Any] = {"retention": "limits", "discard": "new"}
        if collective:
            config["subjects"] = [f"{collective}.governor.{name}"]
        return config

    def complete(self, name: str, desired: dict[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
        if not current:
            desired = {"description": f"Concurrency Governor {name}", **desired}
        if "max_age" in desired and int(current.get("max_age") or 0) != desired["max_age"]:
            desired["duplicate_window"] = window_for(desired["max_age"])
        return desired

    def unmanaged(
        self, name: str, desired: Mapping[str, Any], current: Mapping[str, Any], server: wire.Server
    ) -> dict[str, Any]:
        from ..exact import hidden_defaults

        values = {
            "num_replicas": 1,
            "max_bytes": shared_fields.UNLIMITED,
            **hidden_defaults(self.implied, current, server),
        }
        for path in ("subjects", "duplicate_window", "description"):  # what makes it a governor, or says so
            del values[path]
        return values

    def plan_change(
        self, current: stream_base.Current, options: Mapping[str, Any], server: wire.Server
    ) -> resource.Plan:
        lacking = [option for option in ("capacity", "expire") if options.get(option) is None]
        if options["state"] == "present" and lacking and (current.info is None or options["exact"]):
            what = "for exact, which has no default of it for" if current.info else "to create"
            raise _errors.OptionError(
                lacking[0],
                f"is needed {what} the governor {options['name']}: give capacity and expire, such as 5 and 20m.",
            )
        return super().plan_change(current, options, server)

    def announce(self, session: sessions.Session, plan: resource.Plan) -> None:
        """Wake a waiter for each seat that a higher capacity brings."""
        for change in plan.changes:
            if change.field == "capacity" and change.before:
                for _seat in range(min(change.after - change.before, _MOST_WOKEN)):
                    events.pass_on(session, plan.request["name"].removeprefix(names.GOVERNOR_PREFIX))

    def result(self, config: Mapping[str, Any], info: answers.StreamInfo | None) -> dict[str, Any]:
        return table.result(config, info)


GOVERNOR = GovernorResource()
