# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets as their own module has them. They can remove what deleted keys leave: their marks, and values under them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import answers, jetstream, streams
from ..._options import codecs, fields, quantities
from .. import losses, resource
from ..stream.stream import WITH_DATA
from .bucket import BucketResource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api.kv import kv
    from ..._connection import sessions, wire


@dataclass(frozen=True)
class CompactingPlan(resource.Plan):
    """The plan of the bucket itself with that of removing marks."""

    bucket: resource.Plan | None = None
    marks: tuple[kv.Entry, ...] = field(default=(), repr=False)
    created: str = ""


class CompactableBucket(BucketResource):
    """With what a document can't have: how old the marks of deleted keys are changes by itself.

    Its state is that of ``BucketResource``, the marks that are old enough, and how many values are under them.
    """

    states = MappingProxyType({**WITH_DATA, "compact": {"type": "str"}})
    checks = BucketResource.checks.merge(fields.Spec((fields.Field("compact", codecs.duration()),)))

    def read(self, session: sessions.Session, options: Mapping[str, Any]) -> Any:
        current = super().read(session, options)
        if options["compact"] is None or current.info is None or options["state"] == "absent":
            return current, (), 0
        if current.config.get("mirror"):
            raise _errors.OptionError(
                "compact", "is for the origin of a mirror, which the mirror follows: leave it out here."
            )
        from ..._api.kv import kv_snapshot

        bucket = _present(session, options["name"], current.info, current.copying.holder)
        age = timedelta(seconds=quantities.parse_duration(options["compact"]))
        before = streams.clock_of(current.info) - age
        present = kv_snapshot.markers(session, bucket)
        marks = tuple(entry for entry in present if quantities.parse_timestamp(entry.created) <= before)
        return current, marks, _values_under(session, bucket, marks)

    def plan(self, current: Any, options: Mapping[str, Any], server: wire.Server) -> resource.Plan:
        state, marks, values = current
        plan = super().plan(state, options, server)
        if not marks:
            return plan
        if plan.action == resource.RECREATE:
            values = 0  # they are counted with all others
        loss = losses.Loss(values, 0, "removing deleted keys for good")
        loss.check(f"bucket {options['name']}", bool(options["allow_data_loss"]))
        keys = sorted(entry.key for entry in marks)
        more = {
            "action": resource.UPDATE if plan.action == resource.NONE else plan.action,
            "changes": (*plan.changes, resource.Change("deleted_keys", keys, [], fields.IN_PLACE)),
            "consequences": {
                **plan.consequences,
                "messages_lost": plan.consequences["messages_lost"] + values,
            },
        }
        return CompactingPlan(**{**vars(plan), **more}, bucket=plan, marks=marks, created=state.info["created"])

    def apply(self, session: sessions.Session, plan: resource.Plan) -> dict[str, Any]:
        if not isinstance(plan, CompactingPlan) or plan.bucket is None:
            return super().apply(session, plan)
        from ..._api.kv import kv

        if plan.bucket.changed or plan.bucket.follow:
            result = super().apply(session, plan.bucket)
            if plan.bucket.action == resource.RECREATE:
                return result
        bucket, _counts = kv.open_bucket(session, plan.name)
        marks = plan.marks if bucket.created == plan.created else _still_there(session, bucket, plan)
        calls = [
            # Only up to the mark, so that later writes stay
            (
                f"Compacting bucket {plan.name}",
                f"STREAM.PURGE.{bucket.stream}",
                answers.Purged,
                {"filter": bucket.subject(mark.key), "seq": mark.revision + 1},
            )
            for mark in marks
        ]
        for answer in jetstream.call_many(session, calls, again=True):
            jetstream.value_of(answer)
        info = streams.info(session, bucket.stream)
        if info is None:
            raise kv.no_bucket(plan.name)
        return {self.noun: self.result(info["config"], info)}


def _present(session: sessions.Session, name: str, info: answers.StreamInfo, holder: str) -> kv.Bucket:
    """Return the bucket to read. ``holder`` is the stream that has all of its messages while it is copied, or empty."""
    from ..._api.kv import kv

    if not holder:
        return kv.open_bucket(session, name)[0]
    state = info["state"]
    return kv.Bucket(
        name, info["config"], state["last_seq"], holder, info["created"], int(state.get("num_subjects", 0))
    )


def _still_there(session: sessions.Session, bucket: kv.Bucket, plan: CompactingPlan) -> list[kv.Entry]:
    """Return the planned marks that a bucket with another time of creation has.

    A copy has them with their revisions and times, and so has a restored bucket of a cluster, whose servers report
    different times of creation. In a new bucket of that name, these revisions are others. Raises Overtaken if that may
    be so and nothing was written, so that the plan is made again.
    """
    from ..._api.kv import kv_snapshot

    if plan.bucket is None or not plan.bucket.changed:
        raise _errors.Overtaken(
            f"Bucket {plan.name} was deleted and created again meanwhile, and no key was removed: try again."
        )
    present = {(entry.key, entry.revision, entry.created) for entry in kv_snapshot.markers(session, bucket)}
    return [mark for mark in plan.marks if (mark.key, mark.revision, mark.created) in present]


def _values_under(session: sessions.Session, bucket: kv.Bucket, marks: tuple[kv.Entry, ...]) -> int:
    """Return how many values the bucket keeps of the keys with these markers."""
    from ..._api.kv import kv

    if int(bucket.config.get("max_msgs_per_subject") or 0) == 1:
        return 0  # the mark is all that there is
    counts = kv.count_values(session, bucket, [mark.key for mark in marks])
    return sum(max(0, count - 1) for count in counts.values())


KV_BUCKET = CompactableBucket()
