# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Resource has a desired state. Its Plan holds the changes: all that is shown or sent comes from the plan.

``read`` and ``apply`` send requests to the server, ``plan`` is pure. Check mode only leaves out ``apply``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .. import _errors
from .._options import codecs, fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .._connection import sessions, wire

NONE, CREATE, UPDATE, DELETE = "none", "create", "update", "delete"
# Actions for what can't be updated: delete and create again, without the messages or with them
RECREATE, COPY = "recreate", "copy"
# It is sent beside the configuration, and is not a part of it
PEDANTIC = fields.Field("pedantic", codecs.boolean(), since=(2, 11, 0), argument_extra={"default": False})


class Change(NamedTuple):
    """One field that changes; ``before`` and ``after`` are as in results, ``effect`` as in _options/fields.py.

    ``err_code`` is JetStream's number if the server refuses. ``for_good`` is True if the change can't be undone.
    """

    field: str
    before: Any
    after: Any
    effect: str
    err_code: int = 0
    for_good: bool = False

    @property
    def shown(self) -> dict[str, Any]:
        """The change for results."""
        shown = {"field": self.field, "before": self.before, "after": self.after, "effect": self.effect}
        return {**shown, "err_code": self.err_code} if self.err_code else shown


# Each module waits for the code that dataclasses generate
@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """The plan of a module. ``request`` is the request to send, ``after`` the expected resource.

    ``consequences`` counts losses, and ``notes`` describes them in a diff. ``first`` is sent before ``request`` if
    servers refuse both together. Three durations are in seconds: ``wait`` for current replicas (0 for not at all),
    ``patience`` with a copy without progress, and ``follow`` for the messages of origins. ``promise`` is the number of
    messages that must remain. ``pedantic`` forbids the server to fill in values. ``renamed_from`` is the old name of a
    stream.
    """

    noun: str
    name: str
    action: str
    request: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    changes: tuple[Change, ...] = ()
    consequences: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    first: dict[str, Any] = field(default_factory=dict)
    wait: float = 0
    patience: float = 0
    promise: int | None = None
    pedantic: bool = False
    follow: float = 0
    renamed_from: str = ""

    @property
    def changed(self) -> bool:
        """True if there is something to write."""
        return self.action != NONE

    @property
    def change_list(self) -> list[dict[str, Any]]:
        """The changes for results."""
        return [change.shown for change in self.changes]

    @property
    def diff(self) -> dict[str, Any]:
        """The fields that change, with their names, for ``--diff``."""
        title = f"{self.noun} {self.name}"
        before = {change.field: change.before for change in self.changes}
        after = {change.field: change.after for change in self.changes}
        if self.action == CREATE:
            before = {}
        if self.action == DELETE:
            after = {}
        diff = {"before_header": title, "after_header": title, "before": before, "after": after}
        if self.notes:
            diff["prepared"] = "".join(f"{title}: {note}\n" for note in self.notes)
        return diff

    @property
    def result(self) -> dict[str, Any]:
        """The resource under its noun, or None if it does not exist."""
        return {self.noun: self.after}


class Resource(Protocol):
    """The methods of a kind that ``run_resource`` calls.

    ``states`` are arguments of the module beside the spec's, and ``checks`` has codecs for some of them.
    """

    @property
    def spec(self) -> fields.Spec:
        """The options of the resource."""

    @property
    def states(self) -> Mapping[str, Any]:
        """Further arguments of the module, such as ``state``."""

    @property
    def checks(self) -> fields.Spec:
        """Codecs of some of these arguments."""

    def read(self, session: sessions.Session, options: Mapping[str, Any]) -> Any:
        """Return all of the server's state that a plan needs."""

    def plan(self, current: Any, options: Mapping[str, Any], server: wire.Server) -> Plan:
        """Return the plan, without talking to the server. Raises OptionError or Refused."""

    def apply(self, session: sessions.Session, plan: Plan) -> dict[str, Any]:
        """Write the plan, and return the result that was read back. Raises StreamsError."""


def to_wire(spec: fields.Spec, options: Mapping[str, Any], server: wire.Server) -> dict[str, Any]:
    """Return the given options as wire values. Raises OptionError, or Refused if the server is too old."""
    desired: dict[str, Any] = {}
    for row in spec:
        if options.get(row.option) is None:
            continue
        value = _errors.checked(row.option, row.codec.to_wire, options[row.option])
        if row.equal(value, None) and row.since > server.version:
            continue  # the default is what an old server does without the field
        require_version(row, value, server)
        desired[row.path] = value
    return desired


def invalid(spec: fields.Spec, options: Mapping[str, Any]) -> Iterator[_errors.OptionError]:
    """Yield the faults of option values that can be found without the server."""
    for row in spec:
        if options.get(row.option) is not None:
            try:
                row.codec.to_wire(options[row.option])
            except ValueError as error:
                yield _errors.OptionError(row.option, f"{error}.")


def require_version(row: fields.Field, value: Any, server: wire.Server, within: str = "") -> None:
    """Raise Refused if the server is too old for the field or for one inside it. It would ignore or refuse it."""
    option = f"{within}{row.option}"
    if server.version < row.since:
        needed = ".".join(str(part) for part in row.since)
        raise _errors.Refused(
            f"{option} needs nats-server {needed} (API level {row.level}), and {server.runs}: "
            "leave the option out, or upgrade the server.",
            code="server_too_old",
            option=option,
        )
    for inner in row.codec.inner:
        for entry in value if isinstance(value, list) else [value]:
            if inner.path in entry:
                require_version(inner, entry[inner.path], server, f"{option}.")


def pedantically(plan: Plan, options: Mapping[str, Any], server: wire.Server) -> Plan:
    """Return the plan. If requested, the server refuses writes with values that it would fill in or correct."""
    if not options.get("pedantic") or options["state"] == "absent":
        return plan
    require_version(PEDANTIC, True, server)
    return replace(plan, pedantic=True)


def field_changes(
    rows: Iterable[fields.Field],
    name: str,
    current: Mapping[str, Any],
    desired: Mapping[str, Any],
    release: tuple[int, ...],
    *,
    recreate: bool = False,
) -> list[Change]:
    """Return the fields that differ, and the effect of each.

    Fields that the server can't change have the effect RECREATE if the user allows it. Otherwise Refused is raised,
    with all differences.
    """
    changes, refusals = [], []
    for row in rows:
        if row.path not in desired or row.equal(current.get(row.path), desired[row.path]):
            continue
        old, new = row.read(current), desired[row.path]
        effect = row.update.effect_of(old, new, release)
        if recreate and effect in (fields.REFUSED, fields.NO_EFFECT):
            effect = fields.RECREATE
        before, after = row.codec.to_result(old), row.codec.to_result(new)
        err_code = row.update.err_code if effect == fields.REFUSED else 0
        for_good = effect == fields.IN_PLACE and row.update.effect_of(new, old, release) == fields.REFUSED
        changes.append(Change(row.option, before, after, effect, err_code, for_good))
        if effect in (fields.REFUSED, fields.NO_EFFECT):
            refusals.append((changes[-1], row.update.why))
    if refusals:
        raise _refusal(name, refusals, changes)
    return changes


def _refusal(name: str, refusals: list[tuple[Change, str]], changes: list[Change]) -> _errors.Refused:
    """Return an error with every field that can't change, and its remedies. The first is the option of the failure."""
    sentences = []
    for change, why in refusals:
        reason = f"the server refuses that (JetStream error {change.err_code})"
        sentences.append(
            f"{change.field} of {name} can't be changed from {_errors.in_words(change.before)} to "
            f"{_errors.in_words(change.after)}: "
            f"{reason if change.effect == fields.REFUSED else 'that has no effect'}. {why}"
        )
    first = refusals[0][0]
    return _errors.Refused(
        " ".join(sentences),
        code="update_refused",
        option=first.field,
        err_code=first.err_code,
        changes=[change.shown for change in changes],
    )


def merged(config: Mapping[str, Any], desired: Mapping[str, Any], mark: str = "") -> dict[str, Any]:
    """Return the configuration to send: the present one with the desired fields.

    Metadata of the server and with the key ``mark`` stays. An empty object is left out. Servers read it as one with
    empty values, and would republish to every subject.
    """
    whole = {**config, **desired}
    if "metadata" in desired:
        labels = config.get("metadata") or {}
        own = {key: text for key, text in labels.items() if key.startswith("_nats.") or key == mark}
        whole["metadata"] = {**own, **desired["metadata"]}
    return {path: value for path, value in whole.items() if value != {}}


def origin_warnings(result: Mapping[str, Any]) -> list[str]:
    """Return warnings about the origins in the result of a resource."""
    return [
        f"{resource['name']} has heard nothing of its origin {origin['name']} "
        f"({origin['error'] or 'nobody answers'}): check the name, and external where it is elsewhere."
        for resource in result.values()
        if isinstance(resource, dict)
        for origin in resource.get("origins") or []
        if origin["active"] is None
    ]
