# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of messages: which are read, and how one is published.

Their rows are in ``selection.py`` and ``outgoing.py`` of ``module_utils/_operations/messages``.
"""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  subject:
    description:
      - Only messages on this subject, perhaps with wildcards, V(*) for one word and V(>) for one or more at its end.
      - All subjects if not set.
    type: str
  sequence:
    description: >-
      The one message with this sequence number. Not with the others that select messages. If not set, the other options
      select.
    type: int
  start_sequence:
    description: >-
      The messages from this sequence number on; V(1) means all that the stream holds. Not with O(since) and O(last). If
      not set, the other options select.
    type: int
  since:
    description:
      - The messages that were stored since then.
      - A time is written as RFC 3339, such as V(2026-03-01T12:00:00Z); a duration before now as V(90s), V(1h) or V(7d).
      - If not set, the other options select.
    type: str
  last:
    description: >-
      This many of the newest messages, at most 100,000. Not with O(since) and O(limit). If not set, the other options
      select.
    type: int
  limit:
    description: At most this many, the oldest first, and at most 100,000. Without it, more messages are an error.
    type: int
"""

    # Options of a published message besides its payload
    OUTGOING = r"""
options:
  headers:
    description:
      - Headers of the message, text to text. Only the result shows their values, as with O(data).
      - C(Nats-Rollup) deletes the messages before this one, and needs O(allow_data_loss).
      - For a header that has its own option here, such as C(Nats-Msg-Id), use the option. None by default.
    type: dict
  msg_id:
    description:
      - A text that identifies this message, sent as C(Nats-Msg-Id).
      - The stream stores it once within its O(choria.streams.choria_stream#module:duplicate_window), so that a task
        which is run again, or whose acknowledgement was lost, changes nothing.
      - Without it each run stores another message.
    type: str
  ttl:
    description:
      - How long the message is kept, as seconds or text such as V(90s) or V(1h), at least a second.
      - Needs nats-server 2.11 and a stream with O(choria.streams.choria_stream#module:allow_msg_ttl). Servers count
        whole seconds.
      - If not set, as long as the stream keeps messages.
    type: str
  increment:
    description:
      - Add this whole number to the counter of O(subject), in place of O(data). It may be negative.
      - Each run adds it again, unless O(msg_id) is the same.
      - Needs nats-server 2.12 and a stream with O(choria.streams.choria_stream#module:allow_msg_counter).
      - Without it O(data) is published.
    type: str
"""

    # Publish later
    SCHEDULE = r"""
options:
  schedule:
    description:
      - Let the server publish O(data) to another subject later, once or repeatedly. The schedule itself is stored on
        O(subject).
      - The same schedule is no change, nor is one whose O(schedule.at) is in the past. A changed schedule replaces the
        one on O(subject).
      - Needs nats-server 2.12 and a stream with O(choria.streams.choria_stream#module:allow_msg_schedules).
      - Without it the message is published at once.
    type: dict
    suboptions:
      at:
        description: >-
          The moment, as RFC 3339 text. One of O(schedule.at), O(schedule.every) and O(schedule.cron). Left out where
          one of the others is set.
        type: str
      every:
        description: >-
          How often, as seconds or text such as V(5m), at least a second (nats-server 2.14). Left out where one of the
          others is set.
        type: str
      cron:
        description: >-
          When, as six fields of which the first are seconds, or as V(@hourly) (nats-server 2.14). Left out where one of
          the others is set.
        type: str
      time_zone:
        description: The time zone of O(schedule.cron), such as V(Europe/Berlin). UTC if not set.
        type: str
      target:
        description: The subject to publish to, another one of the same stream. Needed.
        type: str
      ttl:
        description: >-
          How long each published message is kept, as O(ttl). If not set, as long as the stream keeps messages.
        type: str
"""

    # Publish on conditions
    EXPECTED = r"""
options:
  expected_last_sequence:
    description: >-
      Publish only if the last message of the stream has this sequence number, 0 for a stream without any. Not checked
      if not set.
    type: int
  expected_last_subject_sequence:
    description: >-
      Publish only if the last message on O(subject) has this sequence number, 0 for a subject without any. Not checked
      if not set.
    type: int
  expected_last_msg_id:
    description:
      - Publish only if the last message of the stream was published with this O(msg_id).
      - Only for streams with one copy. With several copies it is refused, because a failed expectation while others
        publish would put the stream out of service. O(expected_last_sequence) and O(expected_last_subject_sequence) are
        safe with all streams.
      - Not checked if not set.
    type: str
"""

    # Publish several at once
    SEVERAL = r"""
options:
  messages:
    description:
      - Publish these messages, in place of O(subject) and O(data), in this order.
      - The stream stores all of them or none, unless O(atomic) is V(false).
      - O(encoding), O(stream) and O(allow_data_loss) apply to all of them. One message by default.
    type: list
    elements: dict
    suboptions:
      subject:
        description: As O(subject).
        type: str
        required: true
      data:
        description: As O(data). Needed unless it is an O(messages[].increment).
        type: raw
      headers:
        description: As O(headers). None by default.
        type: dict
      msg_id:
        description: As O(msg_id). Only with O(atomic=false). None by default.
        type: str
      ttl:
        description: As O(ttl). If not set, as long as the stream keeps messages.
        type: str
      increment:
        description: As O(increment). Without it O(messages[].data) is published.
        type: str
      expected_last_sequence:
        description: >-
          As O(expected_last_sequence). Only for the first message, unless O(atomic=false). Not checked if not set.
        type: int
      expected_last_subject_sequence:
        description: >-
          As O(expected_last_subject_sequence). Without O(atomic=false) it is that of the time before all of the
          messages. Not checked if not set.
        type: int
  atomic:
    description:
      - Whether the stream stores all O(messages) or none. The default is V(true).
      - With V(true) all of them go to one stream, which needs O(choria.streams.choria_stream#module:allow_atomic). At
        most 1,000 messages. Needs nats-server 2.12.
      - With V(false) each message is stored independently, also in different streams and in any number. They are sent
        without waiting for each other, so many messages take little more time than one.
      - All messages are checked before the first one is sent. If a stream still refuses some of them, the others are
        stored, and RV(messages) has both.
      - A message that no server accepted at first, such as during the election of a leader, is stored after the others.
    type: bool
"""
