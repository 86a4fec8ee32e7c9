# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of streams, buckets and governors. Their rows are in ``stream/table.py`` and ``shared_fields.py``."""

from __future__ import annotations


class ModuleDocFragment:
    # Options of every resource that is a stream
    DOCUMENTATION = r"""
options:
  state:
    description: Whether it should exist with the given options. Options that are left out stay as they are.
    type: str
    choices: [present, absent]
    default: present
  replicas:
    description: >-
      How many servers of the cluster keep a copy, 1 to 5. Can be changed in place, and data is kept. 1 for a new one.
    type: int
  wait:
    description:
      - Whether to wait until all copies are current, if the servers that keep them change.
      - The server accepts one such change at a time. With several, each starts when the one before is complete.
    type: bool
    default: true
  wait_timeout:
    description: >-
      How long O(wait) waits for one change, as seconds or text such as V(5m). After that the task fails, and the server
      continues.
    type: str
    default: 5m
"""

    # Options that streams and buckets share
    DATA = r"""
options:
  allow_data_loss:
    description:
      - Whether a change may delete messages, such as deleting a stream that is not empty, or lowering a limit below the
        number of stored messages.
      - Without it such a change fails, in check mode too, and the error has the number of messages that would be lost.
    type: bool
    default: false
  exact:
    description:
      - Whether options that are left out go back to their defaults. Without it they stay as they are.
      - If an option can't go back, the task fails and names it. Options that only have an effect at creation stay, and
        so does the mark of the owner of a document in the metadata.
      - It does not end a mirror, unless O(mirror) is V({}).
    type: bool
    default: false
  wait_for_origins:
    description:
      - Whether to wait, at most O(wait_timeout), until the origin of the mirror, or of each source, has answered and
        all its messages are copied. It waits even if nothing changes.
      - A document waits only if the resource changes.
      - Without it an origin that never answered is a warning.
    type: bool
    default: false
  recreate:
    description:
      - What to do if an option changes that can't be changed in place, such as O(storage).
      - V(false) refuses the change, and names the option.
      - V(copy) copies all messages to a temporary stream, creates the stream again and copies them back. Sequences,
        times and headers of messages stay, and durable consumers continue at their positions. Others may publish
        meanwhile. Twice, for a moment, no stream accepts their messages. Unacknowledged messages have to be published
        again. Needs nats-server 2.12. An impossible copy is refused before the stream is changed. An interrupted task
        continues when it runs again.
      - With V(copy), a single server remembers the ids of copied messages for
        O(choria.streams.choria_stream#module:duplicate_window). The servers of a cluster forget them, so that a message
        that is published again after the copy is stored twice.
      - V(true) deletes the stream and creates it again without its messages and consumers. If there are messages, this
        needs O(allow_data_loss).
    type: str
    choices: ['false', 'true', copy]
    default: 'false'
  description:
    description: A text of up to 4 KiB for people. Empty for a new one.
    type: str
  storage:
    description: Where messages are kept. Can be changed with O(recreate). V(file) for a new one.
    type: str
    choices: [file, memory]
  metadata:
    description: >-
      Labels, text to text. Keys that begin with V(_nats.) are the server's own, and never a difference. Empty for a new
      one.
    type: dict
  placement:
    description: >-
      The servers that may hold it, V({}) for any. A change moves the data. See O(wait) for a change together with
      O(replicas). By default any server.
    type: dict
    suboptions:
      cluster:
        description: The name of the cluster. Any cluster if not set.
        type: str
      tags:
        description: Tags that servers must have. Any server if not set.
        type: list
        elements: str
  mirror:
    description: >-
      Make it a copy of another one. Adding or changing a mirror needs O(recreate=true). V({}) ends the mirror, and
      keeps its messages (nats-server 2.12). No mirror for a new one.
    type: dict
    suboptions:
      name:
        description:
          - The name of the origin. Needed for a mirror.
          - In a bucket it is the name of a bucket, or with O(mirror.subject_transforms), also with V([]), that of any
            stream.
        type: str
      opt_start_seq:
        description: >-
          The sequence number in the origin to begin with. By default the first, or what O(mirror.opt_start_time) says.
        type: int
      opt_start_time:
        description: >-
          The time in the origin to begin with, as RFC 3339 text. By default that of the first message, or what
          O(mirror.opt_start_seq) says.
        type: str
      filter_subject: &filter_subject
        description:
          - Take only messages on this subject, which may hold wildcards.
          - For a bucket it is a key such as V(app.>), or a subject such as V($KV.CFG.app.>). A filter that can't match
            a key is refused.
          - A new filter that matches neither a subject of an origin in this account nor a message that it holds is
            refused.
          - All messages if not set.
        type: str
      external: &external
        description: The place of an origin in another account or JetStream domain. This account if not set.
        type: dict
        suboptions:
          api:
            description: The prefix of the JetStream API there, such as V($JS.hub.API).
            type: str
            required: true
          deliver:
            description: >-
              The prefix of the subjects on which its messages are delivered. The server's own prefix if not set.
            type: str
      subject_transforms: &subject_transforms
        description: Rewrite subjects while taking messages. Subjects stay as they are if not set.
        type: list
        elements: dict
        suboptions:
          src:
            description: The subjects to rewrite. All subjects if not set.
            type: str
          dest:
            description: >-
              What they become, such as V(copy.{{wildcard(1\)}}). If not set, the messages are taken under their own
              subjects.
            type: str
      consumer: &consumer
        description: >-
          A durable consumer of the origin to read through (nats-server 2.14). The server makes one of its own if not
          set.
        type: dict
        suboptions:
          name:
            description: The consumer's name.
            type: str
            required: true
          deliver_subject:
            description: The subject on which it delivers. Needed.
            type: str
  sources:
    description: Collect the messages of others. No sources for a new one.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - The name of the origin.
          - In a bucket it is the name of a bucket, whose keys become keys of this one. With
            O(sources[].subject_transforms) it is the name of any stream, and nothing is added; V([]) takes its subjects
            as they are.
        type: str
        required: true
      opt_start_seq:
        description: >-
          The sequence number in the origin to begin with. By default the first, or what O(sources[].opt_start_time)
          says.
        type: int
      opt_start_time:
        description: >-
          The time in the origin to begin with, as RFC 3339 text. By default that of the first message, or what
          O(sources[].opt_start_seq) says.
        type: str
      filter_subject: *filter_subject
      external: *external
      subject_transforms: *subject_transforms
      consumer: *consumer
  republish:
    description: >-
      Publish each stored message again on another subject, for plain subscribers. V({}) ends it. Off for a new one.
    type: dict
    suboptions:
      src:
        description: The subjects to publish again. All subjects if not set.
        type: str
      dest:
        description: The subject to publish on, which may not be one of the stream's own. Needed.
        type: str
      headers_only:
        description: Send the headers without the payload. The payload is sent too if not set.
        type: bool
"""

    # Features of a stream's messages
    FEATURES = r"""
options:
  allow_rollup_hdrs:
    description: Let a message with the header C(Nats-Rollup) replace all earlier ones. Off for a new stream.
    type: bool
  allow_msg_ttl:
    description: >-
      Let messages have their own C(Nats-TTL). Needs nats-server 2.11. Can't be turned off. Off for a new stream.
    type: bool
  subject_delete_marker_ttl:
    description: >-
      When O(max_age) deletes the last message of a subject, leave a marker for this long. Needs nats-server 2.11. No
      markers for a new stream.
    type: str
  allow_msg_counter:
    description: >-
      Make each subject a counter. Needs nats-server 2.12. A change needs O(recreate=true). Off for a new stream.
    type: bool
  allow_atomic:
    description: Let several messages be published as one. Needs nats-server 2.12. Off for a new stream.
    type: bool
  allow_batched:
    description: Let messages be published in fast batches. Needs nats-server 2.14. Off for a new stream.
    type: bool
  allow_msg_schedules:
    description: >-
      Let messages be scheduled. Needs nats-server 2.12. Turns on O(allow_rollup_hdrs) as well. Can't be turned off. Off
      for a new stream.
    type: bool
"""

    # Protection against changes
    PROTECTION = r"""
options:
  sealed:
    description:
      - Allow no further change of the messages. Only for an existing stream. Can't be turned off.
      - The server then sets O(max_age=0), O(discard=new), O(deny_delete=true), O(deny_purge=true) and
        O(allow_rollup_hdrs=false).
      - A new stream is not sealed.
    type: bool
  deny_delete:
    description: Refuse to delete single messages. Can't be turned off. Off for a new stream.
    type: bool
  deny_purge:
    description: Refuse to purge the stream. Can't be turned off. Off for a new stream.
    type: bool
"""

    # How much a stream keeps, and what happens then
    LIMITS = r"""
options:
  max_consumers:
    description: >-
      How many consumers there may be, -1 for no limit. Can be changed with nats-server 2.12. No limit for a new stream.
    type: int
  max_msgs:
    description: How many messages are kept, -1 for no limit. No limit for a new stream.
    type: int
  max_bytes:
    description: >-
      How many bytes are kept, as a number or text such as V(10GiB), -1 for no limit. No limit for a new stream.
    type: str
  max_msgs_per_subject:
    description: How many messages are kept for each subject, -1 for no limit. No limit for a new stream.
    type: int
  max_age:
    description: >-
      How long messages are kept, as seconds or text such as V(7d) or V(1h30m), 0 for ever. For ever in a new stream.
    type: str
  max_msg_size:
    description: >-
      How large a message may be, as bytes or text such as V(64KiB), -1 for no limit. No limit for a new stream.
    type: str
  discard:
    description: >-
      What happens when a limit is reached. V(old) deletes the oldest messages, V(new) refuses new ones. V(old) for a
      new stream.
    type: str
    choices: [old, new]
  discard_new_per_subject:
    description: >-
      Refuse new messages also when O(max_msgs_per_subject) is reached. Needs O(discard=new). Off for a new stream.
    type: bool
"""
