# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consumers: read, plan, apply."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import accounts, consumers, jetstream, message_count, reading, streams
from ..._options import fields, quantities
from .. import losses, resource
from ..ownership import marked
from . import configuration, facts, rules, table
from . import position as positions
from . import proof as consumer_proof
from .configuration import Current

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._connection import sessions, wire
    from . import losses as consumer_losses

_STATES: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent", "reset", "unpinned"], "default": "present"},
    "recreate": {"type": "bool", "default": False},
    "allow_data_loss": {"type": "bool", "default": False},
    "exact": {"type": "bool", "default": False},
    resource.PEDANTIC.option: resource.PEDANTIC.argument(),
}


class ConsumerResource:
    noun = "consumer"
    spec = table.SPEC
    states = _STATES
    checks = fields.Spec()

    def read(self, session: sessions.Session, options: Mapping[str, Any]) -> Current:
        self.check(options)
        stream, name = options["stream"], options["name"]
        if self.needs_others(options):
            above = streams.info(session, stream)
            return Current.listed(name, above, consumers.list_all(session, stream) if above else ())
        above, info = consumers.info_beside_stream(session, stream, name)
        holder = consumers.info(session, stream, positions.holder_of(name)) if options.get("recreate") else None
        current = Current(info, above, (), holder, _target(session, options) if above else None)
        if above and options["state"] == "present":
            if info is None or options.get("recreate"):
                current = replace(current, account=accounts.info(session))
            if current.is_queue and current.count > bool(info):
                infos = consumers.list_all(session, stream)
                current = replace(current, others=tuple(each for each in infos if each["name"] != name))
        if self.narrowed(current, options):
            from . import losses as consumer_losses

            current = self.completed(current, options, consumer_losses.read(session, stream))
        return self.matched(session, current, options)

    def narrowed(self, current: Current, options: Mapping[str, Any]) -> bool:
        """Return True if a filter takes less than before, so that the positions of other consumers are needed."""
        if options["state"] != "present" or current.before is None or not current.by_interest:
            return False
        from . import losses as consumer_losses

        return consumer_losses.narrowed(current.before, options)

    def completed(
        self,
        current: Current,
        options: Mapping[str, Any],
        waiting: consumer_losses.Waiting | None,
        coming: Iterable[dict[str, Any]] = (),
    ) -> Current:
        """Return the state with the positions of others. ``coming`` are infos of consumers that will exist by then."""
        if waiting is None:
            return current
        apart = (options["name"], positions.holder_of(options["name"]))
        others = tuple(info for info in waiting[0] if info["name"] not in apart)
        return replace(current, waiting=((*others, *coming), waiting[1]))

    def matched(self, session: sessions.Session, current: Current, options: Mapping[str, Any]) -> Current:
        """Return the state with the filters that match stored messages, if no subject of the stream matches."""
        given = options.get("filter_subject") or options.get("filter_subjects")
        filters = rules.without_match(options, current.stream_config) if given and current.stream else ()
        if not filters or options["state"] != "present":
            return current
        stored = frozenset(each for each in filters if message_count.holds(session, options["stream"], each))
        return replace(current, stored=stored)

    def needs_others(self, options: Mapping[str, Any]) -> bool:
        """Return True if the plan may depend on the stream's other consumers."""
        return bool(options["state"] == "absent")

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise OptionError for options that exclude each other, without the server."""
        checked = fields.checked(table.SPEC, options.get)
        given = {row.path: checked[row.option] for row in table.SPEC if row.option in checked}
        rules.check_given(given)

    def check_declared(self, options: Mapping[str, Any]) -> None:
        """Raise the same for an item of a document, whose state must be present or absent."""
        if options["state"] not in ("present", "absent"):
            raise _errors.OptionError(
                "state", f"{options['state']} is an action, not a state: use choria_consumer for it."
            )
        self.check(options)

    def plan(self, current: Current, options: Mapping[str, Any], server: wire.Server) -> resource.Plan:
        if options["state"] == "absent":
            return self._plan_delete(current, options)
        if current.stream is None:
            raise streams.missing(options["stream"])
        if options["state"] != "present":
            return self._plan_act(current, options, server)
        desired = self._desired(current, options, server)
        if current.info is None:
            plan = self._plan_create(current, desired, options)
        else:
            plan = self._plan_update(current, desired, options, server)
        return resource.pedantically(plan, options, server)

    def calls_of(self, plan: resource.Plan) -> list[jetstream.Call[Any]]:
        """Return the calls of the plan, in their order."""
        if "calls" in plan.request:
            return list(plan.request["calls"])
        stream, config = plan.request["stream_name"], plan.request["config"]
        if plan.action == resource.DELETE:
            return [consumers.deleting(stream, plan.name)]
        if plan.action == resource.CREATE:
            return [consumers.creating(stream, config, pedantic=plan.pedantic)]
        changed = {change.field for change in plan.changes}
        calls: list[jetstream.Call[Any]] = []
        if changed - {"paused_until"}:
            calls.append(consumers.updating(stream, config, pedantic=plan.pedantic))
        if "paused_until" in changed:
            calls.append(consumers.pausing(stream, plan.name, config.get("pause_until")))
        return calls

    def apply(self, session: sessions.Session, plan: resource.Plan) -> dict[str, Any]:
        if plan.action == resource.DELETE:
            consumers.delete(session, plan.request["stream_name"], plan.name)
            return plan.result
        if "created" in plan.request:
            consumer_proof.check_same_stream(session, plan)
        for each in self.calls_of(plan):
            jetstream.call(session, *each)
        [proof] = consumer_proof.read_back(session, [(plan, plan.request["stream_name"], plan.name)])
        if isinstance(proof, _errors.StreamsError):
            raise proof
        return {self.noun: proof}

    def _desired(self, current: Current, options: Mapping[str, Any], server: wire.Server) -> dict[str, Any]:
        """Return the given fields with those that they imply. Raises errors for wrong combinations."""
        desired = resource.to_wire(table.SPEC, options, server)
        del desired["stream"], desired["durable_name"]
        for (path, value), since in table.VALUES_SINCE.items():
            if desired.get(path) == value:
                resource.require_version(
                    table.ROWS[path]._replace(option=f"{path} {value}", since=since), value, server
                )
        given, present = set(desired), facts.declared(current.info) if current.info else {}
        if desired.get("pause_until") and not facts.is_future(desired["pause_until"], current.info or current.stream):
            desired["pause_until"] = ""
        exact = bool(options.get("exact") and present)
        desired = marked(desired, present, options.get("owner"), exact=exact)
        if exact:
            desired = {**configuration.unmanaged(desired, current.stream_config, server), **desired}
        desired = configuration.settled(configuration.completed(desired, present), present, current)
        whole = facts.filled({**present, **desired}, current.stream_config, current.ackable)
        rules.check(whole, present, given)
        new = {path for path in given if not (present and table.same(path, present, desired))}
        rules.check_stream(whole, new, current.stream_config, current.ackable)
        if not present or new & {"filter_subject", "filter_subjects"}:
            rules.check_filters(options["name"], whole, current.stream_config, current.stored)
            rules.check_queue(options["name"], whole, current.stream_config, current.others, new=not present)
        return desired

    def _plan_create(self, current: Current, desired: dict[str, Any], options: Mapping[str, Any]) -> resource.Plan:
        config = configuration.sent({"durable_name": options["name"], **desired})
        _check_number(current, options)
        request: dict[str, Any] = {"stream_name": options["stream"], "config": config}
        if current.holder:
            # An earlier try was interrupted: it begins where that was
            config = positions.resumed(config, current.holder)
            calls = positions.replacing(current.stream_config, None, current.holder, config)
            request.update(config=config, calls=calls)
        changes = [
            resource.Change(table.ROWS[path].option, None, table.ROWS[path].codec.to_result(value), resource.CREATE)
            for path, value in desired.items()
            if path in table.ROWS
        ]
        return self._writing(current, options, resource.CREATE, request, changes)

    def _plan_update(
        self, current: Current, desired: dict[str, Any], options: Mapping[str, Any], server: wire.Server
    ) -> resource.Plan:
        info, what = current.info or {}, f"consumer {options['name']}"
        recreate = bool(options.get("recreate"))
        changes = resource.field_changes(
            table.ROWS.values(), what, facts.declared(info), desired, server.version, recreate=recreate
        )
        if any(change.effect == fields.RECREATE for change in changes) or (current.holder and not changes):
            return self._plan_recreation(current, desired, options, changes)
        if not changes:
            before = facts.result_of(info)
            return resource.Plan(self.noun, options["name"], resource.NONE, {}, before, before, (), _consequences())
        _check_bound(info, changes, what)
        kept = {path: value for path, value in desired.items() if path not in table.START}
        config = configuration.sent(resource.merged(facts.current(info), kept, facts.START_MARK))
        request = {"stream_name": options["stream"], "config": config}
        return self._writing(current, options, resource.UPDATE, request, changes)

    def _plan_recreation(
        self, current: Current, desired: dict[str, Any], options: Mapping[str, Any], changes: list[resource.Change]
    ) -> resource.Plan:
        """Return the plan to create the consumer again, at its position or at a new start.

        It also resumes an interrupted one.
        """
        info, stream, name = current.info or {}, current.stream_config, options["name"]
        if not current.is_queue and not current.holder:
            _check_number(current, options)  # what holds its position is one more
        config = configuration.sent(resource.merged(facts.declared(info), desired, facts.START_MARK))
        rules.check_queue(name, config, stream, current.others, new=True)
        moves = positions.moved_by(changes, info, config)
        positions.check_skipped(f"consumer {name}", moves["messages_skipped"], bool(options["allow_data_loss"]))
        if not {change.field for change in changes} & set(table.START):
            config = positions.continued(config, info, stream)
        calls = positions.replacing(stream, info, current.holder, config)
        if not changes:
            calls, moves = calls[-1:], {}
        request = {"stream_name": options["stream"], "config": config, "calls": calls, "created": current.created}
        shown = changes or [resource.Change("recreate", "interrupted", "finished", fields.RECREATE)]
        return self._writing(current, options, resource.UPDATE, request, shown, **moves)

    def _writing(
        self,
        current: Current,
        options: Mapping[str, Any],
        action: str,
        request: dict[str, Any],
        changes: list[resource.Change],
        **moves: int | None,
    ) -> resource.Plan:
        """Return the plan to write the configuration in the request."""
        config = request["config"]
        lost = _lost_by_filter(current, config, options)
        return resource.Plan(
            self.noun,
            options["name"],
            action,
            request,
            facts.result_of(current.info) if current.info else None,
            self._expected(current, options, config),
            tuple(changes),
            _consequences(**moves, messages_lost=lost),
            warnings=_warnings(current, config, {change.field for change in changes}),
        )

    def _plan_act(self, current: Current, options: Mapping[str, Any], server: wire.Server) -> resource.Plan:
        """Return the plan of a reset, or of unpinning, which change no option."""
        info, name = current.info, options["name"]
        if info is None:
            raise positions.missing_consumer(options["stream"], name)
        before = facts.result_of(info)
        if options["state"] == "reset":
            positions.check_alone(options, ("opt_start_seq", "opt_start_time"))
            calls, changes, moves = positions.resetting(info, current.target, server)
        else:
            positions.check_alone(options, ("priority_groups",))
            calls, changes = positions.unpinning(info, options["priority_groups"])
            moves = {}
        request = {"stream_name": options["stream"], "config": info["config"], "calls": calls}
        request["created"] = current.created
        action = resource.UPDATE if calls else resource.NONE
        return resource.Plan(self.noun, name, action, request, before, before, tuple(changes), _consequences(**moves))

    def _plan_delete(self, current: Current, options: Mapping[str, Any]) -> resource.Plan:
        info = current.info
        if info is None:
            return resource.Plan(self.noun, options["name"], resource.NONE, consequences=_consequences())
        from . import losses as consumer_losses

        lost = consumer_losses.lost_with(current.stream_config, info, current.others)
        loss = losses.Loss(lost or 0, 1, "deleting it", at_least=lost is None)
        loss.check(f"consumer {options['name']}", bool(options["allow_data_loss"]))
        before, config = facts.result_of(info), facts.declared(info)
        shown = {
            row.option: before[row.option] for row in table.ROWS.values() if not row.equal(config.get(row.path), None)
        }
        return resource.Plan(
            self.noun,
            options["name"],
            resource.DELETE,
            {"stream_name": options["stream"], "config": info["config"]},
            before,
            None,
            tuple(resource.Change(option, value, None, resource.DELETE) for option, value in shown.items()),
            _consequences(messages_lost=lost, consumers_lost=1, messages_skipped=facts.unprocessed(info)),
        )

    def _expected(self, current: Current, options: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the expected result after the write."""
        info = {"name": options["name"], "stream_name": options["stream"], **(current.info or {})}
        whole = facts.filled(config, current.stream_config, current.ackable)
        return facts.result_of({**info, "config": whole, "paused": "pause_until" in config})


def _check_number(current: Current, options: Mapping[str, Any]) -> None:
    """Raise Refused if the stream or the account allows no more consumers."""
    from ..account_limits import max_consumers

    most = max_consumers(current.account or {}, current.stream_config)
    if 0 < most <= current.count:
        raise _errors.Refused(
            f"name: stream {options['stream']} may have {most} consumer{'' if most == 1 else 's'}, by its own limit or "
            f"the account's, and has {current.count}: delete one, or raise max_consumers (JetStream error 10026).",
            code="account_limit",
            option="name",
            err_code=10026,
        )


def _target(session: sessions.Session, options: Mapping[str, Any]) -> int | None:
    """Return the sequence to reset to, None for the last acknowledgement."""
    if options["state"] != "reset":
        return None
    if options["opt_start_time"] is None:
        sequence: int | None = options["opt_start_seq"]
        return sequence
    stream, moment = options["stream"], quantities.parse_timestamp(options["opt_start_time"])
    first = reading.first_since(session, stream, reading.ALL, moment)
    info = streams.info(session, stream)
    return first or (info["state"]["last_seq"] if info else 0) + 1


def _warnings(current: Current, config: Mapping[str, Any], changed: set[str]) -> tuple[str, ...]:
    if not changed & {"filter_subject", "filter_subjects"}:
        return ()
    stream = current.stream_config
    return tuple(
        f"consumer {config['durable_name']}: the filter '{subject}' matches none of the subjects of stream "
        f"{stream['name']}, which are {', '.join(stream.get('subjects') or ['none'])}: it gets no new messages."
        for subject in rules.without_match(config, stream)
    )


def _check_bound(info: Mapping[str, Any], changes: Iterable[resource.Change], what: str) -> None:
    """Raise Refused if deliver_subject would change under a subscriber."""
    if info.get("push_bound") and any(change.field == "deliver_subject" for change in changes):
        raise _errors.Refused(
            f"deliver_subject of {what} can't be changed while somebody listens on {info['config']['deliver_subject']} "
            "(JetStream error 10013): end that first.",
            code="update_refused",
            option="deliver_subject",
            err_code=10013,
        )


def _lost_by_filter(current: Current, config: Mapping[str, Any], options: Mapping[str, Any]) -> int | None:
    """Return how many messages a narrower filter deletes, None if unknown. Raises Refused if that is not allowed."""
    if current.before is None or not current.by_interest:
        return 0
    from . import losses as consumer_losses

    loss = consumer_losses.lost(current.before, config, current.waiting)
    loss.check(f"consumer {options['name']}", bool(options["allow_data_loss"]))
    return None if loss.at_least else loss.messages


def _consequences(**counts: int | None) -> dict[str, Any]:
    nothing = {"messages_lost": 0, "consumers_lost": 0, "messages_redelivered": 0, "messages_skipped": 0}
    return {**nothing, **counts}


CONSUMER = ConsumerResource()
