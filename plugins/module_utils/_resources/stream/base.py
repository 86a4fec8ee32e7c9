# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""StreamBacked: a resource that is a stream on the server. Streams, buckets and governors differ in their tables."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._api import account, jetstream, origins, peers, streams
from ..._options import connection, fields
from .. import losses, origin_filters, placing, resource
from ..ownership import marked
from . import recreate, windows
from .replicas import CHECKS, first_step, moved, patience

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from ..._connection import sessions, wire


# What of a configuration the limits of an account are about
_LIMITED = ("max_bytes", "num_replicas", "storage", "max_consumers")


class Current(NamedTuple):
    """The state of a stream, and what a plan needs beside it.

    ``measured`` is the effect of changed limits, and ``taken`` names the streams that have desired subjects.
    ``collective`` is where a governor is created without an option, ``copying`` the progress of a copy. ``desired`` is
    the configuration that the options ask for, if it is known already. ``account`` has the limits of the account and
    their use, if a plan may exceed them. ``servers`` are those that may hold the stream, if a plan needs others and
    they are known. ``unmatched`` refuses a filter of an origin. ``renamed_from`` is the old name of a stream to rename.
    """

    info: dict[str, Any] | None = None
    measured: losses.Measured = losses.NOT_MEASURED
    taken: Mapping[str, str] | None = None
    collective: str = connection.DEFAULT_COLLECTIVE
    copying: recreate.Copying = recreate.NOT_COPYING
    desired: dict[str, Any] | None = None
    account: Mapping[str, Any] | None = None
    servers: Sequence[peers.Peer] | None = None
    unmatched: _errors.Refused | None = None
    renamed_from: str = ""

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.info["config"]) if self.info else {}

    @property
    def state(self) -> dict[str, Any]:
        return dict(self.info["state"]) if self.info else {}


class Needs(NamedTuple):
    """What has to be read for a plan beside the stream's info.

    ``subjects`` are new ones, which other streams may have. ``measured`` requires the result of ``measure``, ``copied``
    the input of a copy, ``limited`` the account's limits, ``placed`` the servers for this configuration, and
    ``filters`` the messages of origins. ``desired`` is the configuration from which it follows, None to delete.
    """

    desired: dict[str, Any] | None = None
    subjects: Sequence[str] = ()
    measured: bool = False
    copied: bool = False
    limited: bool = False
    placed: Mapping[str, Any] = MappingProxyType({})
    filters: tuple[origin_filters.Filter, ...] = ()


class StreamBacked:
    """Read, plan and apply for all kinds. A kind defines the noun, the table, and fixed or implied fields.

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

    # What kinds change

    def fixed(self, name: str, collective: str | None, server: wire.Server) -> dict[str, Any]:
        """Return the configuration that each such stream has regardless of the options. Drift is repaired to it."""
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
        """Return the values in exact mode of the fields that are not given."""
        from ..exact import defaults

        return defaults(self.spec, server)

    def result(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Return the resource for results."""
        raise NotImplementedError

    # What all kinds share

    def stream_of(self, options: Mapping[str, Any]) -> str:
        """Return the name of the stream. Raises OptionError if the kind does not allow the name."""
        return f"{self.prefix}{self.spec.checked_name(options['name'])}"

    def read(self, session: sessions.Session, options: Mapping[str, Any]) -> Current:
        name = self.stream_of(options)
        info, found = streams.info(session, name), recreate.NOT_COPYING
        if options.get("recreate", recreate.NO) == recreate.BY_COPY and options["state"] == "present":
            from . import copying

            found = copying.read(session, name, info)
            info = found.origin or info
        return self.read_beside(session, options, info, found)

    def read_beside(
        self,
        session: sessions.Session,
        options: Mapping[str, Any],
        info: dict[str, Any] | None,
        found: recreate.Copying,
        renamed_from: str = "",
    ) -> Current:
        """Read what a plan needs beside the info of the stream, and the progress of an earlier copy."""
        name, collective = self.stream_of(options), session.settings.collective
        needs = self.needs(info, options, session.server, collective)
        measured = losses.NOT_MEASURED
        if info and needs.measured:
            holder = {**info["config"], "name": found.holder or name}
            measured = self.measure(session, {**info, "config": holder}, needs.desired or {})
        by_copy = needs.copied and options["recreate"] == recreate.BY_COPY
        if info and not renamed_from and (found.under_way or by_copy):
            from . import copying

            found = copying.read_others(session, name, found)
        taken = _taken(session, (name, found.holder, renamed_from), needs.subjects)
        limits = account.info(session) if needs.limited or renamed_from else None
        servers = peers.Peers(session).until(placing.enough(needs.placed, info or {})) if needs.placed else None
        unmatched = origin_filters.first_refusal(
            session, needs.filters, lambda each: origin_filters.read(session, each)
        )
        return Current(
            info, measured, taken, collective, found, needs.desired, limits, servers, unmatched, renamed_from
        )

    def needs(
        self, info: dict[str, Any] | None, options: Mapping[str, Any], server: wire.Server, collective: str
    ) -> Needs:
        """Return what has to be read beside the stream's info for a plan. The name has been checked."""
        if options["state"] == "absent":
            return Needs()
        name, present = f"{self.prefix}{options['name']}", info["config"] if info else {}
        desired = self._desired(options, present, server, collective)
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
        placed = {**present, **desired} if placing.asked({**present, **desired}, present, server) else {}
        filters = origin_filters.new({**present, **desired}, present)
        return Needs(desired, new, losses.limits(present, desired), copied, limited, placed, filters)

    def measure(
        self, session: sessions.Session, info: Mapping[str, Any], desired: Mapping[str, Any]
    ) -> losses.Measured:
        """Return the losses of an update that changes limits, counted from the live state."""
        from .loss_estimate import measure

        return measure(session, info, desired, self._names)

    def plan(self, current: Current, options: Mapping[str, Any], server: wire.Server) -> resource.Plan:
        plan = self.plan_change(current, options, server)
        if plan.changed or current.info is None:
            return plan
        shown, follow = self.result(current.info), _follow(options, current.config)
        request = {"name": current.config["name"]} if follow else {}
        return replace(plan, before=shown, after=shown, follow=follow, request=request)

    def plan_change(self, current: Current, options: Mapping[str, Any], server: wire.Server) -> resource.Plan:
        """Return the plan, without the resource for results if it stays unchanged."""
        name, config = str(options["name"]), current.config
        recreate.check_free(
            config, options.get("recreate", recreate.NO) if options["state"] == "present" else recreate.NO
        )
        if options["state"] == "absent":
            return self._plan_delete(current, self.spec.checked_name(name), options)
        desired = current.desired or self._desired(options, config, server, current.collective)
        for subject, owner in (current.taken or {}).items():
            raise self.overlap(subject, owner)
        if current.unmatched:
            raise current.unmatched
        placing.check_cluster(desired, current.info or {}, server)
        as_it_is = not (current.copying.unfinished or current.renamed_from)
        if config and as_it_is and all(config.get(path) == desired[path] for path in desired):
            return self._plan_nothing(name)
        wanted = resource.merged({"name": f"{self.prefix}{name}", **config}, desired)
        # What the server has goes together, and so do the few options of other kinds
        if wanted != resource.merged(config, {}) and self.keeps_data:
            from . import rules

            given = [row.path for row in self.spec if options.get(row.option) is not None]
            rules.check(wanted, config, given, self._names)
        if current.info is None:
            plan = self._plan_create(name, desired, options, server)
        else:
            plan = self._plan_update(current, name, desired, options, server)
        if plan.changed and current.account:
            self._check_account(current.account, plan, config)
        if plan.changed and current.servers is not None:
            doubt = placing.check(current.servers, plan.request, current.info or {}, server, self._names)
            plan = replace(plan, warnings=(*plan.warnings, *([doubt] if doubt else ())))
        return replace(plan, follow=_follow(options, plan.request)) if plan.changed else plan

    def _check_account(self, limits: Mapping[str, Any], plan: resource.Plan, config: Mapping[str, Any]) -> None:
        from .. import account_limits

        account_limits.check(limits, plan.request, config, self._names)
        if plan.action in (resource.ANEW, resource.COPY):
            account_limits.check_room(limits, plan.request, copied=plan.action == resource.COPY)

    def apply(self, session: sessions.Session, plan: resource.Plan) -> dict[str, Any]:
        name, info = plan.request["name"], None
        if plan.action == resource.DELETE:
            streams.delete(session, name)
            return plan.result
        if plan.wait:
            info = self._write_patiently(session, plan)
        elif plan.changed:
            self._write(session, plan)
            info = streams.info_after_write(session, name)
        if plan.changed:
            self.proven(plan, info)
            self.announce(session, plan)
        if plan.follow:
            info = origins.wait_until_followed(session, name, plan.follow)
        elif info and origins.never_heard(info):
            info = origins.wait_until_heard(session, [info])[name]
        return {self.noun: self.result(info or {})}

    def announce(self, session: sessions.Session, plan: resource.Plan) -> None:
        """Publish what others wait for, when the plan is applied."""

    def _write_patiently(self, session: sessions.Session, plan: resource.Plan) -> dict[str, Any]:
        """Write, and wait before and after until all replicas are current."""
        from ..._api import replicas

        name = plan.request["name"]
        if plan.action == resource.UPDATE:
            replicas.wait_until_at_rest(session, name, plan.wait)
        if plan.first:
            streams.update(session, plan.first)
            replicas.wait_until_current(session, name, plan.wait)
        self._write(session, plan)
        return replicas.wait_until_current(session, name, plan.wait)

    def _write(self, session: sessions.Session, plan: resource.Plan) -> None:
        if plan.action in (resource.ANEW, resource.COPY):
            from . import copying

            copying.apply(session, plan)
        else:
            try:
                jetstream.call(session, *self.call_of(plan))
            except _errors.ApiError as error:
                reason = self.explained(session, plan, error)
                if reason:
                    raise reason from error

    def call_of(self, plan: resource.Plan) -> jetstream.Call:
        """Return the call of the plan."""
        if plan.action == resource.DELETE:
            return streams.deleting(plan.request["name"])
        request = {**plan.request, "pedantic": True} if plan.pedantic else plan.request
        return streams.creating(request) if plan.action == resource.CREATE else streams.updating(request)

    def explained(
        self, session: sessions.Session, plan: resource.Plan, error: _errors.ApiError
    ) -> _errors.StreamsError | None:
        """Return the server's error, or None if the first of two requests applied the plan.

        If storage is exceeded, it names the limit's owner.
        """
        from .. import account_limits

        if plan.action == resource.CREATE and streams.created_before(session, plan.request, error):
            return None
        if error.err_code not in account_limits.EXCEEDED.values():
            return error
        there = streams.info(session, plan.request["name"]) or {"config": {}}
        return account_limits.whose(account.info(session), plan.request, there["config"], self._names, error)

    def proven(self, plan: resource.Plan, info: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the result, read back after the write. Raises StreamsError if it differs from the plan."""
        if info is None:
            raise _errors.StreamsError(
                f"The server confirmed {self.noun} {plan.name}, but then did not have it: look at its log.",
                code="not_applied",
            )
        self._prove(plan, info["config"])
        self._prove_state(plan, int(info["state"]["messages"]))
        return {self.noun: self.result(info)}

    def _desired(
        self, options: Mapping[str, Any], current: Mapping[str, Any], server: wire.Server, collective: str
    ) -> dict[str, Any]:
        name = options["name"]
        desired = resource.to_wire(self.spec, options, server)
        desired.pop("name", None)
        desired.update(self.fixed(name, options.get("collective") or (None if current else collective), server))
        exact = bool(options.get("exact") and current)
        desired = self.complete(name, marked(desired, current, options.get("owner"), exact=exact), current)
        if exact:
            desired = {**self.unmanaged(name, desired, current, server), **desired}
        return windows.settled(desired, current, server.version)

    @property
    def _names(self) -> dict[str, str]:
        """The options by the fields of the server."""
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
        known = {row.path: row for row in self.spec}
        changes = tuple(
            resource.Change(known[path].option, None, known[path].codec.to_result(value), resource.CREATE)
            for path, value in desired.items()
            if path in known
        )
        after = self.result({"config": self.expected(request, server.version)})
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
        request, before = resource.merged(config, desired), self.result(current.info or {})
        after = self.result({**(current.info or {}), "config": self.expected(request, server.version)})
        report, told = loss.consequences(changes, self.content)
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
            notes=told,
            first={} if recreated else first_step(config, request, changes, wait),
            wait=wait,
            promise=self._promise(current, request),
        )
        if current.renamed_from:
            from . import renaming

            plan = renaming.as_rename(plan, current.renamed_from, config, current.copying, options, server)
        elif recreated:
            from . import copying

            if options["recreate"] == recreate.BY_COPY:
                plan = copying.by_copy(plan, config, current.copying, options, server)
            else:
                plan, loss = copying.anew(plan, current.info or {}, self.content)
        if self.keeps_data:
            loss.check(f"{self.noun} {name}", bool(options.get("allow_data_loss")))
        return plan

    def _changes(
        self,
        name: str,
        config: Mapping[str, Any],
        desired: Mapping[str, Any],
        options: Mapping[str, Any],
        server: wire.Server,
    ) -> list[resource.Change]:
        anew = options.get("recreate", recreate.NO) != recreate.NO
        rows = (*self.spec, *self.implied)
        return resource.field_changes(rows, f"{self.noun} {name}", config, desired, server.version, recreate=anew)

    def _plan_delete(self, current: Current, name: str, options: Mapping[str, Any]) -> resource.Plan:
        if current.info is None:
            return self._plan_nothing(name)
        state = current.state
        loss = losses.Loss(int(state.get("messages", 0)), int(state.get("consumer_count", 0)), "deleting it")
        if self.keeps_data:
            loss.check(f"{self.noun} {name}", bool(options.get("allow_data_loss")))
        before = self.result(current.info)
        report, told = loss.consequences([], self.content)
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
            notes=told,
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

    def _promise(self, current: Current, request: Mapping[str, Any]) -> int | None:
        """Return the required number of messages afterwards; None if others may delete some meanwhile."""
        config, loss = current.config, current.measured.loss
        busy = config.get("retention") != "limits" or request.get("max_age") or config.get("allow_msg_ttl")
        if busy or loss.at_least or not self.keeps_data:
            return None
        return int(current.state["messages"]) - loss.messages

    def _prove(self, plan: resource.Plan, config: Mapping[str, Any]) -> None:
        """Compare the request with the stream, since an acknowledgement is no proof."""
        changed = {change.field for change in plan.changes}
        for row in (*self.spec, *self.implied):
            if row.option in changed and not row.equal(config.get(row.path), plan.request.get(row.path)):
                asked, there = row.codec.to_result(plan.request.get(row.path)), row.codec.to_result(row.read(config))
                raise _errors.StreamsError(
                    f"{row.option} of {self.noun} {plan.name}: the server accepted {_errors.in_words(asked)} but did "
                    f"not apply it, it is {_errors.in_words(there)}.",
                    code="not_applied",
                    option=row.option,
                )

    def _prove_state(self, plan: resource.Plan, there: int) -> None:
        if plan.promise is not None and there < plan.promise:
            raise _errors.StreamsError(
                f"{self.noun} {plan.name}: after the change {plan.promise} messages should have been left, but it has "
                f"{there}: unless somebody else deleted some at that moment, look at the server's log.",
                code="not_applied",
                promised=plan.promise,
                messages=there,
            )


def _follow(options: Mapping[str, Any], config: Mapping[str, Any]) -> float:
    """Return how long to wait for origins, in seconds."""
    copies = config.get("mirror") or config.get("sources")
    return patience({**options, "wait": True}) if copies and options.get("wait_for_origins") else 0


def _taken(session: sessions.Session, own: Container[str], subjects: Iterable[str]) -> dict[str, str]:
    """Return the other streams that have desired subjects. Without the permission to ask, the server has to refuse."""
    taken = {}
    for subject in subjects:
        try:
            owners = [owner for owner in streams.names(session, subject) if owner not in own]
        except _errors.PermissionMissing:
            return {}
        if owners:
            taken[subject] = owners[0]
    return taken
