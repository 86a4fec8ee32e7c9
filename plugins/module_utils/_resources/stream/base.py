# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""StreamBacked: read, plan and apply of a resource that is a stream on the server, for all kinds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import accounts, jetstream, peers, replicas, streams
from ..._options import fields, shapes
from .. import losses, origin_filters, placing, resource
from .current import Current, Needs, check_stored, promise, taken, without_old
from .kind import Kind
from .recreation import recreate
from .replicas import first_step, moved, patience

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import answers
    from ..._connection import sessions, wire


# Fields that the limits of an account apply to
_LIMITED = ("max_bytes", "num_replicas", "storage", "max_consumers")


class StreamBacked(Kind):
    """Read, plan and apply for all kinds."""

    def read(self, session: sessions.Session, options: Mapping[str, Any]) -> Current:
        name = self.stream_of(options)
        info, progress = streams.info(session, name), recreate.NOT_COPYING
        if options.get("recreate", recreate.NO) == recreate.BY_COPY and options["state"] == "present":
            from .recreation import copying

            progress = copying.read(session, name, info)
            info = progress.origin or info
        return self.read_beside(session, options, info, progress)

    def read_beside(
        self,
        session: sessions.Session,
        options: Mapping[str, Any],
        info: answers.StreamInfo | None,
        progress: recreate.Copying,
        renamed_from: str = "",
    ) -> Current:
        """Return all that a plan needs. The info of the stream and the progress of a copy were read before."""
        name, collective = self.stream_of(options), session.settings.collective
        needs = self.needs(info, options, session.server, collective)
        measured = losses.NOT_MEASURED
        if info and needs.measured:
            holder: answers.StreamConfig = {**info["config"], "name": shapes.Name(progress.holder or name)}
            measured = self.measure(session, {**info, "config": holder}, needs.desired or {})
        by_copy = needs.copied and options["recreate"] == recreate.BY_COPY
        if info and not renamed_from and (progress.under_way or by_copy):
            from .recreation import copying

            progress = copying.read_others(session, name, progress)
        owners = taken(session, (name, progress.holder, renamed_from), needs.subjects)
        limits = accounts.info(session) if needs.limited or renamed_from else None
        servers = peers.Peers(session).until(placing.enough(needs.placed, info)) if needs.placed else None
        unmatched = origin_filters.first_refusal(session, needs.filters, cache(partial(origin_filters.read, session)))
        return Current(
            info, measured, owners, collective, progress, needs.desired, limits, servers, unmatched, renamed_from
        )

    def needs(
        self, info: answers.StreamInfo | None, options: Mapping[str, Any], server: wire.Server, collective: str
    ) -> Needs:
        """Return what a plan needs in addition to the stream's info. The name has been checked."""
        if options["state"] == "absent":
            return Needs()
        name = f"{self.prefix}{options['name']}"
        present: Mapping[str, Any] = info["config"] if info else {}
        desired = self.desired(options, present, server, collective)
        expected = self.expected({"name": name, **present, **desired}, server.version).get("subjects") or []
        new = sorted(set(expected) - set(present.get("subjects") or []))
        changes = (
            self._changes(name, present, desired, options, server)
            if options.get("recreate", recreate.NO) != recreate.NO
            else []
        )
        copied = any(change.effect == fields.RECREATE for change in changes)
        limited = (
            not info or copied or any(present.get(path) != desired.get(path, present.get(path)) for path in _LIMITED)
        )
        placed = {**present, **desired} if placing.needs_check({**present, **desired}, present, server) else {}
        filters = origin_filters.new({**present, **desired}, present)
        return Needs(desired, new, losses.limits(present, desired), copied, limited, placed, filters)

    def measure(
        self, session: sessions.Session, info: answers.StreamInfo, desired: Mapping[str, Any]
    ) -> losses.Measured:
        """Return the losses of an update that changes limits, counted from the live state."""
        from .loss_estimate import measure

        return measure(session, info, desired, self.names)

    def plan(self, current: Current, options: Mapping[str, Any], server: wire.Server) -> resource.Plan:
        plan = self.plan_change(current, options, server)
        if plan.changed or current.info is None:
            return plan
        shown, follow = self.result(current.config, current.info), _follow(options, current.config)
        request = {"name": current.config["name"]} if follow else {}
        return replace(plan, before=shown, after=shown, follow=follow, request=request)

    def plan_change(self, current: Current, options: Mapping[str, Any], server: wire.Server) -> resource.Plan:
        """Return the plan. If nothing changes, it lacks the resource to show as the result, which ``plan`` adds."""
        name, config = str(options["name"]), current.config
        recreate.check_free(
            config, options.get("recreate", recreate.NO) if options["state"] == "present" else recreate.NO
        )
        if options["state"] == "absent":
            return self._plan_delete(current, self.spec.checked_name(name), options)
        desired = current.desired or self.desired(options, config, server, current.collective)
        for subject, owner in (current.taken or {}).items():
            raise self.overlap(subject, owner)
        if current.unmatched:
            raise current.unmatched
        placing.check_cluster(desired, current.info, server)
        as_it_is = not (current.copying.unfinished or current.renamed_from)
        if config and as_it_is and all(config.get(path) == desired[path] for path in desired):
            return self._plan_nothing(name)
        whole = resource.merged({"name": f"{self.prefix}{name}", **config}, desired)
        # A server's configuration is consistent, and so are the few options of other kinds
        if whole != resource.merged(config, {}) and self.keeps_data:
            from . import rules

            given = [row.path for row in self.spec if options.get(row.option) is not None]
            rules.check(whole, config, given, self.names)
        if current.info is None:
            plan = self._plan_create(name, desired, options, server)
        else:
            plan = self._plan_update(current, name, desired, options, server)
        if plan.changed and current.account:
            self._check_account(current.account, plan, config)
        if plan.changed and current.servers is not None:
            doubt = placing.check(current.servers, plan.request, current.info, server, self.names)
            plan = replace(plan, warnings=(*plan.warnings, *([doubt] if doubt else ())))
        return replace(plan, follow=_follow(options, plan.request)) if plan.changed else plan

    def _check_account(self, limits: Mapping[str, Any], plan: resource.Plan, config: Mapping[str, Any]) -> None:
        from .. import account_limits

        account_limits.check(limits, plan.request, config, self.names)
        if plan.action in (resource.RECREATE, resource.COPY):
            account_limits.check_room(limits, plan.request, copied=plan.action == resource.COPY)

    def apply(self, session: sessions.Session, plan: resource.Plan) -> dict[str, Any]:
        name = plan.request["name"]
        info: answers.StreamInfo | None = None
        if plan.action == resource.DELETE:
            streams.delete(session, name)
            return plan.result
        if plan.wait:
            info = self._write_patiently(session, plan)
        elif plan.changed:
            self._write(session, plan)
            info = streams.info_after_write(session, name)
        if plan.changed:
            info = self.proven(session, plan, info)
            self.announce(session, plan)
        if plan.follow:
            info = replicas.wait_until_followed(session, name, plan.follow)
        elif info and streams.never_heard(info):
            info = replicas.wait_until_heard(session, [info])[name]
        return {self.noun: self.result(info["config"], info)} if info else plan.result

    def announce(self, session: sessions.Session, plan: resource.Plan) -> None:
        """Publish an event for waiters after the plan is applied. Kinds may define it."""

    def _write_patiently(self, session: sessions.Session, plan: resource.Plan) -> answers.StreamInfo:
        """Write, and wait before and after until all replicas are current."""
        name = plan.request["name"]
        if plan.action == resource.UPDATE:
            replicas.wait_until_at_rest(session, name, plan.wait)
        if plan.first:
            streams.update(session, plan.first)
            replicas.wait_until_current(session, name, plan.wait)
        self._write(session, plan)
        return replicas.wait_until_current(session, name, plan.wait)

    def _write(self, session: sessions.Session, plan: resource.Plan) -> None:
        if plan.action in (resource.RECREATE, resource.COPY):
            from .recreation import copying

            copying.apply(session, plan)
        else:
            try:
                jetstream.value_of(streams.write_many(session, [self.call_of(plan)])[0])
            except _errors.ApiError as error:
                reason = self.explained(session, plan, error)
                if reason:
                    raise reason from error

    def call_of(self, plan: resource.Plan) -> jetstream.Call[Any]:
        """Return the call of the plan."""
        if plan.action == resource.DELETE:
            return streams.deleting(plan.request["name"])
        request = {**plan.request, "pedantic": True} if plan.pedantic else plan.request
        return streams.creating(request) if plan.action == resource.CREATE else streams.updating(request)

    def explained(
        self, session: sessions.Session, plan: resource.Plan, error: _errors.ApiError
    ) -> _errors.StreamsError | None:
        """Return the server's error, or None if the first of two requests applied the plan.

        If storage is exceeded, it names the limit's owner. If streams copy in a circle, it says so.
        """
        from .. import account_limits

        if plan.action == resource.CREATE and streams.created_before(session, plan.request, error):
            return None
        if error.description == origin_filters.CIRCLE:
            return origin_filters.circle(f"{plan.noun} {plan.name}", error)
        if error.err_code not in account_limits.EXCEEDED.values():
            return error
        there = streams.info(session, plan.request["name"])
        present: Mapping[str, Any] = there["config"] if there else {}
        return account_limits.storage_error(accounts.info(session), plan.request, present, self.names, error)

    def proven(
        self, session: sessions.Session, plan: resource.Plan, info: answers.StreamInfo | None
    ) -> answers.StreamInfo:
        """Return the info, read back after the write. Raises StreamsError if it differs from the plan."""
        return without_old(session, plan, check_stored(plan, info, self.rows))

    def _plan_nothing(self, name: str) -> resource.Plan:
        return resource.Plan(self.noun, name, resource.NONE, consequences=losses.Loss().report)

    def _plan_create(
        self, name: str, desired: dict[str, Any], options: Mapping[str, Any], server: wire.Server
    ) -> resource.Plan:
        if desired.get("sealed"):
            raise _errors.Refused(
                f"sealed: a {self.noun} can't be created sealed (JetStream error 10052): fill it, then seal it.",
                code="option",
                option="sealed",
            )
        request = resource.merged({"name": f"{self.prefix}{name}"}, desired)
        rows = {row.path: row for row in self.spec}
        changes = tuple(
            resource.Change(rows[path].option, None, rows[path].codec.to_result(value), resource.CREATE)
            for path, value in desired.items()
            if path in rows
        )
        after = self.result(self.expected(request, server.version), None)
        wait = patience(options) if int(request.get("num_replicas") or 1) > 1 else 0
        return resource.Plan(
            self.noun, name, resource.CREATE, request, None, after, changes, losses.Loss().report, wait=wait
        )

    def _plan_update(
        self, current: Current, name: str, desired: dict[str, Any], options: Mapping[str, Any], server: wire.Server
    ) -> resource.Plan:
        config, loss = current.config, current.measured.loss
        changes = self._changes(name, config, desired, options, server)
        unfinished = current.copying.unfinished or bool(current.renamed_from)
        recreated = any(change.effect == fields.RECREATE for change in changes) or unfinished
        if not changes and not recreated:
            return self._plan_nothing(name)
        self._check_consumers(name, current.measured)
        request, before = resource.merged(config, desired), self.result(config, current.info)
        after = self.result(self.expected(request, server.version), current.info)
        report, notes = loss.consequences(changes, self.content)
        wait = patience(options) if moved(changes) else 0
        plan = resource.Plan(
            self.noun,
            name,
            resource.UPDATE,
            request,
            before,
            after,
            tuple(changes),
            report,
            notes=notes,
            first={} if recreated else first_step(config, request, changes, wait),
            wait=wait,
            promise=promise(current, request) if self.keeps_data else None,
        )
        if recreated:
            plan, loss = self._by_detour(plan, loss, current, options, server)
        if self.keeps_data:
            loss.check(f"{self.noun} {name}", bool(options.get("allow_data_loss")))
        return plan

    def _by_detour(
        self, plan: resource.Plan, loss: losses.Loss, current: Current, options: Mapping[str, Any], server: wire.Server
    ) -> tuple[resource.Plan, losses.Loss]:
        """Plan what no update can do: another name, a copy, or a new stream without data."""
        from .recreation import copying

        config, under_way = current.config, current.copying
        if current.renamed_from:
            return copying.as_rename(plan, current.renamed_from, config, under_way, options, server), loss
        if options["recreate"] == recreate.BY_COPY:
            return copying.by_copy(plan, config, under_way, options, server), loss
        return copying.by_deletion(plan, current.state, self.content)

    def _changes(
        self,
        name: str,
        config: Mapping[str, Any],
        desired: Mapping[str, Any],
        options: Mapping[str, Any],
        server: wire.Server,
    ) -> list[resource.Change]:
        recreates = options.get("recreate", recreate.NO) != recreate.NO
        return resource.field_changes(
            self.rows, f"{self.noun} {name}", config, desired, server.version, recreate=recreates
        )

    def _plan_delete(self, current: Current, name: str, options: Mapping[str, Any]) -> resource.Plan:
        if current.info is None:
            return self._plan_nothing(name)
        state = current.state
        loss = losses.Loss(int(state.get("messages", 0)), int(state.get("consumer_count", 0)), "deleting it")
        if self.keeps_data:
            loss.check(f"{self.noun} {name}", bool(options.get("allow_data_loss")))
        before = self.result(current.config, current.info)
        report, notes = loss.consequences([], self.content)
        shown = self.spec.results_of(current.config)
        changes = tuple(
            resource.Change(option, value, None, resource.DELETE)
            for option, value in shown.items()
            if value not in (None, "", [], {})
        )
        return resource.Plan(
            self.noun,
            name,
            resource.DELETE,
            {"name": current.config["name"]},
            before,
            None,
            changes,
            report,
            notes=notes,
        )

    def _check_consumers(self, name: str, measured: losses.Measured) -> None:
        if measured.exceeding:
            raise _errors.Refused(
                f"consumer_limits of {self.noun} {name}: consumers have more than that, and the server refuses it "
                f"(JetStream error 10069): change or delete {', '.join(measured.exceeding)} first.",
                code="update_refused",
                option="consumer_limits",
                err_code=10069,
            )


def _follow(options: Mapping[str, Any], config: Mapping[str, Any]) -> float:
    """Return how long to wait for origins, in seconds."""
    copies = config.get("mirror") or config.get("sources")
    return patience({**options, "wait": True}) if copies and options.get("wait_for_origins") else 0
