# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random configurations, and random changes from one to another, are planned as the server handles them.

If the server accepts one, the plan shows the result. If it refuses one, the plan refuses it too. The options that are
read from a stream of another client can be applied without a change.

CHORIA_STREAMS_EXAMPLES=5000 tries so many of each kind, and different ones each time.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, streams
from ansible_collections.choria.streams.plugins.module_utils._errors import (
    ApiError,
    OptionError,
    Refused,
    StreamsError,
)
from ansible_collections.choria.streams.plugins.module_utils._resources import resource
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer import facts as consumer_facts
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.configurations import BUCKET_VALUES, CONSUMER_VALUES, ORIGINS, STREAM_VALUES, given_options
from support.connect import options
from support.manage import Manager
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.choria.streams.plugins.module_utils._resources.stream.base import StreamBacked

pytestmark = pytest.mark.once

_MANY = os.environ.get("CHORIA_STREAMS_EXAMPLES")
EXAMPLES = settings(
    max_examples=int(_MANY or 120),
    derandomize=not _MANY,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
KINDS: dict[str, tuple[StreamBacked, Any]] = {"stream": (STREAM, STREAM_VALUES), "bucket": (BUCKET, BUCKET_VALUES)}
_numbers = count()


@pytest.fixture(scope="module", params=["latest", "2.10"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    version = None if request.param == "latest" else request.param
    with NatsServer(version=version) as server, Manager(servers=server.url) as manager:
        for config in ORIGINS:
            streams.create(manager.session, config)
        yield manager


@contextmanager
def new_name(manager: Manager, prefix: str = "") -> Iterator[str]:
    """Yield a name that no stream had before: servers need time to forget a name."""
    name = f"R{next(_numbers)}"
    try:
        yield name
    finally:
        streams.delete(manager.session, f"{prefix}{name}")


def named(kind: StreamBacked, chosen: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the options of a stream with this name and with its own subjects."""
    own = {"name": name, **chosen}
    if kind is STREAM and "subjects" in own:
        own["subjects"] = [f"{name}{subject[1:]}" for subject in own["subjects"]]
    return own


def sent_by_others(manager: Manager, kind: StreamBacked, given: dict[str, Any]) -> dict[str, Any]:
    """Return the request of another client for these options. It applies none of our rules."""
    wanted = options(kind, **given)
    config = resource.to_wire(kind.spec, wanted, manager.session.server)
    if kind is BUCKET:
        config = {**kind.fixed(given["name"], None, manager.session.server), **config}
        config = kind.complete(given["name"], config, {})
    return resource.merged(config, {"name": f"{kind.prefix}{given['name']}"})


def fed_back(shown: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Return the values of an info module that are also options of the module."""
    known = {row.option for row in kind.spec}
    return {option: value for option, value in shown.items() if option in known}


def judged(manager: Manager, kind: StreamBacked, given: dict[str, Any]) -> StreamsError | None:
    """Apply a plan, and return the plan's error if it refuses. The result must be the planned one."""
    try:
        plan = manager.plan(kind, **given)
    except (OptionError, Refused) as error:
        return error
    if not plan.changed:
        return None
    result = kind.apply(manager.session, plan)[kind.noun]
    promised = plan.after or {}
    assert {row.option: result[row.option] for row in kind.spec} == {
        row.option: promised[row.option] for row in kind.spec
    }
    again = manager.plan(kind, **given)
    assert not again.changed, again.change_list
    return None


def made_by_others(manager: Manager, kind: StreamBacked, chosen: dict[str, Any]) -> None:
    """The options that are read from another client's stream can be applied, also exactly, and change nothing."""
    with new_name(manager, kind.prefix) as name:
        try:
            streams.create(manager.session, sent_by_others(manager, kind, named(kind, chosen, name)))
        except (ApiError, OptionError):
            return
        info = streams.info(manager.session, f"{kind.prefix}{name}")
        assert info
        shown = fed_back(kind.result(info["config"], info), kind)
        for exact in (False, True):
            plan = manager.plan(kind, **shown, exact=exact)
            assert not plan.changed, plan.change_list


def pair(manager: Manager, kind: StreamBacked, first: dict[str, Any], second: dict[str, Any], exact: bool) -> None:
    """Create the first, and change it to the second. If the plan refuses that, the server has to refuse it as well."""
    with new_name(manager, kind.prefix) as name:
        one, two = named(kind, first, name), named(kind, second, name)
        error = judged(manager, kind, one)
        if error:
            assert meant(error) or refuses(
                lambda: streams.create(manager.session, sent_by_others(manager, kind, one))
            ), error.message
            return
        error = judged(manager, kind, {**two, "exact": exact, "allow_data_loss": True})
        if error and not exact and not meant(error):
            there = manager.config(f"{kind.prefix}{name}")
            assert refuses(lambda: streams.update(manager.session, {**there, **sent_by_others(manager, kind, two)})), (
                error.message
            )


def consumer_pair(
    manager: Manager, stream: dict[str, Any], first: dict[str, Any], second: dict[str, Any], exact: bool
) -> None:
    """Apply the options of another client's consumer. Then create a consumer, and change it."""
    session = manager.session
    with new_name(manager) as name:
        streams.create(session, {"name": name, "subjects": ["S.>"], **stream})
        one = {"stream": name, "name": "theirs", **first}
        taken = not refuses(lambda: _create_consumer(manager, one))
        if taken:
            info = consumers.info(session, name, "theirs")
            assert info
            shown = fed_back(consumer_facts.result_of(info), CONSUMER)
            for whole in (False, True):
                plan = manager.plan(CONSUMER, **shown, exact=whole)
                assert not plan.changed, plan.change_list
            consumers.delete(session, name, "theirs")
        error = consumer_judged(manager, {**one, "name": "ours"})
        if error:
            assert not taken or meant(error), error.message
            return
        consumer_judged(manager, {"stream": name, "name": "ours", **second, "exact": exact, "allow_data_loss": True})


def _create_consumer(manager: Manager, given: dict[str, Any]) -> None:
    config = resource.to_wire(CONSUMER.spec, options(CONSUMER, **given), manager.session.server)
    config.pop("stream")
    consumers.create(manager.session, given["stream"], {"ack_policy": "explicit", **config})


def consumer_judged(manager: Manager, given: dict[str, Any]) -> StreamsError | None:
    """Do the same as ``judged`` for a consumer."""
    try:
        plan = manager.plan(CONSUMER, **given)
    except (OptionError, Refused) as error:
        return error
    if plan.changed:
        result = CONSUMER.apply(manager.session, plan)["consumer"]
        assert fed_back(result, CONSUMER) == fed_back(plan.after or {}, CONSUMER)
        again = manager.plan(CONSUMER, **given)
        assert not again.changed, again.change_list
    return None


def refuses(write: Callable[[], object]) -> bool:
    """Return True if the server refuses a write, or a check that every client needs."""
    try:
        write()
    except (ApiError, OptionError, Refused):
        return True
    return False


def meant(error: StreamsError) -> bool:
    """Return True if only we refuse it: the server would accept it without effect, or as something else."""
    return any(text in error.message for text in MEANT)


MEANT = (
    "needs acknowledgements, and ack_policy is none",
    "needs deny_purge: false",
    "needs allow_rollup_hdrs: true",
    "is for push consumers",
    "is for pull consumers",
    "it is the first step of backoff",
    "mirror_direct: is for mirrors",
    "that has no effect",
    "sealed: true sets it to",
    "a roll-up is a purge, and deny_purge is true",
    "src of a transform is a filter too",  # nats-server 2.10 does not check origins elsewhere
    "matches none of the subjects of",
)
CONSUMED: list[dict[str, Any]] = [
    {},
    {"retention": "interest"},
    {"retention": "workqueue"},
    {"consumer_limits": {"max_ack_pending": 50, "inactive_threshold": 3600 * 10**9}},
]


@pytest.mark.parametrize("noun", KINDS)
def test_made_by_another_client_and_given_back(manager: Manager, noun: str) -> None:
    kind, values = KINDS[noun]

    @EXAMPLES
    @given(given_options(values, kind.spec, manager.session.server.version))
    def example(chosen: dict[str, Any]) -> None:
        made_by_others(manager, kind, chosen)

    example()


@pytest.mark.parametrize("noun", KINDS)
def test_pairs(manager: Manager, noun: str) -> None:
    kind, values = KINDS[noun]
    some = given_options(values, kind.spec, manager.session.server.version)

    @EXAMPLES
    @given(some, some, st.booleans())
    def example(first: dict[str, Any], second: dict[str, Any], exact: bool) -> None:
        pair(manager, kind, first, second, exact)

    example()


@pytest.mark.parametrize("stream", CONSUMED, ids=str)
def test_consumers(manager: Manager, stream: dict[str, Any]) -> None:
    some = given_options(CONSUMER_VALUES, CONSUMER.spec, manager.session.server.version)

    @EXAMPLES
    @given(some, some, st.booleans())
    def example(first: dict[str, Any], second: dict[str, Any], exact: bool) -> None:
        consumer_pair(manager, stream, first, second, exact)

    example()
