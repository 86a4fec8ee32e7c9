# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows of tables: argument specifications, wire values, defaults, update rules and API levels."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api.answers import ConsumerConfig, StreamConfig
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Server
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, Refused
from ansible_collections.choria.streams.plugins.module_utils._options import codecs, composite
from ansible_collections.choria.streams.plugins.module_utils._options.fields import (
    IN_PLACE,
    LEVELS,
    NO_EFFECT,
    REFUSED,
    Field,
    Spec,
    Update,
    in_place,
    only_once_on,
    refused,
    without_effect,
)
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.resource import field_changes, to_wire
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.configurations import BUCKET_VALUES, CONSUMER_VALUES, STREAM_VALUES

NEW, OLD = (2, 12, 0), (2, 10, 26)


def server(release: tuple[int, ...] = NEW) -> Server:
    return Server("n1", release, jetstream=True, clustered=False, max_payload=1 << 20)


SPEC = Spec(
    (
        Field("name", codecs.text("[A-Z]+", "a name is made of large letters"), argument_extra={"required": True}),
        Field("age", codecs.duration(), wire="max_age"),
        Field("size", codecs.size(), default=512),
        Field("modern", codecs.boolean(), since=NEW),
        Field("kind", codecs.choice("file", "memory"), update=refused(10052, "Make another.")),
        Field("first", codecs.whole(0), update=without_effect("Leave it out.")),
        Field("locked", codecs.boolean(), update=only_once_on(10052, "It stays on.")),
        Field("origin", composite.obj(Field("name", codecs.text()), Field("reader", codecs.text(), since=NEW))),
        Field(
            "origins",
            composite.objects(composite.obj(Field("name", codecs.text()), Field("via", codecs.text(), since=NEW))),
        ),
    ),
    {"mutually_exclusive": [("age", "size")]},
)


def test_argument_spec() -> None:
    assert SPEC.argument_spec()["name"] == {"type": "str", "required": True}
    assert SPEC.argument_spec()["age"] == {"type": "str"}
    assert SPEC.argument_spec()["kind"] == {"type": "str", "choices": ["file", "memory"]}
    assert SPEC.argument_spec()["origins"] == {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str"}, "via": {"type": "str"}},
    }


def test_merged_specs() -> None:
    more = Spec(
        (Field("more", codecs.text()),), {"mutually_exclusive": [("a", "b")], "required_together": [("c", "d")]}
    )
    merged = SPEC.merge(more)
    assert [row.option for row in merged] == [row.option for row in SPEC] + ["more"]
    assert merged.rules == {"mutually_exclusive": [("age", "size"), ("a", "b")], "required_together": [("c", "d")]}


@pytest.mark.parametrize(
    ("options", "wire"),
    [
        ({"name": "A", "age": "1s", "size": None}, {"name": "A", "max_age": 10**9}),
        ({"size": 0, "locked": False}, {"size": -1, "locked": False}),
        ({"origin": {"name": None, "reader": None}}, {"origin": {}}),
    ],
)
def test_options_to_the_wire(options: dict[str, Any], wire: dict[str, Any]) -> None:
    assert to_wire(SPEC, options, server()) == wire


def test_an_option_is_named_in_the_error() -> None:
    with pytest.raises(OptionError) as error:
        to_wire(SPEC, {"name": "a"}, server())
    assert error.value.message == "name: 'a' is not allowed: a name is made of large letters."
    assert error.value.failure == {"code": "option", "option": "name"}


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"modern": True}, "modern"),
        ({"origin": {"name": "A", "reader": "R"}}, "origin.reader"),
        ({"origins": [{"name": "A"}, {"name": "B", "via": "R"}]}, "origins.via"),
    ],
)
def test_options_that_an_old_server_does_not_know(options: dict[str, Any], option: str) -> None:
    assert to_wire(SPEC, options, server(NEW))
    with pytest.raises(Refused) as error:
        to_wire(SPEC, options, server(OLD))
    assert error.value.message == (
        f"{option} needs nats-server 2.12.0 (API level 2), and this server runs 2.10.26: "
        "leave the option out, or upgrade the server."
    )
    assert error.value.failure == {"code": "server_too_old", "option": option}


def test_an_old_server_gets_no_field_that_it_does_not_know() -> None:
    assert to_wire(SPEC, {"modern": False}, server(OLD)) == {}
    assert to_wire(SPEC, {"modern": False}, server(NEW)) == {"modern": False}
    assert to_wire(SPEC, {"origin": {"name": "A"}}, server(OLD)) == {"origin": {"name": "A"}}


def test_absent_fields_mean_the_default() -> None:
    size = next(row for row in SPEC if row.option == "size")
    assert size.read({}) == 512
    assert size.read({"size": 7}) == 7
    assert size.equal(None, 512)
    assert not size.equal(None, -1)


@pytest.mark.parametrize(
    ("update", "before", "after", "effect"),
    [
        (in_place, 1, 2, IN_PLACE),
        (refused(1, ""), 1, 2, REFUSED),
        (refused(1, "", lambda before, after, release: after > 5), 1, 2, IN_PLACE),
        (refused(1, "", lambda before, after, release: after > 5), 1, 6, REFUSED),
        (refused(1, "", lambda before, after, release: release < NEW), 1, 2, IN_PLACE),
        (only_once_on(1, ""), False, True, IN_PLACE),
        (only_once_on(1, ""), True, False, REFUSED),
        (without_effect(""), 1, 2, NO_EFFECT),
    ],
)
def test_effects_of_updates(update: Update, before: Any, after: Any, effect: str) -> None:
    assert update.effect_of(before, after, NEW) == effect


def test_changes() -> None:
    current = {"max_age": 10**9, "kind": "file", "size": 512, "strange": 1}
    desired = {"max_age": 2 * 10**9, "kind": "file", "origin": {"name": "A"}}
    changes = [change.shown for change in field_changes(SPEC, "thing T", current, desired, NEW)]
    assert changes == [
        {"field": "age", "before": 1, "after": 2, "effect": IN_PLACE},
        {"field": "origin", "before": None, "after": {"name": "A"}, "effect": IN_PLACE},
    ]


@pytest.mark.parametrize(
    ("current", "desired", "sentence", "err_code"),
    [
        (
            {},
            {"kind": "memory"},
            "kind of thing T can't be changed from file to memory: the server refuses that "
            "(JetStream error 10052). Make another.",
            10052,
        ),
        (
            {"first": 5},
            {"first": 9},
            "first of thing T can't be changed from 5 to 9: that has no effect. Leave it out.",
            0,
        ),
    ],
)
def test_refused_changes(current: dict[str, Any], desired: dict[str, Any], sentence: str, err_code: int) -> None:
    with pytest.raises(Refused) as error:
        field_changes(SPEC, "thing T", current, desired, NEW)
    assert error.value.message == sentence
    option = next(iter(desired))
    failure = {"code": "update_refused", "option": option, "err_code": err_code}
    assert error.value.failure.items() >= failure.items()
    [change] = error.value.failure["changes"]
    assert change.items() >= {"field": option, "effect": REFUSED if err_code else NO_EFFECT}.items()


@pytest.mark.parametrize("kind", [STREAM, BUCKET, GOVERNOR], ids=lambda kind: kind.noun)
def test_tables(kind: Any) -> None:
    """No option or field appears twice, API levels are known, and each refusal has a reason."""
    rows = [*kind.spec, *kind.implied]
    assert len({row.option for row in kind.spec}) == len(kind.spec.fields)
    assert len({row.path for row in rows}) == len(rows)
    assert {row.since for row in rows} <= {(), *LEVELS.values()}
    assert all(row.update.why for row in rows if row.update.effect != IN_PLACE)


@pytest.mark.parametrize(
    ("kind", "values", "answer"),
    [
        (STREAM, STREAM_VALUES, StreamConfig),
        (BUCKET, BUCKET_VALUES, StreamConfig),
        (CONSUMER, CONSUMER_VALUES, ConsumerConfig),
    ],
    ids=lambda value: getattr(value, "noun", ""),
)
def test_each_row_has_a_type_and_random_values(kind: Any, values: dict[str, Any], answer: Any) -> None:
    """Each field has a type in _api/answers.py, and values for test_random_configurations.py."""
    rows = [row for row in kind.spec if row.option not in ("name", "stream")]
    assert {row.option for row in rows} - set(values) == set()
    assert {row.path for row in rows} - set(answer.__annotations__) == set()
