# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules do with resources, without a playbook around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from support.connect import options, settings

if TYPE_CHECKING:
    from typing import TypeVar

    from ansible_collections.choria.streams.plugins.module_utils._resources.resource import Plan, Resource

    Self = TypeVar("Self", bound="Manager")


class Manager:
    """A connection with the connection options of a task."""

    def __init__(self, **connection: Any) -> None:
        self.session = Session(settings(**connection))

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.session.close()

    def plan(self, resource: Resource, **given: Any) -> Plan:
        """What would be done."""
        wanted = options(resource, **given)
        return resource.plan(resource.read(self.session, wanted), wanted, self.session.server)

    def apply(self, resource: Resource, **given: Any) -> Plan:
        """Does it, and returns what was done."""
        plan = self.plan(resource, **given)
        if plan.changed:
            resource.apply(self.session, plan)
        return plan

    def config(self, stream: str) -> dict[str, Any]:
        """The configuration of a stream that there is."""
        info = streams.info(self.session, stream)
        if info is None:
            raise AssertionError(f"there is no stream {stream}")
        return dict(info["config"])
