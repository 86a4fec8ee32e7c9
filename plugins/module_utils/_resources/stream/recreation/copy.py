# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a stream to a temporary one and back into a new one, while others publish, without a loss.

The server's state shows the progress, so that a run continues where an earlier one ended. A stream that others publish
to is frozen before the other one takes over. Then it accepts no more messages, and both can be compared.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .... import _errors
from ...._api import consumers, jetstream, stream_compare, streams
from . import configurations, recreate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ...._connection import sessions

# A frozen stream takes nothing that is published: it is not for long
_FROZEN = 30.0
_STORE = 10.0
_LATER = 3600


def try_out(session: sessions.Session, wanted: Mapping[str, Any], found: Iterable[Mapping[str, Any]]) -> None:
    """Raise Refused if the server would refuse a stream of this configuration, or one of these consumers."""
    name = configurations.temporary_name(wanted["name"])
    trial = configurations.as_trial(wanted, name)
    what, created = f"{wanted['name']} as it is wanted", False
    _make_way(session, name)
    try:
        _create(session, trial)
        created = True
        for info in configurations.durable(found):
            what = f"consumer {info['name']} of {wanted['name']} as it is wanted"
            again, _reset = configurations.consumer_again(configurations.remembered(info), session.server.version)
            consumers.create(session, name, again)
        stream_compare.last_sequence(session, name, configurations.private_subject(name))
    except _errors.ApiError as error:
        raise _errors.Refused(
            f"recreate: the server would refuse {what}, and nothing was changed: {error.description} (JetStream error "
            f"{error.err_code}).",
            code="not_copyable",
            option="recreate",
            err_code=error.err_code,
        ) from error
    finally:
        if created:
            streams.delete(session, name)


def _make_way(session: sessions.Session, name: str) -> None:
    """Remove what an earlier run left under this name. Raises Refused if it has messages of its own."""
    info = streams.info(session, name)
    if info is None:
        return
    ours = configurations.record_of(info) is not None
    if configurations.mark_of(info["config"]) != configurations.TRIAL and not (ours and info["config"].get("mirror")):
        recreate.check_free(info["config"], recreate.NO)
        raise _in_the_way(name)
    streams.delete(session, name)


def _in_the_way(name: str) -> _errors.Refused:
    return _errors.Refused(
        f"recreate: stream {name} is in the way, which was not made here, and nothing was changed: delete it first "
        "where nobody needs it, or leave out recreate.",
        code="not_copyable",
        option="recreate",
    )


def make_anew(session: sessions.Session, wanted: dict[str, Any]) -> None:
    """Delete a stream with all messages, and create it again."""
    try_out(session, wanted, ())
    streams.delete(session, wanted["name"])
    _create(session, wanted)


def copy(session: sessions.Session, wanted: dict[str, Any], patience: float, *, in_place: bool) -> None:
    """Bring a stream into the desired configuration with all of its messages and durable consumers.

    ``patience`` is how many seconds the copying may make no progress. With ``in_place``, only an earlier copy has to be
    finished.
    """
    job = _Copy(session, wanted, patience)
    job.end_earlier()
    if in_place and job.turn_back():
        return
    job.begin()
    job.move_there()
    job.move_back()
    job.end()


def rename(session: sessions.Session, old: str, wanted: dict[str, Any], patience: float) -> None:
    """Move all messages and durable consumers of a stream to a new one of the desired configuration, and delete it.

    ``patience`` is how many seconds the copying may make no progress.
    """
    job = _Rename(session, old, wanted, patience)
    job.begin()
    job.move_there()
    job.end()


def _create(session: sessions.Session, config: dict[str, Any]) -> None:
    """Create a stream whose name was just freed: the old store may still exist (nats-server 2.15)."""
    deadline = time.monotonic() + _STORE
    while True:
        try:
            streams.create(session, config)
            return
        except _errors.ApiError as error:
            if error.err_code != jetstream.STORE_NOT_CREATED or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class _Copy:
    def __init__(self, session: sessions.Session, wanted: dict[str, Any], patience: float) -> None:
        self.session = session
        self.wanted = wanted
        self.name = str(wanted["name"])
        self.temporary = configurations.temporary_name(self.name)
        self.patience = patience
        self.origin_mark = configurations.ORIGIN

    # What is there

    def config(self, name: str) -> dict[str, Any]:
        """Return the configuration of a stream, empty if it does not exist."""
        info = streams.info(self.session, name)
        return dict(info["config"]) if info else {}

    def mark(self) -> str:
        return configurations.mark_of(self.config(self.name))

    def record(self) -> dict[str, Any]:
        found = configurations.record_of(streams.info(self.session, self.temporary))
        if found is None:
            raise _errors.StreamsError(
                f"recreate: stream {self.temporary} is gone, or not what was made here: somebody else works on it.",
                code="not_applied",
            )
        return found

    def check_origin(self) -> None:
        """Raise Incomplete if the origin was created again, since a mirror may then have messages of both."""
        info = streams.info(self.session, self.name)
        if info and info["created"] != self.record()["created"]:
            raise stream_compare.Incomplete(
                f"recreate: stream {self.name} was deleted and created again while it was copied: it is left as it is. "
                "Run the task again to copy what it has now."
            )

    def end_earlier(self) -> None:
        """Delete the temporary stream of a copy that ended in another way."""
        there, temporary = self.config(self.name), self.config(self.temporary)
        live = there and not configurations.mark_of(there) and not configurations.quiet(there)
        if live and configurations.quiet(temporary) and configurations.mark_of(temporary) != configurations.TRIAL:
            self.end()

    def turn_back(self) -> bool:
        """End a copy while the stream still has all its messages. Return False if the temporary one has taken over."""
        there, origin = self.config(self.temporary), self.config(self.name)
        if there and not (origin and configurations.waits(there, configurations.mark_of(origin))):
            return False
        if there:
            streams.delete(self.session, self.temporary)
        streams.update(self.session, self.wanted)
        return True

    # To the temporary stream

    def begin(self) -> None:
        there, info = self.config(self.temporary), streams.info(self.session, self.name)
        if there:
            trial = configurations.mark_of(there) == configurations.TRIAL
            if not trial and recreate.RECORD not in (there.get("metadata") or {}):
                raise _in_the_way(self.temporary)
            earlier = there.get("mirror") and info and self.record()["created"] != info["created"]
            if not (trial or earlier):
                return
            streams.delete(self.session, self.temporary)
        if info is None:
            raise stream_compare.gone(self.name)
        found = consumers.list_all(self.session, self.name)
        try_out(self.session, self.wanted, found)
        known = [configurations.remembered(each) for each in configurations.durable(found)]
        record = configurations.written(info["created"], info["config"], known)
        _create(self.session, self.first_copy(info["config"], record))

    def first_copy(self, config: Mapping[str, Any], record: str) -> dict[str, Any]:
        """Return the configuration of the stream to which all messages are copied first."""
        return configurations.as_temporary(config, self.wanted, record)

    def move_there(self) -> None:
        if self.config(self.temporary).get("mirror"):
            if self.mark() != self.origin_mark:
                self._loosen_origin()
                self._freeze_origin()
            self._complete(self.temporary, self.name, thaw=None)
            streams.update(self.session, configurations.promoted(self.config(self.temporary)))
        if self.mark() != self.origin_mark:
            return
        there = self.config(self.temporary)
        if configurations.quiet(there):
            self._settle(self.temporary, self.name)
            streams.update(self.session, configurations.as_stand_in(self.record()["config"], there))
        # Its consumers came further meanwhile
        self._remember_consumers()
        self._check_queue()
        stream_compare.forget_deleted(self.session, self.temporary, self.name)
        self.check_origin()
        streams.delete(self.session, self.name)

    def _loosen_origin(self) -> None:
        config = self.config(self.name)
        if config.get("consumer_limits"):
            streams.update(self.session, configurations.loosened(config))

    def _freeze_origin(self) -> None:
        stream_compare.follow(self.session, self.temporary, self.name, self.patience)
        self.check_origin()
        config = self.config(self.name)
        self._write_record(configurations.tightened(config, self.record()["config"]), [])
        self._freeze(config, self.origin_mark)
        self._complete(self.temporary, self.name, thaw=config)

    def _freeze(self, config: Mapping[str, Any], mark: str = "") -> None:
        """End a stream's subjects and deletions, and then ``no_ack``.

        If the stream has ``$JS.API.>``, a server acknowledges the very request that ends ``no_ack``, and that may
        arrive before the answer.
        """
        frozen = configurations.frozen(config)
        if config.get("no_ack"):
            streams.update(self.session, {**frozen, "no_ack": True})
        streams.update(self.session, configurations.marked_as(frozen, mark) if mark else frozen)

    def _remember_consumers(self) -> None:
        found = configurations.durable(consumers.list_all(self.session, self.name))
        if found:
            self._write_record(self.record()["config"], [configurations.remembered(info) for info in found])

    def _check_queue(self) -> None:
        """Check a work queue's consumers. A mirror takes messages that nobody waits for, which spoils the proof."""
        found = configurations.durable(consumers.list_all(self.session, self.name))
        configurations.check_queue(f"stream {self.name}", self.record()["config"], found)

    def _write_record(self, config: Mapping[str, Any], known: list[Mapping[str, Any]]) -> None:
        there, record = self.config(self.temporary), configurations.written(self.record()["created"], config, known)
        streams.update(self.session, {**there, "metadata": {recreate.RECORD: record}})

    # And back

    def move_back(self) -> None:
        there = self.config(self.name)
        if there and configurations.mark_of(there) != configurations.TARGET:
            return
        target = configurations.as_mirror(self.wanted, self.name, self.temporary)
        target = configurations.marked_as(target, configurations.TARGET)
        if there and any(there.get(path) != target.get(path) for path in ("storage", "retention")):
            streams.delete(self.session, self.name)  # made for something else that was wanted then
            there = {}
        if not there:
            _create(self.session, target)
            there = self.config(self.name)
        if there.get("mirror"):
            self._freeze_temporary()
            streams.update(self.session, configurations.promoted(there))
        self._settle(self.name, self.temporary)
        self.give_consumers(self.name)
        streams.update(self.session, self.wanted)

    def _freeze_temporary(self) -> None:
        config = self.config(self.temporary)
        if not configurations.quiet(config) or config.get("no_ack"):
            stream_compare.follow(self.session, self.name, self.temporary, self.patience)
            config = self.config(self.temporary)
            self._freeze(config)
        live = configurations.as_stand_in(self.record()["config"], config)
        self._complete(self.name, self.temporary, thaw=live)

    def give_consumers(self, stream: str) -> None:
        there = {info["name"]: info for info in consumers.list_all(self.session, stream)}
        for each in self.record()["consumers"]:
            config, sequence = configurations.consumer_again(each, self.session.server.version)
            name = config["durable_name"]
            if not sequence:
                if name not in there:
                    consumers.create(self.session, stream, config)
                continue
            # It must not deliver before it is where it was
            if name not in there:
                later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + _LATER))
                consumers.create(self.session, stream, {**config, "pause_until": later})
            elif not there[name].get("paused"):
                continue
            jetstream.call(self.session, *consumers.resetting(stream, name, sequence), again=True)
            jetstream.call(self.session, *consumers.pausing(stream, name, config.get("pause_until")))

    def end(self) -> None:
        old, new = streams.info(self.session, self.temporary), streams.info(self.session, self.name)
        if old is None or new is None:
            return
        config, complete_to = new["config"], int(old["state"]["last_seq"])
        finished = not (config.get("mirror") or configurations.mark_of(config) or configurations.quiet(config))
        if not finished or not configurations.quiet(old["config"]) or int(new["state"]["last_seq"]) < complete_to:
            raise _errors.StreamsError(
                f"recreate: {self.temporary} is kept, since {self.name} is not what was planned: somebody else changed "
                "it at that moment.",
                code="not_applied",
            )
        streams.delete(self.session, self.temporary)

    # Both ways

    def _complete(self, name: str, origin: str, thaw: Mapping[str, Any] | None) -> None:
        """Wait until a copy of a frozen stream is proven complete. If that takes long, the origin is unfrozen."""
        stream_compare.last_sequence(self.session, origin, configurations.private_subject(origin))
        try:
            if origin == self.name:
                self._check_queue()
            stream_compare.complete(self.session, name, origin, _FROZEN)
            if origin == self.name:
                self.check_origin()
        except (stream_compare.Incomplete, _errors.Refused):
            if thaw:
                streams.update(self.session, dict(thaw))
            raise

    def _settle(self, name: str, origin: str) -> None:
        """Let the copy continue after the last sequence of its origin, even if that message is deleted."""
        last = stream_compare.last_sequence(self.session, origin, configurations.private_subject(origin))
        stream_compare.move_on(self.session, name, configurations.private_subject(name), last)


class _Rename(_Copy):
    """The first half of a copy, whose temporary stream is the final one."""

    def __init__(self, session: sessions.Session, old: str, wanted: dict[str, Any], patience: float) -> None:
        super().__init__(session, wanted, patience)
        self.name, self.temporary = old, str(wanted["name"])
        self.origin_mark = f"{recreate.RENAMED}{self.temporary}"

    def first_copy(self, config: Mapping[str, Any], record: str) -> dict[str, Any]:
        return configurations.as_mirror(self.wanted, self.temporary, self.name, metadata={recreate.RECORD: record})

    def end(self) -> None:
        self.give_consumers(self.temporary)
        streams.update(self.session, self.wanted)
