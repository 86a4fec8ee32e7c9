# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read, plan and apply resources as modules do, without a playbook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._module_document import items_of
from ansible_collections.choria.streams.plugins.module_utils._resources.document.model import KINDS, SPEC, Document
from ansible_collections.choria.streams.plugins.module_utils._resources.document.report import ensure
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
        """Return the plan."""
        wanted = options(resource, **given)
        return resource.plan(resource.read(self.session, wanted), wanted, self.session.server)

    def apply(self, resource: Resource, **given: Any) -> Plan:
        """Apply the plan, and return it."""
        plan = self.plan(resource, **given)
        if plan.changed:
            resource.apply(self.session, plan)
        return plan

    def config(self, stream: str) -> dict[str, Any]:
        """Return the configuration of an existing stream."""
        info = streams.info(self.session, stream)
        if info is None:
            raise AssertionError(f"there is no stream {stream}")
        return dict(info["config"])


def declared(session: Session, check: bool = False, **given: Any) -> dict[str, Any]:
    """Return the result of choria_resources for a document."""
    result = ArgumentSpecValidator(SPEC.argument_spec(), **SPEC.rules).validate(given)
    assert not result.error_messages
    params = result.validated_parameters
    session.read_only = check
    try:
        return ensure(session, Document.of(params, items_of(KINDS, params)), check, True)
    finally:
        session.read_only = False
