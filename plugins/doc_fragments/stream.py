# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that resources made of a stream share. Their rows are in ``module_utils/_resources/stream/stream.py``."""

from __future__ import annotations


class ModuleDocFragment:
    # What each resource that is a stream has
    DOCUMENTATION = r"""
options:
  state:
    description: Whether it is to exist, with the options given. Options that are left out stay as they are.
    type: str
    choices: [present, absent]
    default: present
  replicas:
    description: >-
      How many servers of the cluster keep a copy, 1 to 5. Can be changed in place, and data is kept. 1 for a new one.
    type: int
  wait:
    description:
      - Whether to wait until all copies are current, where the servers that keep them change.
      - It takes one such change after the other, each when the one before is complete, since the server refuses them
        together.
    type: bool
    default: true
  wait_timeout:
    description: >-
      How long O(wait) waits for one change, as seconds or text such as V(5m). After that the task fails, and the server
      goes on.
    type: str
    default: 5m
"""

    # What streams and buckets have in common
    DATA = r"""
options:
  allow_data_loss:
    description:
      - Whether a change may delete messages, such as deleting what is not empty, or lowering a limit below what is
        stored.
      - Without it such a change fails, in check mode too, and the error has the number of messages that would be lost.
    type: bool
    default: false
  exact:
    description:
      - Whether options that are left out go back to their defaults. Without it they stay as they are.
      - What can't go back is refused, and named. What counts only at creation stays, and so does the mark of the owner
        of a document in its metadata.
      - It does not end a mirror, unless that is asked for.
    type: bool
    default: false
  wait_for_origins:
    description:
      - Whether to wait, at most O(wait_timeout), until a mirror or each source was heard of and has no lag, also where
        nothing changes.
      - A document waits where the resource changes.
      - Without it an origin that was never heard of is a warning.
    type: bool
    default: false
  recreate:
    description:
      - What to do where an option differs that can't be changed in place, such as O(storage).
      - V(false) refuses the change, and names the option.
      - >-
        V(copy) copies all messages to a temporary stream, makes the stream anew and copies them back. Sequences, times,
        headers and ids of messages stay, and durable consumers go on where they were. Others may publish meanwhile;
        twice for a moment nobody takes their messages, and what is not acknowledged has to be published again. Needs
        nats-server 2.12. What can't be copied is refused before the stream is changed. When such a task is interrupted,
        run it again, and it goes on.
      - V(true) deletes the stream and makes it anew without its messages and consumers. O(allow_data_loss) has to allow
        that where there are messages.
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
      Which servers may hold it, V({}) for any. A change moves the data, O(wait) tells how it goes with O(replicas). Any
      server for a new one.
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
      Make it a copy of another one. Can be added or changed with O(recreate=true) alone, but ended with V({}), which
      makes it one of its own (nats-server 2.12). No mirror for a new one.
    type: dict
    suboptions:
      name:
        description:
          - The name of the origin. Needed for a mirror.
          - >-
            In a bucket it is the name of a bucket, or with O(mirror.subject_transforms), also with V([]), that of any
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
      filter_subject:
        description:
          - Take only messages on this subject, which may hold wildcards.
          - >-
            Of a bucket these are keys, such as V(app.>), or subjects such as V($KV.CFG.app.>). What can't match a key
            is refused.
          - >-
            A new filter that matches neither a subject of an origin in this account nor a message that it holds is
            refused.
          - All messages if not set.
        type: str
      external:
        description: Where the origin lies in another account or JetStream domain. An origin in this account if not set.
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
      subject_transforms:
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
      consumer:
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
          - >-
            In a bucket it is the name of a bucket, whose keys become keys of this one. With
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
      filter_subject:
        description:
          - Take only messages on this subject, which may hold wildcards.
          - >-
            Of a bucket these are keys, such as V(app.>), or subjects such as V($KV.CFG.app.>). What can't match a key
            is refused.
          - >-
            A new filter that matches neither a subject of an origin in this account nor a message that it holds is
            refused.
          - All messages if not set.
        type: str
      external:
        description: Where the origin lies in another account or JetStream domain. An origin in this account if not set.
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
      subject_transforms:
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
      consumer:
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
  republish:
    description: >-
      Publish each stored message again on another subject, for plain subscribers. V({}) ends it. Nothing is published
      again for a new one.
    type: dict
    suboptions:
      src:
        description: The subjects to publish again; all where it is left out.
        type: str
      dest:
        description: The subject to publish on, which may not be one of the stream's own. Needed.
        type: str
      headers_only:
        description: Send the headers without the payload. The payload is sent too if not set.
        type: bool
"""

    # What the messages of a stream may do
    FEATURES = r"""
options:
  allow_rollup_hdrs:
    description: Let a message with the header C(Nats-Rollup) replace all earlier ones. Off for a new stream.
    type: bool
  allow_msg_ttl:
    description: >-
      Let messages carry their own C(Nats-TTL). Needs nats-server 2.11. Can't be taken back. Off for a new stream.
    type: bool
  subject_delete_marker_ttl:
    description: >-
      Leave a marker for this long where O(max_age) deleted the last message of a subject. Needs nats-server 2.11. No
      markers for a new stream.
    type: str
  allow_msg_counter:
    description: >-
      Make each subject a counter. Needs nats-server 2.12. Can be changed with O(recreate=true) alone. Off for a new
      stream.
    type: bool
  allow_atomic:
    description: Let several messages be published as one. Needs nats-server 2.12. Off for a new stream.
    type: bool
  allow_batched:
    description: Let messages be published in fast batches. Needs nats-server 2.14. Off for a new stream.
    type: bool
  allow_msg_schedules:
    description: >-
      Let messages be scheduled. Needs nats-server 2.12. Turns on O(allow_rollup_hdrs) as well. Can't be taken back. Off
      for a new stream.
    type: bool
"""

    # What nobody may change any more
    PROTECTION = r"""
options:
  sealed:
    description:
      - Allow no change of the messages any more. Can only be set on a stream that exists, and never be taken back.
      - The server then sets O(max_age=0), O(discard=new), O(deny_delete=true) and O(deny_purge=true).
      - A new stream is not sealed.
    type: bool
  deny_delete:
    description: Refuse to delete single messages. Can't be taken back. Off for a new stream.
    type: bool
  deny_purge:
    description: Refuse to purge the stream. Can't be taken back. Off for a new stream.
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
      What happens when a limit is reached, V(old) deletes the oldest messages, V(new) refuses new ones. V(old) for a
      new stream.
    type: str
    choices: [old, new]
  discard_new_per_subject:
    description: >-
      Refuse new messages also when O(max_msgs_per_subject) is reached. Needs O(discard=new). Off for a new stream.
    type: bool
"""
