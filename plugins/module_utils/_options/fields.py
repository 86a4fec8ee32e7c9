# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Field: a row that describes one option. Spec: the rows of a plugin, and the rules between them.

A row defines the argument specification, the request, the result, the comparison and the refusal of an option.
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
    """Return the API level that a server release introduced, 0 if it introduced none."""
    return next((level for level, first in LEVELS.items() if first == release), 0)


IN_PLACE = "in place"
REFUSED = "refused"
NO_EFFECT = "without effect"
RECREATE = "recreate"


def _always(before: Any, after: Any, release: tuple[int, ...]) -> bool:
    return True


class Update(NamedTuple):
    """The server's reaction when the field of an existing object changes.

    ``effect`` is one of IN_PLACE, REFUSED and NO_EFFECT. It applies if ``when(before, after, release)`` is true, with
    wire values and the server's release. Otherwise the change is made in place. ``err_code`` is the server's error for
    a refused change, ``why`` the reason in words.
    """

    effect: str = IN_PLACE
    err_code: int = 0
    why: str = ""
    when: When = _always

    def effect_of(self, before: Any, after: Any, release: tuple[int, ...]) -> str:
        """Return IN_PLACE, REFUSED or NO_EFFECT for a change between two wire values."""
        return self.effect if self.when(before, after, release) else IN_PLACE


in_place = Update()


def refused(err_code: int, why: str, when: When = _always) -> Update:
    """Return the rule of a field that servers refuse to change."""
    return Update(REFUSED, err_code, why, when)


def only_once_on(err_code: int, why: str) -> Update:
    """Return the rule of a field that can be turned on but not off."""
    return Update(REFUSED, err_code, why, lambda before, after, release: bool(before) and not after)


def without_effect(why: str, when: When = _always) -> Update:
    """Return the rule of a field whose changes servers accept and ignore."""
    return Update(NO_EFFECT, 0, why, when)


class Field(NamedTuple):
    """A row: option name, codec, and the key in the request (the option's name unless ``wire`` differs).

    ``since`` is the first server release that knows the field, ``default`` the server's default.
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
        """The key of the field in requests and answers."""
        return self.wire or self.option

    @property
    def level(self) -> int:
        """The API level that the field needs."""
        return level_of(self.since)

    def argument(self) -> dict[str, Any]:
        """Return the option's entry in an argument specification."""
        return {**self.codec.spec, **self.argument_extra}

    @property
    def unset(self) -> Any:
        """The wire value that resets the field to its default."""
        fill = self.default if self.default is not None else self.codec.zero
        return {"dict": {}, "list": []}.get(self.codec.spec["type"], fill)

    def read(self, config: Mapping[str, Any]) -> Any:
        """Return the field's wire value in a server's answer, or the server's default where the answer omits it."""
        value = config.get(self.path)
        if value is None:
            value = self.default if self.default is not None else self.codec.zero
        return value

    def equal(self, one: Any, other: Any) -> bool:
        """Return True if two wire values mean the same. None stands for the default."""
        fill = self.default if self.default is not None else self.codec.zero
        return self.codec.equal(fill if one is None else one, fill if other is None else other)


class Spec:
    """The options of a plugin, and the rules between them in the terms of Ansible's argument specification."""

    def __init__(self, fields: tuple[Field, ...] = (), rules: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.fields, self.rules = fields, rules

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def argument_spec(self) -> dict[str, dict[str, Any]]:
        """Return the options as AnsibleModule takes them."""
        return {row.option: row.argument() for row in self.fields}

    def results_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a configuration as results show them, without ``name``."""
        return {row.option: row.codec.to_result(row.read(config)) for row in self if row.option != "name"}

    def checked_name(self, name: str) -> str:
        """Return ``name`` as it is sent. Raises OptionError if it is not allowed."""
        row = next(row for row in self if row.option == "name")
        return str(_errors.checked("name", row.codec.to_wire, name))

    def merge(self, *others: Spec) -> Spec:
        """Return one Spec from several: fields in order, lists of rules joined."""
        fields, rules = self.fields, dict(self.rules)
        for other in others:
            fields += other.fields
            for name, rule in other.rules.items():
                rules[name] = [*rules.get(name, []), *rule]
        return Spec(fields, rules)


def checked(spec: Spec, get_option: Callable[[str], Any]) -> dict[str, Any]:
    """Return the given options as wire values. Raises OptionError."""
    wire = {}
    for row in spec:
        value = get_option(row.option)
        if value is not None:
            wire[row.option] = _errors.checked(row.option, row.codec.to_wire, value)
    return wire
