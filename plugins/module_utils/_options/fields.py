# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Field: one row says all that is known of an option. Spec: the rows of a plugin, with their rules.

From a row follow the argument specification, the wire request, the result, the comparison and the refusal, so that
nothing is written twice.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from . import codecs

    When = Callable[[Any, Any, tuple[int, ...]], bool]

# JSApiLevel of nats-server: the first release of each level (server/jetstream_versioning.go).
LEVELS = {1: (2, 11, 0), 2: (2, 12, 0), 3: (2, 12, 5), 4: (2, 14, 0), 5: (2, 15, 0)}


def level_of(release: tuple[int, ...]) -> int:
    """The level that began with the release, 0 where none did."""
    return next((level for level, first in LEVELS.items() if first == release), 0)


IN_PLACE = "in place"
REFUSED = "refused"
NO_EFFECT = "without effect"
RECREATE = "recreate"


def _always(before: Any, after: Any, release: tuple[int, ...]) -> bool:
    return True


def _switched_off(before: Any, after: Any, release: tuple[int, ...]) -> bool:
    return bool(before) and not after


class Update(NamedTuple):
    """What the server does when the field of an existing object changes.

    ``effect`` is one of IN_PLACE, REFUSED and NO_EFFECT, and holds when ``when(before, after, release)``, on wire
    values and the server's release; else the change is made in place. ``err_code`` is what the server would answer,
    ``why`` the reason for a person.
    """

    effect: str = IN_PLACE
    err_code: int = 0
    why: str = ""
    when: When = _always

    def effect_of(self, before: Any, after: Any, release: tuple[int, ...]) -> str:
        return self.effect if self.when(before, after, release) else IN_PLACE


in_place = Update()


def refused(err_code: int, why: str, when: When = _always) -> Update:
    return Update(REFUSED, err_code, why, when)


def only_once_on(err_code: int, why: str) -> Update:
    return Update(REFUSED, err_code, why, _switched_off)


def without_effect(why: str, when: When = _always) -> Update:
    return Update(NO_EFFECT, 0, why, when)


class Field(NamedTuple):
    """A row: option name, codec, and the path in the request (the option's name unless ``wire`` says otherwise).

    ``since`` is the first server release that knows the field, ``default`` what the server takes where nothing is sent.
    """

    option: str
    codec: codecs.Codec
    wire: str = ""
    since: tuple[int, ...] = ()
    update: Update = in_place
    default: Any = None
    argument_extra: Mapping[str, Any] = MappingProxyType({})

    @property
    def path(self) -> str:
        return self.wire or self.option

    @property
    def level(self) -> int:
        return level_of(self.since)

    def argument(self) -> dict[str, Any]:
        """The option's entry in an argument specification."""
        return {**self.codec.spec, **self.argument_extra}

    @property
    def unset(self) -> Any:
        """The wire value that brings the field back to its default."""
        fill = self.default if self.default is not None else self.codec.zero
        return {"dict": {}, "list": []}.get(self.codec.spec["type"], fill)

    def read(self, config: Mapping[str, Any]) -> Any:
        """The wire value in a server's answer, with the server's default where it leaves the field out."""
        value = config.get(self.path)
        if value is None:
            value = self.default if self.default is not None else self.codec.zero
        return value

    def equal(self, one: Any, other: Any) -> bool:
        fill = self.default if self.default is not None else self.codec.zero
        return self.codec.equal(fill if one is None else one, fill if other is None else other)


class Spec:
    """Fields, and the rules between options in the words of Ansible's argument specification."""

    def __init__(self, fields: tuple[Field, ...] = (), rules: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.fields, self.rules = fields, rules

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def argument_spec(self) -> dict[str, dict[str, Any]]:
        return {row.option: row.argument() for row in self.fields}

    def results_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a configuration as results show them, ``name`` apart."""
        return {row.option: row.codec.to_result(row.read(config)) for row in self if row.option != "name"}

    def checked_name(self, name: str) -> str:
        """The ``name`` as it is sent. Raises OptionError where it is not allowed."""
        row = next(row for row in self if row.option == "name")
        try:
            return str(row.codec.to_wire(name))
        except ValueError as error:
            raise _errors.OptionError("name", f"{error}.") from error

    def merge(self, *others: Spec) -> Spec:
        """One Spec from several: fields in order, lists of rules joined."""
        fields, rules = self.fields, dict(self.rules)
        for other in others:
            fields += other.fields
            for name, rule in other.rules.items():
                rules[name] = [*rules.get(name, []), *rule]
        return Spec(fields, rules)


def checked(spec: Spec, get_option: Callable[[str], Any]) -> dict[str, Any]:
    """The given options in the form of the wire. Raises OptionError."""
    found = {}
    for row in spec:
        value = get_option(row.option)
        if value is not None:
            try:
                found[row.option] = row.codec.to_wire(value)
            except ValueError as error:
                raise _errors.OptionError(row.option, f"{error}.") from error
    return found
