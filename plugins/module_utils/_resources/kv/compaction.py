# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets without what deleted keys leave behind: the marks of deletions, and old values under them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream, streams
from ..._api.kv import kv
from ..._api.kv.kv_snapshot import snapshot
from ..._options import fields, quantities
from .. import losses, resource
from .bucket import BUCKET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions, wire


@dataclass(frozen=True)
class Found:
    """The bucket as ``BucketResource`` reads it, the marks that are old enough, and how many values are under them."""

    bucket: Any
    marks: tuple[kv.Entry, ...] = ()
    values: int = 0


@dataclass(frozen=True)
class CompactingPlan(resource.Plan):
    """The plan of the bucket itself with that of removing marks."""

    bucket: resource.Plan | None = None
    marks: tuple[kv.Entry, ...] = field(default=(), repr=False)
    created: str = ""


class CompactingBucket:
    def read(self, session: sessions.Session, options: Mapping[str, Any]) -> Found:
        age = _age(options["compact"])
        found = BUCKET.read(session, options)
        if found.info is None or options["state"] == "absent":
            return Found(found)
        if found.config.get("mirror"):
            raise _errors.OptionError(
                "compact", "is for the origin of a mirror, which the mirror follows: leave it out here."
            )
        bucket, _counts = kv.open_bucket(session, options["name"])
        before = quantities.parse_timestamp(found.info["ts"]) - timedelta(seconds=age)
        entries = snapshot(session, bucket, "").values()
        marks = tuple(
            entry for entry in entries if not entry.alive and quantities.parse_timestamp(entry.created) <= before
        )
        return Found(found, marks, _values_under(session, bucket, marks))

    def plan(self, current: Found, options: Mapping[str, Any], server: wire.Server) -> resource.Plan:
        plan = BUCKET.plan(current.bucket, options, server)
        if not current.marks:
            return plan
        loss = losses.Loss(current.values, 0, "removing deleted keys for good")
        loss.check(f"bucket {options['name']}", bool(options["allow_data_loss"]))
        names = sorted(entry.key for entry in current.marks)
        lost = {**plan.consequences, "messages_lost": plan.consequences["messages_lost"] + current.values}
        return CompactingPlan(
            noun=plan.noun,
            name=options["name"],
            action=resource.UPDATE if plan.action == resource.NONE else plan.action,
            request=plan.request,
            before=plan.before,
            after=plan.after,
            changes=(*plan.changes, resource.Change("deleted_keys", names, [], fields.IN_PLACE)),
            consequences=lost,
            warnings=plan.warnings,
            notes=plan.notes,
            bucket=plan,
            marks=current.marks,
            created=current.bucket.info["created"],
        )

    def apply(self, session: sessions.Session, plan: resource.Plan) -> dict[str, Any]:
        if not isinstance(plan, CompactingPlan) or plan.bucket is None:
            return BUCKET.apply(session, plan)
        if plan.bucket.action != resource.NONE:
            BUCKET.apply(session, plan.bucket)
        bucket, _counts = kv.open_bucket(session, plan.name)
        if bucket.created != plan.created:  # the revisions of these marks are others' there
            raise _errors.Overtaken(
                f"Bucket {plan.name} was deleted and created again meanwhile, and no key was removed: try again."
            )
        calls = [
            # Up to the mark, so that what was written since stays
            (
                f"Compacting bucket {plan.name}",
                f"STREAM.PURGE.{bucket.stream}",
                {"filter": bucket.subject(mark.key), "seq": mark.revision + 1},
            )
            for mark in plan.marks
        ]
        for answer in jetstream.call_many(session, calls, again=True):
            if isinstance(answer, _errors.StreamsError):
                raise answer
        info = streams.info(session, bucket.stream)
        if info is None:
            raise kv.no_bucket(plan.name)
        return {BUCKET.noun: BUCKET.result(info)}


def _values_under(session: sessions.Session, bucket: kv.Bucket, marks: tuple[kv.Entry, ...]) -> int:
    """Return how many values the bucket keeps of the keys with these markers."""
    if int(bucket.config.get("max_msgs_per_subject") or 0) == 1:
        return 0  # the mark is all that there is
    counts = kv.count_values(session, bucket, [mark.key for mark in marks])
    return sum(max(0, count - 1) for count in counts.values())


def _age(text: str) -> float:
    try:
        return quantities.parse_duration(text)
    except ValueError as error:
        raise _errors.OptionError("compact", f"{error}.") from error


COMPACTING = CompactingBucket()
