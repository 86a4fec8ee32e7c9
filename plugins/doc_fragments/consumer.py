# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of consumers. Their rows are in ``module_utils/_resources/consumer/table.py``."""

from __future__ import annotations


class ModuleDocFragment:
    # For push consumers
    PUSH = r"""
options:
  deliver_subject:
    description:
      - The subject to deliver on, which makes it a push consumer. Without it, it is a pull consumer.
      - It can be changed to another subject while no client listens.
    type: str
  deliver_group:
    description: The queue group whose members share the messages. For push consumers. No group for a new consumer.
    type: str
  rate_limit_bps:
    description: >-
      How many bits are delivered in a second at most, 0 for no limit. For push consumers. No limit for a new consumer.
    type: int
  flow_control:
    description: >-
      Let the receiver slow down the delivery. Needs O(idle_heartbeat). For push consumers. Can't be changed in place.
      Off for a new consumer.
    type: bool
  idle_heartbeat:
    description: >-
      How long after the last message to send a heartbeat, as seconds or text such as V(5s), 0 for never. For push
      consumers. Can't be changed in place. Never for a new consumer.
    type: str
"""

    # For pull consumers
    PULL = r"""
options:
  max_waiting:
    description: >-
      How many pulls may wait at a time. For pull consumers. Can't be changed in place. 512 for a new consumer that is
      pulled.
    type: int
  max_batch:
    description: How many messages a pull may ask for, 0 for no limit. For pull consumers. No limit for a new consumer.
    type: int
  max_expires:
    description: >-
      How long a pull may wait, as seconds or text, 0 for no limit. For pull consumers. No limit for a new consumer.
    type: str
  max_bytes:
    description: >-
      How many bytes a pull may ask for, as a number or text such as V(1MiB), 0 for no limit. For pull consumers. No
      limit for a new consumer.
    type: str
  priority_policy:
    description: >-
      How the members of the groups share the messages. For pull consumers. Needs nats-server 2.11, V(prioritized) needs
      2.12. V(none) for a new consumer.
    type: str
    choices: [none, overflow, pinned_client, prioritized]
  priority_groups:
    description: >-
      The names of the groups, each with up to 16 letters, digits and any of V(/ _ = -). No groups for a new consumer.
    type: list
    elements: str
  priority_timeout:
    description: >-
      After how long a silent member loses its pin, as seconds or text. For V(pinned_client). V(2m) for a new consumer
      with this policy.
    type: str
"""

    # Acknowledgements and redelivery
    ACKNOWLEDGEMENT = r"""
options:
  ack_policy:
    description:
      - Which messages have to be acknowledged. With V(all), an acknowledgement includes all earlier messages.
        V(flow_control) is for push consumers and needs nats-server 2.14.
      - V(explicit) for a new consumer, as with NATS clients. Can't be changed in place.
    type: str
    choices: [none, all, explicit, flow_control]
  ack_wait:
    description:
      - After how long a message that was not acknowledged is delivered again, as seconds or text such as V(30s).
      - With O(backoff), it is its first step. V(30s) for a new consumer that wants acknowledgements.
    type: str
  max_deliver:
    description: How often a message is delivered at most, -1 for no limit. No limit for a new consumer.
    type: int
  backoff:
    description:
      - How long to wait before each new delivery, as seconds or text. There may be no more steps than O(max_deliver).
      - No steps for a new consumer, where O(ack_wait) counts.
    type: list
    elements: str
  max_ack_pending:
    description: >-
      How many messages may wait for an acknowledgement, -1 for no limit. 1000 for a new consumer that wants
      acknowledgements, unless the stream has O(choria.streams.choria_stream#module:consumer_limits).
    type: int
"""
