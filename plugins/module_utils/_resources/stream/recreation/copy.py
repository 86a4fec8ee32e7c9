# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a stream to a temporary one and back into a new one, while others publish, without a loss.

The server's state shows the progress, so that a run continues where an earlier one ended. A stream that others publish
to is frozen before the other one takes over. Then it accepts no more messages, and both can be compared.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .... import _errors
from ...._api import consumers, jetstream, stream_compare, streams
from ...._options.quantities import parse_timestamp as moment
from . import configurations, recreate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ...._api import answers
    from ...._connection import sessions

# How many seconds a stream may be frozen, since it stores no messages meanwhile
_FROZEN = 30.0
# How long a new consumer is paused at most, until its position is restored
_PAUSE = timedelta(hours=1)


def try_out(
    session: sessions.Session,
    desired: Mapping[str, Any],
    infos: Iterable[answers.ConsumerInfo],
    *,
    copied: bool = False,
) -> None:
    """Raise Refused if the server would refuse a stream of this configuration, or one of these consumers.

    With ``copied`` also try out the calls for which a copy would miss a permission after it has frozen the stream.
    """
    name = configurations.temporary_name(desired["name"])
    trial = configurations.as_trial(desired, name)
    what, created = f"{desired['name']} with the new configuration", False
    _remove_leftovers(session, name)
    try:
        streams.create(session, trial)
        created = True
        for info in configurations.durable(infos):
            what = f"consumer {info['name']} of {desired['name']} with the new configuration"
            again, reset = configurations.consumer_again(configurations.remembered(info), session.server.version)
            consumers.create(session, name, again)
            if reset:
                jetstream.call(session, *consumers.resetting(name, info["name"], None), again=True)
                jetstream.call(session, *consumers.pausing(name, info["name"], again.get("pause_until")))
        stream_compare.last_sequence(session, name, configurations.private_subject(name))
        if copied and not trial.get("deny_purge"):
            streams.purge(session, name, {"filter": configurations.private_subject(name)}, again=True)
    except _errors.ApiError as error:
        raise configurations.not_copyable(
            f"the server would refuse {what}, and nothing was changed: {error.description} (JetStream error "
            f"{error.err_code}).",
            err_code=error.err_code,
        ) from error
    finally:
        if created:
            streams.delete(session, name)


def _remove_leftovers(session: sessions.Session, name: str) -> None:
    """Delete the stream that an earlier run left under this name. Raises Refused if another program created it."""
    info = streams.info(session, name)
    if info is None:
        return
    ours = configurations.record_of(info) is not None
    if configurations.mark_of(info["config"]) != configurations.TRIAL and not (ours and info["config"].get("mirror")):
        recreate.check_free(info["config"], recreate.NO)
        raise _name_taken(name)
    streams.delete(session, name)


def _created_again(name: str) -> stream_compare.Incomplete:
    return stream_compare.Incomplete(
        f"recreate: stream {name} was deleted and created again while it was copied: it is left as it is. "
        "Run the task again to copy what it has now."
    )


def _name_taken(name: str) -> _errors.Refused:
    return configurations.not_copyable(
        f"stream {name} exists, was not created by this module and is needed for the copy, so nothing was "
        "changed: delete it first if nobody needs it, or leave out recreate."
    )


def create_again(session: sessions.Session, desired: dict[str, Any]) -> None:
    """Delete a stream with all messages, and create it again."""
    try_out(session, desired, ())
    streams.delete(session, desired["name"])
    streams.create(session, desired)


def copy(session: sessions.Session, desired: dict[str, Any], patience: float, *, in_place: bool) -> None:
    """Bring a stream into the desired configuration with all of its messages and durable consumers.

    ``patience`` is how many seconds the copying may make no progress. With ``in_place``, only an earlier copy has to be
    finished.
    """
    job = _Copy(session, desired, patience)
    job.end_earlier()
    if in_place and job.turn_back():
        return
    job.begin()
    job.move_there()
    job.move_back()
    job.end()


def rename(session: sessions.Session, old: str, desired: dict[str, Any], patience: float) -> None:
    """Move all messages and durable consumers of a stream to a new one of the desired configuration, and delete it.

    ``patience`` is how many seconds the copying may make no progress.
    """
    job = _Rename(session, old, desired, patience)
    job.begin()
    job.move_there()
    job.end()


class _Copy:
    def __init__(self, session: sessions.Session, desired: dict[str, Any], patience: float) -> None:
        self.session = session
        self.desired = desired
        self.name = str(desired["name"])
        self.temporary = configurations.temporary_name(self.name)
        self.patience = patience
        self.origin_mark = configurations.ORIGIN

    # The progress

    def config(self, name: str) -> dict[str, Any]:
        """Return the configuration of a stream, empty if it does not exist."""
        info = streams.info(self.session, name)
        return dict(info["config"]) if info else {}

    def existing(self, name: str) -> dict[str, Any]:
        """Return the same of a stream that this copy needs. Raises StreamsError if somebody deleted it."""
        config = self.config(name)
        if not config:
            raise stream_compare.gone(name)
        return config

    def mark(self) -> str:
        return configurations.mark_of(self.config(self.name))

    def record(self) -> configurations.Record:
        record = configurations.record_of(streams.info(self.session, self.temporary))
        if record is None:
            raise _errors.StreamsError(
                f"recreate: stream {self.temporary} is gone, or this task did not create it: others work on it.",
                code="not_applied",
            )
        return record

    def is_recreated(self, origin: answers.StreamInfo | None) -> bool:
        """Return True if the origin was created again since the temporary stream was made of it.

        After a restore, the servers of a cluster report different times of creation, all of them before the copy.
        """
        if origin is None or origin["created"] == self.record()["created"]:
            return False
        temporary = streams.info(self.session, self.temporary)
        return temporary is None or moment(origin["created"]) > moment(temporary["created"])

    def check_origin(self) -> None:
        """Raise Incomplete if the origin was created again, since a mirror may then have messages of both."""
        if self.is_recreated(streams.info(self.session, self.name)):
            raise _created_again(self.name)

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
        streams.update(self.session, self.desired)
        return True

    # To the temporary stream

    def begin(self) -> None:
        there, info = self.config(self.temporary), streams.info(self.session, self.name)
        if there:
            trial = configurations.mark_of(there) == configurations.TRIAL
            if not trial and recreate.RECORD not in (there.get("metadata") or {}):
                raise _name_taken(self.temporary)
            if not trial and not (there.get("mirror") and self.is_recreated(info)):
                return
            streams.delete(self.session, self.temporary)
        if info is None:
            raise stream_compare.gone(self.name)
        infos = consumers.list_all(self.session, self.name)
        try_out(self.session, self.desired, infos, copied=True)
        consumer_records = [configurations.remembered(each) for each in configurations.durable(infos)]
        record = configurations.written(info["created"], info["config"], consumer_records)
        streams.create(self.session, self.first_copy(info["config"], record))
        now = streams.info(self.session, self.name)
        before = info.get("ts")
        if now and before and now["created"] != info["created"] and moment(now["created"]) > moment(before):
            # The record describes the deleted stream. From now on, is_recreated notices such a change
            streams.delete(self.session, self.temporary)
            raise _created_again(self.name)

    def first_copy(self, config: Mapping[str, Any], record: str) -> dict[str, Any]:
        """Return the configuration of the stream to which all messages are copied first."""
        return configurations.as_temporary(config, self.desired, record)

    def move_there(self) -> None:
        if self.config(self.temporary).get("mirror"):
            if self.mark() != self.origin_mark:
                self._loosen_origin()
                self._freeze_origin()
            self._complete(self.temporary, self.name, thaw=None)
            self._promote(self.temporary)
        if self.mark() != self.origin_mark:
            return
        there = self.config(self.temporary)
        if configurations.quiet(there):
            self._settle(self.temporary, self.name)
            streams.update(self.session, configurations.as_stand_in(self.record()["config"], there))
        # Its consumers have read more since the record was written
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
        config = self.existing(self.name)
        # Another run may have frozen it and recorded its subjects
        live = None if configurations.quiet(config) else config
        if live:
            self._write_record(configurations.tightened(live, self.record()["config"]), [])
        self._freeze(config, self.origin_mark)
        self._complete(self.temporary, self.name, thaw=live)

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
        infos = configurations.durable(consumers.list_all(self.session, self.name))
        if infos:
            self._write_record(self.record()["config"], [configurations.remembered(info) for info in infos])

    def _check_queue(self) -> None:
        """Check a work queue's consumers. A mirror takes messages that nobody waits for, which spoils the proof."""
        infos = configurations.durable(consumers.list_all(self.session, self.name))
        configurations.check_queue(f"stream {self.name}", self.record()["config"], infos)

    def _write_record(self, config: Mapping[str, Any], consumer_records: list[configurations.Remembered]) -> None:
        there, record = (
            self.config(self.temporary),
            configurations.written(self.record()["created"], config, consumer_records),
        )
        streams.update(self.session, {**there, "metadata": {recreate.RECORD: record}})

    # From the temporary stream

    def move_back(self) -> None:
        there = self.config(self.name)
        if there and configurations.mark_of(there) != configurations.TARGET:
            return
        target = configurations.as_mirror(self.desired, self.name, self.temporary)
        target = configurations.marked_as(target, configurations.TARGET)
        if there and any(there.get(path) != target.get(path) for path in ("storage", "retention")):
            streams.delete(self.session, self.name)  # an earlier run created it for another configuration
            there = {}
        if not there:
            streams.create(self.session, target)
            there = self.config(self.name)
        if there.get("mirror"):
            self._freeze_temporary()
            self._promote(self.name)
        self._settle(self.name, self.temporary)
        self.give_consumers(self.name)
        streams.update(self.session, self.desired)

    def _freeze_temporary(self) -> None:
        config = self.existing(self.temporary)
        if not configurations.quiet(config) or config.get("no_ack"):
            stream_compare.follow(self.session, self.name, self.temporary, self.patience)
            config = self.existing(self.temporary)
            self._freeze(config)
        live = configurations.as_stand_in(self.record()["config"], config)
        self._complete(self.name, self.temporary, thaw=live)

    def give_consumers(self, stream: str) -> None:
        there = {info["name"]: info for info in consumers.list_all(self.session, stream)}
        pause_end = streams.clock_of(streams.info(self.session, stream)) + _PAUSE
        for each in self.record()["consumers"]:
            config, sequence = configurations.consumer_again(each, self.session.server.version)
            name = config["durable_name"]
            if not sequence:
                if name not in there:
                    consumers.create(self.session, stream, config)
                continue
            # It must not deliver before its position is restored
            if name not in there:
                consumers.create(self.session, stream, {**config, "pause_until": f"{pause_end:%Y-%m-%dT%H:%M:%SZ}"})
            elif not there[name].get("paused"):
                continue
            jetstream.call(self.session, *consumers.resetting(stream, name, sequence), again=True)
            jetstream.call(self.session, *consumers.pausing(stream, name, config.get("pause_until")))

    def end(self) -> None:
        old, new = streams.info(self.session, self.temporary), streams.info(self.session, self.name)
        if old is None or new is None:
            return
        config, complete_to = new["config"], old["state"]["last_seq"]
        finished = not (config.get("mirror") or configurations.mark_of(config) or configurations.quiet(config))
        if not finished or not configurations.quiet(old["config"]) or new["state"]["last_seq"] < complete_to:
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

    def _promote(self, name: str) -> None:
        """Make a mirror a stream of its own. Another run may have done that, and brought it further."""
        config = self.existing(name)
        if config.get("mirror"):
            streams.update(self.session, configurations.promoted(config))

    def _settle(self, name: str, origin: str) -> None:
        """Let the copy continue after the last sequence of its origin, even if that message is deleted."""
        last = stream_compare.last_sequence(self.session, origin, configurations.private_subject(origin))
        stream_compare.move_on(self.session, name, configurations.private_subject(name), last)


class _Rename(_Copy):
    """The first half of a copy, whose temporary stream is the final one."""

    def __init__(self, session: sessions.Session, old: str, desired: dict[str, Any], patience: float) -> None:
        super().__init__(session, desired, patience)
        self.name, self.temporary = old, str(desired["name"])
        self.origin_mark = f"{recreate.RENAMED}{self.temporary}"

    def first_copy(self, config: Mapping[str, Any], record: str) -> dict[str, Any]:
        return configurations.as_mirror(self.desired, self.temporary, self.name, metadata={recreate.RECORD: record})

    def end(self) -> None:
        self.give_consumers(self.temporary)
        streams.update(self.session, self.desired)
