# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the holders of seats in governors."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: choria_governor
version_added: 1.0.0
short_description: Read the seats of concurrency governors of Choria Streams
description:
  - Returns the seats that are taken in the governors of the terms, the longest held first.
  - Use C(query), which always returns a list. C(lookup) returns a single seat without a list.
  - It reads with the rights of the controller, and never writes. To take a seat, use
    M(choria.streams.choria_governor_run).
  - All lookups of a process with the same connection options share one connection.
author:
  - The choria.streams developers (@choria-io)
options:
  _terms:
    description: The names of the governors. A number is read as text.
    type: list
    elements: str
    required: true
  missing:
    description: The result for a governor that does not exist.
    type: str
    choices:
      error: The lookup fails, and names it.
      skip: It has no seats.
    default: error
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.connection.plugins
notes:
  - The options of a connection are those of the controller, and may be templates when variables set them.
  - M(choria.streams.choria_governor_info) returns the capacity, the expiry and the number of free seats.
seealso:
  - module: choria.streams.choria_governor
  - module: choria.streams.choria_governor_info
  - module: choria.streams.choria_governor_lease
  - module: choria.streams.choria_governor_run
"""

EXAMPLES = r"""
---
- name: A governor with two seats
  choria.streams.choria_governor:
    name: PUPPET
    capacity: 2
    expire: 20m

- name: Take a seat
  choria.streams.choria_governor_lease:
    name: PUPPET
    state: acquired
    identity: web1.example.net

- name: Show who holds a seat
  ansible.builtin.debug:
    msg: "{{ query('choria.streams.choria_governor', 'PUPPET') | map(attribute='name') }}"

- name: Show when each seat expires
  ansible.builtin.debug:
    msg: "{{ item.name }} has seat {{ item.sequence }} until {{ item.expires }}"
  loop: "{{ query('choria.streams.choria_governor', 'PUPPET') }}"
  loop_control:
    label: "{{ item.sequence }}"

- name: Evict holders that are no longer in the inventory
  choria.streams.choria_governor_lease:
    name: PUPPET
    state: evicted
    lease_id: "{{ item.lease_id }}"
  loop: "{{ query('choria.streams.choria_governor', 'PUPPET') | rejectattr('name', 'in', groups.all) }}"
  loop_control:
    label: "{{ item.name }}"
"""

RETURN = r"""
---
_raw:
  description: A dict for each seat that is taken.
  type: list
  elements: dict
  contains:
    governor:
      description: The name of the governor.
      type: str
      sample: PUPPET
    sequence:
      description: The seat's number.
      type: int
      sample: 7
    lease_id:
      description: The id of the seat. It differs if the governor is deleted and created again.
      type: str
      sample: "7-66174db395d29-9975ac8b7e245d2b74570e"
    name:
      description: The name of the holder.
      type: str
      sample: web1
    since:
      description: When it was taken, RFC 3339 UTC.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    expires:
      description: When it expires, RFC 3339 UTC; null if seats do not expire.
      type: str
      sample: "2026-03-01T12:20:00.123456789Z"
"""

from typing import TYPE_CHECKING, Any

from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import governor as governors
from ansible_collections.choria.streams.plugins.plugin_utils._plugin import (
    options_of,
    shared_session,
    texts_of,
    translated,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session


class LookupModule(LookupBase):
    def run(self, terms: Sequence[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        with translated("choria_governor: "):
            options, settings = options_of(self, variables or {}, kwargs)
            names = [governors.checked_name(term) for term in texts_of(terms, "governor", "write the name of one")]
            session = shared_session(settings, read_only=True, warn=Display().warning)
            return [seat for name in names for seat in _seats(session, name, options["missing"])]


def _seats(session: Session, name: str, missing: str) -> list[dict[str, Any]]:
    try:
        return [{"governor": name, **seat} for seat in governors.list_seats(session, name)]
    except _errors.Refused as error:
        if missing == "skip" and error.failure["code"] == "not_found":
            return []
        raise
