# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets as their own module has them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..._options import codecs, fields
from ..stream.stream import WITH_DATA
from .bucket import BucketResource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions, wire
    from .. import resource


class CompactableBucket(BucketResource):
    """With what a document can't have: how old the marks of deleted keys are changes by itself."""

    states = MappingProxyType({**WITH_DATA, "compact": {"type": "str"}})
    checks = BucketResource.checks.merge(fields.Spec((fields.Field("compact", codecs.duration()),)))

    def read(self, session: sessions.Session, options: Mapping[str, Any]) -> Any:
        if options["compact"] is None:
            return super().read(session, options)
        from .compaction import COMPACTING

        return COMPACTING.read(session, options)

    def plan(self, current: Any, options: Mapping[str, Any], server: wire.Server) -> resource.Plan:
        if options["compact"] is None:
            return super().plan(current, options, server)
        from .compaction import COMPACTING

        return COMPACTING.plan(current, options, server)

    def apply(self, session: sessions.Session, plan: resource.Plan) -> dict[str, Any]:
        if not getattr(plan, "marks", ()):
            return super().apply(session, plan)
        from .compaction import COMPACTING

        return COMPACTING.apply(session, plan)


COMPACTABLE = CompactableBucket()
