# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read messages of a stream."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: choria_stream
version_added: 1.0.0
short_description: Read messages of a stream of Choria Streams
description:
  - Returns messages of the streams in the terms, or their payloads, the oldest first.
  - Without O(sequence), O(start_sequence), O(since), O(last) and O(limit) it returns only the last message. For several
    messages use C(query), which always returns a list. C(lookup) returns a single message without a list.
  - It reads with the rights of the controller. It never writes, and creates no consumer.
  - All lookups of a process with the same connection options share one connection.
  - It also reads Choria's own streams, such as C(CHORIA_EVENTS) with the lifecycle events of its nodes.
author:
  - The choria.streams developers (@choria-io)
options:
  _terms:
    description: The streams. A number is read as text.
    type: list
    elements: str
    required: true
  full:
    description: >-
      Return each message as a dict with C(stream), C(subject), C(sequence), C(time) (RFC 3339 UTC), C(headers) and
      C(data), its payload. Otherwise only payloads are returned.
    type: bool
    default: false
  default:
    description:
      - The value to return if there is no last message, or none with O(sequence). It is returned as it is, without
        O(format) and O(query).
      - It wins over O(missing). If not set, O(missing) counts.
    type: raw
  missing:
    description: >-
      What to do if there is no last message, or none with O(sequence). An empty list of several messages is no error.
    type: str
    choices:
      error: The lookup fails, and names it.
      skip: It is left out.
      empty: The result is an empty text.
    default: error
  format:
    description: The format of payloads. A payload in another format is an error.
    type: str
    choices:
      text: UTF-8 text.
      json: JSON, which becomes data.
      yaml: YAML, which becomes data.
      base64: Any bytes, returned as base64 text.
    default: text
  query:
    description:
      - A JMESPath expression. It is applied to a single message (the last one, or the one with O(sequence)), or to the
        list of several messages of a stream. Needs the Python library jmespath on the controller.
      - It needs O(full), or data from O(format=json) or O(format=yaml).
      - A list that it selects from several messages is returned item by item. If not set, all is returned.
    type: str
extends_documentation_fragment:
  - choria.streams.messages
  - choria.streams.connection
  - choria.streams.connection.plugins
notes:
  - The options of a connection are those of the controller, and may be templates when variables set them.
  - Payloads are never part of an error.
  - A duration in O(since) is counted back from the clock of the controller, and compared with that of the server.
  - In a cluster any replica of a stream with O(choria.streams.choria_stream#module:allow_direct) may answer, so that a
    message stored a moment ago by another client may not be there yet.
seealso:
  - module: choria.streams.choria_stream_message
  - module: choria.streams.choria_stream_message_info
"""

EXAMPLES = r"""
---
- name: A stream
  choria.streams.choria_stream:
    name: ORDERS
    subjects: [orders.>]

- name: Two messages in it
  choria.streams.choria_stream_message:
    subject: orders.{{ item.shop }}
    encoding: json
    data: "{{ item }}"
  loop:
    - {shop: berlin, article: bicycle, count: 2}
    - {shop: paris, article: bell, count: 20}

- name: Read the last message
  ansible.builtin.debug:
    msg: "{{ lookup('choria.streams.choria_stream', 'ORDERS', format='json') }}"

- name: Read the last message on a subject, and a part of it
  ansible.builtin.debug:
    msg: "{{ lookup('choria.streams.choria_stream', 'ORDERS', subject='orders.berlin', format='json', query='count') }}"

- name: Read the message with a number
  ansible.builtin.debug:
    msg: "{{ lookup('choria.streams.choria_stream', 'ORDERS', sequence=1) }}"

- name: Read the messages of the last hour, at most a hundred
  ansible.builtin.debug:
    msg: "{{ item.time }} {{ item.subject }}: {{ item.data }}"
  loop: "{{ query('choria.streams.choria_stream', 'ORDERS', since='1h', limit=100, full=true) }}"
  loop_control:
    label: "{{ item.sequence }}"

- name: Choose among the last ten
  ansible.builtin.debug:
    msg: >-
      {{ query('choria.streams.choria_stream', 'ORDERS', last=10, format='json',
               query='[?count > `10`].article') }}

- name: List the nodes that started in the last hour, from Choria's own events
  ansible.builtin.debug:
    msg: "{{ nodes | unique | sort }}"
  vars:
    nodes: >-
      {{ query('choria.streams.choria_stream', 'CHORIA_EVENTS', subject='choria.lifecycle.event.startup.*',
               since='1h', format='json', query='[].subject') }}
"""

RETURN = r"""
---
_raw:
  description: The payloads in the form of O(format), with O(full) the messages, or the result of O(query).
  type: list
  elements: raw
  sample: [one, two]
"""

from typing import TYPE_CHECKING, Any

from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._operations.messages.selection import (
    Selection,
    checked_stream,
    described,
)
from ansible_collections.choria.streams.plugins.module_utils._options.formats import YAML, Query, decode
from ansible_collections.choria.streams.plugins.plugin_utils._plugin import (
    options_of,
    shared_session,
    texts_of,
    translated,
)
from ansible_collections.choria.streams.plugins.plugin_utils._results.learned_secrets import learn_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.choria.streams.plugins.module_utils._api.messages import Stored


class LookupModule(LookupBase):
    def run(self, terms: Sequence[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        with translated("choria_stream: "):
            default = [kwargs.pop("default")] if "default" in kwargs else []
            options, settings = options_of(self, variables or {}, kwargs)
            streams = [checked_stream(name) for name in texts_of(terms, "stream", "write the name of one")]
            selection = Selection.from_options(options.get)
            query = _query(options)
            session = shared_session(settings, read_only=True, warn=Display().warning)
            results: list[Any] = []
            for stream in streams:
                values = [_value(stream, message, options) for message in selection.read(session, stream)]
                if values or not selection.single:
                    results.extend(_selected(query, stream, selection, values))
                else:
                    results.extend(default or _instead(selection.name_in(stream), options["missing"]))
            return results


def _query(options: Mapping[str, Any]) -> Query | None:
    if not options["query"]:
        return None
    if not options["full"] and options["format"] not in ("json", YAML):
        raise _errors.OptionError("query", "needs data to select from: set format to json or yaml, or full to true.")
    return Query(options["query"])


def _value(stream: str, message: Stored, options: Mapping[str, Any]) -> Any:
    """Return the value of a message before ``query``."""
    try:
        data = decode(message.data, options["format"])
    except ValueError as error:
        # Without the cause, which may hold the payload
        name = f"message {message.sequence} in stream {stream}"
        raise _errors.OptionError("format", f"the payload of {name} {error}: choose another, such as base64.") from None
    learn_values(message.subject, data)
    learn_values("", message.headers)
    return described(stream, message, data) if options["full"] else data


def _selected(query: Query | None, stream: str, selection: Selection, values: list[Any]) -> list[Any]:
    if query is None:
        return values
    if selection.single:
        return [query.search(values[0], selection.name_in(stream))]
    chosen = query.search(values, f"the messages of stream {stream}")
    if chosen is None:
        return []
    return chosen if isinstance(chosen, list) else [chosen]


def _instead(name: str, missing: str) -> list[Any]:
    """Return the replacement of a missing message."""
    if missing == "error":
        raise _errors.StreamsError(
            f"there is no {name}: check stream and options, or give default or missing.", code="missing"
        )
    return [] if missing == "skip" else [""]
