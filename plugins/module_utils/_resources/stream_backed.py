# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""StreamBacked: a resource that is a stream on the server. Streams, buckets and governors differ in their tables."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .._api import streams
from .._api.jetstream import call
from .._errors import OptionError, PermissionMissing, Refused, StreamsError
from .._options.codecs import NANOSECOND
from .._options.connection import DEFAULT_COLLECTIVE
from .._options.fields import Field, Spec
from .losses import Loss, losses
from .ownership import marked
from .resource import CREATE, DELETE, NONE, UPDATE, Change, Plan, field_changes, to_wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._api.jetstream import Call
    from .._connection.session import Server, Session

DEFAULT_WINDOW = 120 * NANOSECOND


@dataclass(frozen=True)
class Current:
    """What was read: the stream's info, the messages on each of its subjects where the plan needs to count them, and
    which of the wanted subjects other streams have. ``collective`` is where one is made that is told none.
    """

    info: dict[str, Any] | None = None
    subject_counts: Mapping[str, int] | None = None
    taken: Mapping[str, str] | None = None
    collective: str = DEFAULT_COLLECTIVE

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.info["config"]) if self.info else {}

    @property
    def state(self) -> dict[str, Any]:
        return dict(self.info["state"]) if self.info else {}


@dataclass(frozen=True)
class Needs:
    """What a plan has to know beside the stream's info: whether other streams have these new ``subjects``, and how many
    messages each subject of the stream has.
    """

    subjects: Sequence[str] = ()
    subject_counts: bool = False


class StreamBacked:
    """Read, plan and apply for all kinds. A kind gives the noun, the table, and what is fixed or follows from options.

    ``implied`` are the rows of fields that are no options of the kind, but that ``fixed`` and ``complete`` set.
    ``keeps_data`` tells that what is lost counts as data, so that losing it needs ``allow_data_loss``.
    """

    noun = "stream"
    prefix = ""
    spec = Spec()
    implied: tuple[Field, ...] = ()
    states: Mapping[str, Any] = MappingProxyType({})
    keeps_data = True

    # What kinds change

    def fixed(self, name: str, collective: str | None) -> dict[str, Any]:
        """The configuration that each such stream has whatever the options say, and that drift is repaired to."""
        return {}

    def complete(self, name: str, desired: dict[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
        """Desired configuration with what follows from it."""
        return desired

    def expected(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration with what the server fills in."""
        return dict(config)

    def result(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """The resource as results show it."""
        return {
            "name": info["config"]["name"].removeprefix(self.prefix),
            **self.options_of(info["config"]),
            **facts(info),
        }

    def options_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {row.option: row.codec.to_result(row.read(config)) for row in self.spec if row.option != "name"}

    # What all kinds share

    def checked_name(self, name: str) -> str:
        """The name as it is, or OptionError where the kind does not allow it."""
        row = next(row for row in self.spec if row.option == "name")
        try:
            return str(row.codec.to_wire(name))
        except ValueError as error:
            raise OptionError("name", f"{error}.") from error

    def stream_of(self, options: Mapping[str, Any]) -> str:
        """The name of the stream. Raises OptionError where the kind does not allow the name."""
        return f"{self.prefix}{self.checked_name(options['name'])}"

    def read(self, session: Session, options: Mapping[str, Any]) -> Current:
        name, collective = self.stream_of(options), session.settings.collective
        info = streams.info(session, name)
        needs = self.needs(info, options, session.server, collective)
        counts = streams.subject_counts(session, name) if needs.subject_counts else None
        return Current(info, counts, _taken(session, name, needs.subjects), collective)

    def needs(self, info: dict[str, Any] | None, options: Mapping[str, Any], server: Server, collective: str) -> Needs:
        """What has to be read beside the stream's info before there can be a plan."""
        if options["state"] == "absent":
            return Needs()
        name, present = self.stream_of(options), info["config"] if info else {}
        desired = self._desired(options, present, server, collective)
        expected = self.expected({"name": name, **present, **desired}).get("subjects") or []
        return Needs(sorted(set(expected) - set(present.get("subjects") or [])), _trims_subjects(info, desired))

    def plan(self, current: Current, options: Mapping[str, Any], server: Server) -> Plan:
        name = self.checked_name(options["name"])
        if options["state"] == "absent":
            return self._plan_delete(current, name, options)
        desired = self._desired(options, current.config, server, current.collective)
        for subject, owner in (current.taken or {}).items():
            raise self.overlap(subject, owner)
        _check_replicas(desired, server)
        if current.info is None:
            return self._plan_create(name, desired)
        return self._plan_update(current, name, desired, options, server)

    def apply(self, session: Session, plan: Plan) -> dict[str, Any]:
        if plan.action == DELETE:
            streams.delete(session, plan.request["name"])
            return plan.result
        call(session, *self.call_of(plan))
        return self.proven(plan, streams.info(session, plan.request["name"]))

    def call_of(self, plan: Plan) -> Call:
        """The call that does what is planned."""
        if plan.action == DELETE:
            return streams.deleting(plan.request["name"])
        return streams.creating(plan.request) if plan.action == CREATE else streams.updating(plan.request)

    def proven(self, plan: Plan, info: Mapping[str, Any] | None) -> dict[str, Any]:
        """The result, from what is there after the write. Raises StreamsError where that is not what was planned."""
        if info is None:
            raise StreamsError(
                f"The server confirmed {self.noun} {plan.name}, but then did not have it: look at its log.",
                code="not_applied",
            )
        self._prove(plan, info["config"])
        return {self.noun: self.result(info)}

    def _desired(
        self, options: Mapping[str, Any], current: Mapping[str, Any], server: Server, collective: str
    ) -> dict[str, Any]:
        name = options["name"]
        desired = to_wire(self.spec, options, server)
        desired.pop("name", None)
        desired.update(self.fixed(name, options.get("collective") or (None if current else collective)))
        return self.complete(name, marked(desired, current, options.get("owner")), current)

    def overlap(self, subject: str, owner: str) -> Refused:
        choosable = any(row.option == "subjects" for row in self.spec)
        option = "subjects" if choosable else "name"
        remedy = "subjects that no other stream has" if choosable else "another name, or change that stream"
        return Refused(
            f"{option}: '{subject}' overlaps with the subjects of stream {owner}: a message can be in one stream only, "
            f"so choose {remedy}.",
            code="subjects_overlap",
            option=option,
        )

    def _plan_create(self, name: str, desired: dict[str, Any]) -> Plan:
        if desired.get("sealed"):
            raise Refused(
                f"sealed: a {self.noun} can't be created sealed (JetStream error 10052): fill it, then seal it.",
                code="option",
                option="sealed",
            )
        request = _merged({"name": f"{self.prefix}{name}"}, desired)
        known = {row.path: row for row in self.spec}
        changes = tuple(
            Change(known[path].option, None, known[path].codec.to_result(value), CREATE)
            for path, value in desired.items()
            if path in known
        )
        after = self.result({"config": self.expected(request)})
        return Plan(self.noun, name, CREATE, request, None, after, changes, Loss().report)

    def _plan_update(
        self, current: Current, name: str, desired: dict[str, Any], options: Mapping[str, Any], server: Server
    ) -> Plan:
        config = current.config
        before = self.result(current.info or {})
        changes = field_changes((*self.spec, *self.implied), f"{self.noun} {name}", config, desired, server.version)
        if not changes:
            return Plan(self.noun, name, NONE, {}, before, before, (), Loss().report)
        _check_combination(changes)
        names = {row.path: row.option for row in (*self.implied, *self.spec)}
        loss = losses(current.info or {}, desired, current.subject_counts, names)
        if self.keeps_data:
            loss.check(f"{self.noun} {name}", bool(options.get("allow_data_loss")))
        request = _merged(config, desired)
        after = self.result({**(current.info or {}), "config": self.expected(request)})
        return Plan(self.noun, name, UPDATE, request, before, after, tuple(changes), loss.report)

    def _plan_delete(self, current: Current, name: str, options: Mapping[str, Any]) -> Plan:
        if current.info is None:
            return Plan(self.noun, name, NONE, consequences=Loss().report)
        state = current.state
        loss = Loss(int(state.get("messages", 0)), int(state.get("consumer_count", 0)), "deleting it")
        if self.keeps_data:
            loss.check(f"{self.noun} {name}", bool(options.get("allow_data_loss")))
        before = self.result(current.info)
        shown = self.options_of(current.config)
        changes = tuple(
            Change(option, value, None, DELETE) for option, value in shown.items() if value not in (None, "", [], {})
        )
        return Plan(self.noun, name, DELETE, {"name": current.config["name"]}, before, None, changes, loss.report)

    def _prove(self, plan: Plan, config: Mapping[str, Any]) -> None:
        """A reply that says ok is no proof: compares what was asked for with what is there now."""
        changed = {change.field for change in plan.changes}
        for row in (*self.spec, *self.implied):
            if row.option in changed and not row.equal(config.get(row.path), plan.request.get(row.path)):
                asked, there = row.codec.to_result(plan.request.get(row.path)), row.codec.to_result(row.read(config))
                raise StreamsError(
                    f"{row.option} of {self.noun} {plan.name}: the server accepted {asked!r} but did not apply it, "
                    f"it is {there!r}.",
                    code="not_applied",
                    option=row.option,
                )


def _trims_subjects(info: Mapping[str, Any] | None, desired: Mapping[str, Any]) -> bool:
    """Whether a lower limit per subject may trim some, so that the messages of each have to be counted."""
    limit = int(desired.get("max_msgs_per_subject") or 0)
    if info is None or limit <= 0 or int(info["state"]["messages"]) == int(info["state"].get("num_subjects", 0)):
        return False
    present = int(info["config"].get("max_msgs_per_subject") or 0)
    return not 0 < present <= limit


def facts(info: Mapping[str, Any]) -> dict[str, Any]:
    """What the server tells of a stream beside its configuration. Times are RFC 3339 UTC, None without messages."""
    state = info.get("state") or {}
    cluster = info.get("cluster") or {}
    metadata = info["config"].get("metadata") or {}
    return {
        "created": info.get("created"),
        "state": {
            "messages": state.get("messages", 0),
            "bytes": state.get("bytes", 0),
            "first_seq": state.get("first_seq", 0),
            "first_time": _moment(state.get("first_ts")),
            "last_seq": state.get("last_seq", 0),
            "last_time": _moment(state.get("last_ts")),
            "subjects": state.get("num_subjects", 0),
            "deleted": state.get("num_deleted", 0),
            "consumers": state.get("consumer_count", 0),
        },
        "cluster": {
            "name": cluster.get("name"),
            "leader": cluster.get("leader"),
            "replicas": [
                {
                    "name": peer.get("name"),
                    "current": bool(peer.get("current")),
                    "lag": peer.get("lag", 0),
                    "offline": bool(peer.get("offline")),
                }
                for peer in cluster.get("replicas") or []
            ],
        },
        "server": {
            "version": metadata.get("_nats.ver"),
            "level": _number(metadata.get("_nats.level")),
            "required_level": _number(metadata.get("_nats.req.level")),
        },
    }


def window_for(max_age: int | None) -> int:
    """The duplicate window, in nanoseconds, that Choria and nats.go give a stream of this maximal age."""
    return min(DEFAULT_WINDOW, max_age) if max_age else DEFAULT_WINDOW


def shrink_window(desired: dict[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """A duplicate window longer than max_age is refused: one that nobody asked for follows max_age down."""
    age = int(desired.get("max_age") or 0)
    if "duplicate_window" not in desired and age and int(current.get("duplicate_window") or 0) > age:
        return {**desired, "duplicate_window": age}
    return desired


def _taken(session: Session, name: str, subjects: Sequence[str]) -> dict[str, str]:
    """Which stream already has a wanted subject. Without the permission to ask, the server itself has to refuse."""
    taken = {}
    for subject in subjects:
        try:
            owners = [owner for owner in streams.names(session, subject) if owner != name]
        except PermissionMissing:
            return {}
        if owners:
            taken[subject] = owners[0]
    return taken


def _check_replicas(desired: Mapping[str, Any], server: Server) -> None:
    # nats-server 2.14 accepts such an update on a lone server, echoes it, and does nothing.
    if int(desired.get("num_replicas") or 1) > 1 and not server.clustered:
        raise Refused(
            f"replicas: {desired['num_replicas']} copies are not possible, {server.name} is a single server and no "
            "cluster (JetStream error 10074): give replicas: 1, or use a cluster.",
            code="option",
            option="replicas",
        )


def _check_combination(changes: list[Change]) -> None:
    together = {change.field for change in changes} & {"placement", "replicas", "retention"}
    if "placement" in together and len(together) > 1:
        other = sorted(together - {"placement"})[0]
        raise Refused(
            f"placement can't change together with {other} (JetStream error 10123): change one, wait until all "
            "replicas are current, then the other.",
            code="update_refused",
            option="placement",
            err_code=10123,
        )


def _merged(config: Mapping[str, Any], desired: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration to send: what is there, with what is wanted. Metadata that the server added stays.

    An empty object is left out: servers read it as one with empty values, and would republish to every subject.
    """
    merged = {**config, **desired}
    if "metadata" in desired:
        own = {key: text for key, text in (config.get("metadata") or {}).items() if key.startswith("_nats.")}
        merged["metadata"] = {**own, **desired["metadata"]}
    return {path: value for path, value in merged.items() if value != {}}


def _moment(text: str | None) -> str | None:
    return None if not text or text.startswith("0001-") else text


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
