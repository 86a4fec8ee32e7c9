# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shapes of JetStream's answers, after nats-server's server/stream.go, consumer.go and jetstream_api.go.

A class whose name ends with ``Needs`` has the keys that nats-server always sends. Unused keys are left out, and not
checked.
"""

# The checks need types. Annotations as texts, by __future__, would be compiled again when the classes are made.
# Python 3.9 evaluates the annotations
from typing import Optional, TypedDict

from .._options import shapes


class Transform(TypedDict, total=False):
    src: str
    dest: str


class External(TypedDict, total=False):
    api: str
    deliver: str


class SourceConsumer(TypedDict, total=False):
    name: str
    deliver_subject: str


class Source(TypedDict, total=False):
    name: str
    opt_start_seq: shapes.Count
    opt_start_time: Optional[shapes.Time]
    filter_subject: str
    external: Optional[External]
    subject_transforms: Optional[list[Transform]]
    consumer: Optional[SourceConsumer]


class Placement(TypedDict, total=False):
    cluster: str
    tags: Optional[list[str]]


class Republish(TypedDict, total=False):
    src: str
    dest: str
    headers_only: bool


class ConsumerLimits(TypedDict, total=False):
    inactive_threshold: int
    max_ack_pending: int


class StreamConfigNeeds(TypedDict):
    name: shapes.Name
    retention: shapes.Name
    max_consumers: int
    max_msgs: int
    max_bytes: int
    max_msgs_per_subject: int
    max_age: int
    storage: shapes.Name
    num_replicas: int
    discard: shapes.Name


class StreamConfig(StreamConfigNeeds, total=False):
    description: str
    subjects: Optional[list[str]]
    max_msg_size: int
    compression: str
    first_seq: shapes.Count
    no_ack: bool
    discard_new_per_subject: bool
    duplicate_window: int
    placement: Optional[Placement]
    mirror: Optional[Source]
    sources: Optional[list[Source]]
    subject_transform: Optional[Transform]
    republish: Optional[Republish]
    allow_direct: bool
    mirror_direct: bool
    sealed: bool
    deny_delete: bool
    deny_purge: bool
    allow_rollup_hdrs: bool
    consumer_limits: Optional[ConsumerLimits]
    metadata: Optional[dict[str, str]]
    allow_msg_ttl: bool
    subject_delete_marker_ttl: int
    allow_msg_counter: bool
    allow_atomic: bool
    allow_batched: bool
    allow_msg_schedules: bool
    persist_mode: str


class StreamStateNeeds(TypedDict):
    messages: shapes.Count
    bytes: shapes.Count
    first_seq: shapes.Count
    first_ts: shapes.Time
    last_seq: shapes.Count
    last_ts: shapes.Time
    consumer_count: shapes.Count


class StreamState(StreamStateNeeds, total=False):
    num_subjects: shapes.Count
    subjects: Optional[dict[str, shapes.Count]]
    num_deleted: shapes.Count
    deleted: Optional[list[shapes.Count]]


class Peer(TypedDict, total=False):
    name: str
    current: bool
    offline: bool
    active: int
    lag: shapes.Count


class MoveStatus(TypedDict, total=False):
    description: str


class Move(TypedDict, total=False):
    status: Optional[MoveStatus]


class Cluster(TypedDict, total=False):
    name: str
    leader: str
    replicas: Optional[list[Peer]]
    desired: Optional[Move]


class ApiError(TypedDict, total=False):
    code: int
    err_code: shapes.Count
    description: str


class SourceInfoNeeds(TypedDict):
    name: str
    lag: shapes.Count
    active: int


class SourceInfo(SourceInfoNeeds, total=False):
    """``active`` is nanoseconds since the last contact, below 0 for never."""

    error: Optional[ApiError]
    external: Optional[External]


class StreamInfoNeeds(TypedDict):
    config: StreamConfig
    created: shapes.Time
    state: StreamState


class StreamInfo(StreamInfoNeeds, total=False):
    """Of STREAM.INFO, CREATE, UPDATE, and the end of a restore. ``total`` is the number of selected subjects."""

    total: shapes.Count
    cluster: Optional[Cluster]
    mirror: Optional[SourceInfo]
    sources: Optional[list[SourceInfo]]
    ts: shapes.Time


class ConsumerConfigNeeds(TypedDict):
    deliver_policy: shapes.Name
    ack_policy: shapes.Name
    replay_policy: shapes.Name


class ConsumerConfig(ConsumerConfigNeeds, total=False):
    durable_name: str
    name: str
    description: str
    opt_start_seq: shapes.Count
    opt_start_time: Optional[shapes.Time]
    ack_wait: int
    max_deliver: int
    backoff: Optional[list[int]]
    filter_subject: str
    filter_subjects: Optional[list[str]]
    deliver_subject: str
    deliver_group: str
    rate_limit_bps: shapes.Count
    flow_control: bool
    idle_heartbeat: int
    sample_freq: str
    max_waiting: int
    max_ack_pending: int
    headers_only: bool
    max_batch: int
    max_expires: int
    max_bytes: int
    inactive_threshold: int
    num_replicas: int
    mem_storage: bool
    metadata: Optional[dict[str, str]]
    pause_until: Optional[shapes.Time]
    priority_policy: str
    priority_groups: Optional[list[str]]
    priority_timeout: int


class PositionNeeds(TypedDict):
    consumer_seq: shapes.Count
    stream_seq: shapes.Count


class Position(PositionNeeds, total=False):
    last_active: Optional[shapes.Time]


class PriorityGroupNeeds(TypedDict):
    group: str


class PriorityGroup(PriorityGroupNeeds, total=False):
    pinned_client_id: str
    pinned_ts: Optional[shapes.Time]


class ConsumerInfoNeeds(TypedDict):
    stream_name: shapes.Name
    name: shapes.Name
    created: shapes.Time
    config: ConsumerConfig
    delivered: Position
    ack_floor: Position
    num_ack_pending: shapes.Count
    num_redelivered: shapes.Count
    num_waiting: shapes.Count
    num_pending: shapes.Count


class ConsumerInfo(ConsumerInfoNeeds, total=False):
    """Of CONSUMER.INFO, CREATE and RESET."""

    cluster: Optional[Cluster]
    ts: shapes.Time
    push_bound: bool
    paused: bool
    pause_remaining: int
    priority_groups: Optional[list[PriorityGroup]]


class PageNeeds(TypedDict):
    total: shapes.Count


class Page(PageNeeds, total=False):
    """``missing`` names the streams or consumers whose leaders did not answer the server."""

    missing: Optional[list[shapes.Name]]


class Names(Page, total=False):
    streams: Optional[list[shapes.Name]]


class StreamList(Page, total=False):
    streams: Optional[list[StreamInfo]]


class ConsumerList(Page, total=False):
    consumers: Optional[list[ConsumerInfo]]


class Done(TypedDict):
    success: shapes.Yes


class Purged(Done):
    purged: shapes.Count


class Paused(TypedDict):
    paused: bool


class Empty(TypedDict, total=False):
    pass


class MessageNeeds(TypedDict):
    subject: shapes.Name
    seq: shapes.Positive
    time: shapes.Time


class Message(MessageNeeds, total=False):
    data: Optional[shapes.Base64]
    hdrs: Optional[shapes.Base64]


class StoredMessage(TypedDict):
    message: Message


class Snapshot(TypedDict):
    config: StreamConfig
    state: StreamState


class RestoreBegun(TypedDict, total=False):
    """The answer to STREAM.RESTORE.

    Servers whose leader dies at that moment may create the stream, empty, and answer with ``created`` (nats-server
    2.14).
    """

    deliver_subject: shapes.Name
    created: shapes.Time


class PubAckNeeds(TypedDict):
    stream: shapes.Name
    seq: shapes.Positive


class PubAck(PubAckNeeds, total=False):
    """The acknowledgement of a published message."""

    duplicate: bool
    domain: str
    val: shapes.Number
    batch: str
    count: shapes.Count


class _FailureNeeds(TypedDict):
    code: int


class Failure(_FailureNeeds, total=False):
    err_code: shapes.Count
    description: str
