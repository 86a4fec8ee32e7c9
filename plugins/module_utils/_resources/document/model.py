# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A document: many resources that are declared together, and what can be said of them before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._options import codecs, fields
from ..._options.mask import MASK, Mask
from .. import origin_filters, resource
from ..kv.bucket import BUCKET
from ..ownership import owner_of
from ..stream import base as stream_base
from ..stream.stream import STREAM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Given = tuple["Kind", int, dict[str, Any], list[str]]
    """An entry of a list: its kind, its place, its options and why Ansible would refuse them."""

STOP, CONTINUE = "stop", "continue"
# Why an item was not tried
DEPENDENCY, STOPPED = "dependency", "stopped"


class Kind(NamedTuple):
    """One of the document's lists: ``option`` is its name, ``noun`` what results call one of its items.

    ``find`` gives the resource, which is imported where the list has items. ``parent`` is the option that names the
    stream or bucket that an item lives in.
    """

    option: str
    noun: str
    find: Callable[[], resource.Resource]
    parent: str = ""
    check: Callable[[Mapping[str, Any]], None] | None = None

    @property
    def definition(self) -> resource.Resource:
        """The resource that defines this kind."""
        return self.find()

    @property
    def prefix(self) -> str:
        """The prefix of its streams' names."""
        return self.definition.prefix if isinstance(self.definition, stream_base.StreamBacked) else ""

    @property
    def arguments(self) -> dict[str, Any]:
        """The options of an item: those of the module for one such resource."""
        return {**self.definition.spec.argument_spec(), **self.definition.states}

    def name_of(self, options: Mapping[str, Any]) -> str:
        """Return the name of an item for results, such as ``ORDERS`` or ``ORDERS/worker``."""
        own = options["key"] if self is KEYS else options["name"]
        return f"{options[self.parent]}/{own}" if self.parent else str(own)


def _consumer() -> resource.Resource:
    from ..consumer.consumer import CONSUMER

    return CONSUMER


def _check_consumer(options: Mapping[str, Any]) -> None:
    from ..consumer.consumer import CONSUMER

    CONSUMER.check_declared(options)


def _governor() -> resource.Resource:
    from ..governor.governor import GOVERNOR

    return GOVERNOR


def _entry() -> resource.Resource:
    from ..kv.entry import ENTRY

    return ENTRY


def _check_entry(options: Mapping[str, Any]) -> None:
    from ..kv.entry_table import check_offline

    check_offline(options)


STREAMS = Kind("streams", "stream", lambda: STREAM)
CONSUMERS = Kind("consumers", "consumer", _consumer, "stream", _check_consumer)
BUCKETS = Kind("kv_buckets", "kv_bucket", lambda: BUCKET)
GOVERNORS = Kind("governors", "governor", _governor)
KEYS = Kind("keys", "key", _entry, "bucket", _check_entry)
# In the order of their lists in results. Consumers and keys, which are in streams, are written in this order too
KINDS = (STREAMS, CONSUMERS, BUCKETS, GOVERNORS, KEYS)
STREAM_KINDS = tuple(kind for kind in KINDS if not kind.parent)

LIST = codecs.Codec({"type": "list", "elements": "dict"})
SPEC = fields.Spec(
    (
        # Lists are checked item by item, so that one error names all faults with their places
        *(fields.Field(kind.option, LIST, argument_extra={"default": [], "no_log": False}) for kind in KINDS),
        fields.Field(
            "owner", codecs.text(r"\S(.{0,126}\S)?", "an owner has up to 128 characters, no space at its ends")
        ),
        fields.Field("prune", codecs.boolean(), argument_extra={"default": False}),
        fields.Field("take_over", codecs.boolean(), argument_extra={"default": False}),
        fields.Field("allow_data_loss", codecs.boolean(), argument_extra={"default": False}),
        fields.Field("on_error", codecs.choice(STOP, CONTINUE), argument_extra={"default": STOP}),
        MASK,
    )
)


@dataclass(eq=False)
class Item:
    """One resource of the document: its desired options, its plan, and its outcome.

    ``index`` is its place in its list, or None if it is pruned because the document does not name it.
    """

    kind: Kind
    index: int | None
    options: dict[str, Any]
    plan: resource.Plan | None = None
    error: _errors.StreamsError | None = None
    written: bool = False
    proven: bool = False
    warnings: list[str] = field(default_factory=list)
    # Of streams: the subjects that it has then, those and the filters of origins that are new to it, and the items that
    # have to be written before
    subjects: tuple[str, ...] = ()
    new_subjects: tuple[str, ...] = ()
    new_filters: tuple[origin_filters.Filter, ...] = ()
    after: list[Item] = field(default_factory=list)

    @property
    def path(self) -> str:
        """The place of the item in the document, such as ``streams[2]``, for errors."""
        return f"{self.kind.option}[{self.index}]" if self.index is not None else f"{self.kind.noun} {self.name}"

    @property
    def name(self) -> str:
        """The name of the item for results."""
        return self.kind.name_of(self.options)

    @cached_property
    def stream(self) -> str:
        """The stream that it is, or that it lives in."""
        if self.kind is KEYS:
            return BUCKET.stream_of({"name": self.options["bucket"]})
        if self.kind is CONSUMERS:
            return str(self.options["stream"])
        return definition_of(self).stream_of(self.options)

    @property
    def absent(self) -> bool:
        """True if the item is to be deleted."""
        return bool(self.options["state"] == "absent")

    @property
    def changes(self) -> bool:
        """True if the plan of the item writes something."""
        return self.plan is not None and self.plan.action != resource.NONE


def is_removal(item: Item) -> bool:
    """Return True if the plan deletes the item."""
    return item.plan is not None and item.plan.action == resource.DELETE


def is_written(error: _errors.StreamsError | None) -> bool:
    """Return True if a write is done, or may be done, by its error."""
    return error is None or error.failure.get("code") in _errors.WRITTEN


def is_recreated(item: Item | None) -> bool:
    """Return True if a stream is deleted and created again without its messages."""
    return item is not None and item.plan is not None and item.plan.action == resource.RECREATE


def definition_of(item: Item) -> stream_base.StreamBacked:
    """Return the resource of an item that is a stream."""
    if not isinstance(item.kind.definition, stream_base.StreamBacked):
        raise TypeError(f"{item.path} is not a stream")
    return item.kind.definition


@dataclass
class Document:
    """All items with what holds for the whole. ``planned`` are the streams of the document by their names."""

    items: list[Item]
    mask: Mask
    owner: str = ""
    prune: bool = False
    take_over: bool = False
    allow_data_loss: bool = False
    on_error: str = STOP
    failed: bool = False
    streams: dict[str, Item] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Mapping[str, Any], given: Iterable[Given]) -> Document:
        """Return the document of a task. Raises Problems with all faults that can be found without a server."""
        problems = [Problem("", error) for error in resource.invalid(SPEC, options)]
        for option in ("prune", "take_over"):
            if options[option] and not options["owner"]:
                problems.append(
                    Problem(
                        "", _errors.OptionError("owner", f"is needed with {option}: name the owner of this document.")
                    )
                )
        document = cls([], Mask(options["mask"]), options["owner"] or "")
        document.prune, document.take_over = options["prune"], options["take_over"]
        document.allow_data_loss, document.on_error = options["allow_data_loss"], options["on_error"]
        for kind, index, parameters, refusals in given:
            item = Item(kind, index, parameters)
            wrong = [_errors.StreamsError(f"{text.rstrip('.')}.", code="option") for text in refusals]
            wrong = wrong or list(_wrong(item))
            problems += [Problem(item.path, error) for error in wrong]
            document.items.append(item)
        if problems:
            raise Problems(problems)
        check_duplicates(document.items)
        for item in document.of_kind(*STREAM_KINDS):
            document.streams[item.stream] = item
        for item in document.of_kind(*STREAM_KINDS, CONSUMERS):
            item.options["owner"] = document.owner
        for item in document.of_kind(KEYS):
            item.options["mask"] = document.mask
        return document

    def add(self, item: Item) -> None:
        """Add an item that the document does not name, which pruning deletes."""
        self.items.append(item)
        if not item.kind.parent:
            self.streams[item.stream] = item

    @property
    def renamed(self) -> dict[str, Item]:
        """The streams that are to be renamed, by their old names."""
        return _renamed(self.items)

    def of_kind(self, *kinds: Kind) -> Iterator[Item]:
        """Return the items of these kinds."""
        return (item for item in self.items if any(item.kind is kind for kind in kinds))

    def has(self, kind: Kind) -> bool:
        """Return True if there is an item of this kind."""
        return any(item.kind is kind for item in self.items)

    def check_owner(self, item: Item, info: Mapping[str, Any] | None) -> None:
        """Raise Refused if the present resource belongs to another owner."""
        there = owner_of(info["config"]) if info else ""
        if self.owner and there not in ("", self.owner) and not self.take_over:
            raise _errors.Refused(
                f"{item.kind.noun} {item.name} belongs to the owner '{there}': leave it out of this document, or set "
                "take_over: true if it is to be yours.",
                code="other_owner",
                option="take_over",
                owner=there,
            )


@dataclass(frozen=True)
class Problem:
    """The fault of an item, or of the document if ``path`` is empty."""

    path: str
    error: _errors.StreamsError

    @property
    def text(self) -> str:
        """The problem as one sentence that begins with its place."""
        if not self.path:
            return self.error.message
        option = self.error.failure.get("option")
        names_it = bool(option) and self.error.message.startswith(f"{option}: ")
        return f"{self.path}{'.' if names_it else ': '}{self.error.message}"

    @property
    def report(self) -> dict[str, Any]:
        """The problem for results."""
        return {"path": self.path, "message": self.text, **self.error.failure}


class Problems(_errors.StreamsError):
    """Why a document can't be brought about. Nothing was written."""

    _SHOWN = 20

    def __init__(self, problems: Iterable[Problem]) -> None:
        listed = list(problems)
        lines = [f"- {problem.text}" for problem in listed[: self._SHOWN]]
        if len(listed) > self._SHOWN:
            lines.append(f"- and {len(listed) - self._SHOWN} more, which failure.problems has")
        some = "a problem" if len(listed) == 1 else f"{len(listed)} problems"
        super().__init__(
            "\n".join([f"The document has {some}, so that nothing was written:", *lines]),
            code="document",
            problems=[problem.report for problem in listed],
        )


def check_duplicates(items: list[Item]) -> None:
    """Raise Problems if two items are the same resource, also if one is a stream and one a bucket."""
    first_items: dict[tuple[str, str], Item] = {}
    problems = []
    for item in items:
        same = (item.stream, f"{item.kind.noun} {item.name}" if item.kind.parent else "")
        first = first_items.setdefault(same, item)
        if first is not item:
            what = f"{item.kind.noun} {item.name}" if item.kind.parent else f"stream {item.stream}"
            twice = f"{what} is in the document twice, see {first.path}: keep one."
            error = _errors.StreamsError(twice, code="duplicate")
            problems.append(Problem(item.path, error))
    renamed = _renamed(items)
    for item in items:
        if item.stream in renamed:
            reason = (
                f"stream {item.stream} is renamed by {renamed[item.stream].path}: use the new name, or leave this out."
            )
            problems.append(Problem(item.path, _errors.StreamsError(reason, code="duplicate")))
    if problems:
        raise Problems(problems)


def _renamed(items: Iterable[Item]) -> dict[str, Item]:
    return {
        item.options["renamed_from"]: item
        for item in items
        if item.kind is STREAMS and item.options.get("renamed_from") and not item.absent
    }


def _wrong(item: Item) -> Iterator[_errors.StreamsError]:
    """Yield all faults of an item's options."""
    invalid = False
    for error in resource.invalid(item.kind.definition.spec.merge(item.kind.definition.checks), item.options):
        invalid = True
        yield error
    if not invalid and item.kind.check:
        try:
            item.kind.check(item.options)
        except _errors.OptionError as error:
            yield error
