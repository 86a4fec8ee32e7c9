# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Codecs of options that hold objects with fields of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import codecs

if TYPE_CHECKING:
    from . import fields


class Object(codecs.Codec):
    """A dict option with fields of its own, of which those in ``needs`` are required.

    An object in which no field is set removes the present one.
    """

    def __init__(self, spec: dict[str, Any], members: tuple[fields.Field, ...], needs: tuple[str, ...] = ()) -> None:
        super().__init__(spec)
        self.inner, self.members, self.needs = members, members, needs

    def to_wire(self, value: Any) -> dict[str, Any]:
        wire: dict[str, Any] = {}
        for field in self.members:
            if value.get(field.option) is not None:
                try:
                    wire[field.path] = field.codec.to_wire(value[field.option])
                except ValueError as error:
                    raise ValueError(f"{field.option}: {error}") from error
        lacking = [name for name in self.needs if wire and not value.get(name)]
        if lacking:
            raise ValueError(f"needs {' and '.join(lacking)} too")
        return wire

    def to_result(self, wire: Any) -> dict[str, Any] | None:
        if self.equal(wire, None):
            return None
        there = [
            field for field in self.members if field.default is not None or not field.equal(wire.get(field.path), None)
        ]
        return {field.option: field.codec.to_result(field.read(wire)) for field in there}

    def equal(self, one: Any, other: Any) -> bool:
        one, other = one or {}, other or {}
        return all(field.equal(one.get(field.path), other.get(field.path)) for field in self.members)


class Objects(codecs.Codec):
    """A list of objects whose order does not matter."""

    def __init__(self, item: Object) -> None:
        super().__init__({"type": "list", "elements": "dict", "options": item.spec["options"]})
        self.inner, self._item = item.members, item

    def to_wire(self, value: Any) -> list[Any]:
        wire = [self._item.to_wire(entry) for entry in value]
        if not all(wire):
            raise ValueError("has an empty entry")
        return wire

    def to_result(self, wire: Any) -> list[Any]:
        return [self._item.to_result(entry) for entry in wire or []]

    def equal(self, one: Any, other: Any) -> bool:
        left, right = list(one or []), list(other or [])
        if len(left) != len(right):
            return False
        for entry in left:
            match = next((index for index, rest in enumerate(right) if self._item.equal(entry, rest)), None)
            if match is None:
                return False
            del right[match]
        return True


def obj(*members: fields.Field, needs: tuple[str, ...] = (), kind: type[Object] = Object) -> Object:
    """Return a codec of a dict with the fields ``members``. ``needs`` names the required ones."""
    options = {field.option: field.argument() for field in members}
    return kind({"type": "dict", "options": options}, members, needs)


def objects(item: Object) -> Objects:
    """Return a codec of a list of ``item`` in any order."""
    return Objects(item)
