# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Submit a message to Choria Streams."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_submit
version_added: 1.0.0
short_description: Submit a message to Choria Streams
description:
  - Passes a message to Choria Server on the managed host, as C(choria tool submit) does. The server delivers it to a
    stream over its own connection, and retries after failures. The module needs no connection, no credentials and no
    Python library on the host.
  - With O(transport=direct) the module itself publishes the message, and waits for the stream's acknowledgement.
  - The message arrives on the subject C(<collective>.submission.in.<subject>), which has to belong to a stream.
  - A message that Choria Server would accept and then drop is refused before anything is written.
author:
  - The choria.streams developers (@choria-io)
options:
  subject:
    description: The subject, such as V(tasks.status), without the prefix C(<collective>.submission.in.).
    type: str
    required: true
  payload:
    description:
      - What to send. Empty messages are not submitted. It is not shown among the options of the task.
      - One of O(payload) and O(src) is needed, not both.
    type: raw
  encoding:
    description:
      - The form of O(payload). V(text) is sent as it is, V(json) is a structure that is sent as JSON, V(base64) is for
        binary content.
    type: str
    choices: [text, json, base64]
    default: text
  src:
    description: A file on the managed host whose content is sent as it is. If not set, O(payload) is sent.
    type: path
  reliable:
    description:
      - With V(true) Choria Server retries until a stream has acknowledged the message, O(ttl) is over, or O(max_tries)
        is reached. The reliable messages of a priority are sent in their order. A message that fails delays the next
        ones, until it waits for its next try. Then they may overtake it.
      - With V(false), as in C(choria tool submit), it is published once, and lost if no stream has the subject.
      - With O(transport=direct) the stream acknowledges it in both cases. The message only contains the setting.
    type: bool
    default: false
  priority:
    description: The priority. Each priority has its own queue in the spool.
    type: int
    choices: [0, 1, 2, 3, 4]
    default: 4
  ttl:
    description:
      - How long the delivery may take, as seconds or text such as V(90m), at most V(31d). After that Choria Server
        drops the message.
    type: str
    default: 24h
  max_tries:
    description: How often Choria Server tries to deliver the message before it drops it.
    type: int
    default: 100
  sender:
    description: The name of the sender, for readers of the stream. C(user) and the effective user's number if not set.
    type: str
  sign:
    description:
      - Whether to sign the message, which P(choria.streams.choria_verify#filter) can check.
      - Choria Server signs with its seed, and needs the security provider V(choria) or another configuration with one.
      - With O(transport=direct) it is signed with O(seed), contains O(jwt), and has the identity of that token. Needs
        the Python library cryptography.
    type: bool
    default: false
  headers:
    description: >-
      Headers of the message, text to text. Names that begin with C(Choria) or C(Nats), in any case, are the server's
      own. Their values are not shown among the options of the task. None by default.
    type: dict
  transport:
    description:
      - V(spool) writes a file into the spool of Choria Server on the managed host.
      - V(direct) connects to the brokers with the connection options, and waits for the stream's acknowledgement.
        Then O(ttl) and O(max_tries) have no effect.
    type: str
    choices: [spool, direct]
    default: spool
  spool:
    description:
      - The folder of the spool.
      - By default C(plugin.choria.submission.spool) in the file O(choria_config), or in
        V(/etc/choria/server.conf) if that is not set either.
    type: path
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
attributes:
  check_mode:
    support: full
    details: >-
      All is checked, the spool or the connection included, and nothing is written. RV(message) has no ID and no times.
  diff_mode:
    support: none
    details: A message has no state before it.
  idempotent:
    support: none
    details: Each run submits one more message, with an ID of its own, and reports a change.
notes:
  - With O(transport=spool), only the connection options O(choria_config), O(identity) and O(collective) are used, and
    nats-py is not needed.
  - Only the user of Choria Server, usually V(root), can use the spool. So tasks need C(become).
seealso:
  - module: choria.streams.choria_submission_info
  - plugin: choria.streams.choria_verify
    plugin_type: filter
  - name: Message Submit
    description: How Choria Server delivers messages.
    link: https://choria.io/docs/streams/submission/
"""

EXAMPLES = r"""
---
# On hosts with Choria Server, whose file names plugin.choria.submission.spool. The variable server_config is this file,
# such as /etc/choria/server.conf, and task_log the file to send.
- name: A stream for the messages of tasks
  choria.streams.choria_stream:
    name: TASKS
    subjects: [mcollective.submission.in.tasks.>]
    max_age: 30d

- name: Submit the log of a task, as choria tool submit --reliable does
  choria.streams.choria_submit:
    subject: tasks.status.{{ inventory_hostname }}
    src: "{{ task_log }}"
    reliable: true
    sender: "{{ inventory_hostname }} Task Agent"
    choria_config: "{{ server_config }}"

- name: Submit the end of the deployment, in a queue of its own
  choria.streams.choria_submit:
    subject: tasks.deployed
    payload:
      host: "{{ inventory_hostname }}"
      version: "1.4"
    encoding: json
    headers:
      Content-Type: application/json
    reliable: true
    priority: 0
    ttl: 2h
    choria_config: "{{ server_config }}"

- name: Publish from a host without Choria Server
  choria.streams.choria_submit:
    subject: tasks.status.{{ inventory_hostname }}
    payload: finished
    transport: direct
  register: submitted

- name: Show where it is
  ansible.builtin.debug:
    msg: "{{ submitted.message.sequence }} in {{ submitted.message.stream }}"
"""

RETURN = r"""
---
message:
  description: The message that was submitted.
  returned: success
  type: dict
  contains:
    id:
      description: Its ID, which is the header C(Nats-Msg-Id) in the stream.
      type: str
      sample: 3afc9c85-ba8c-426e-b936-8dbfa450dd06
    subject:
      description: The subject as it was given.
      type: str
      sample: tasks.status
    stream_subject:
      description: The subject on which it arrives; null if neither O(choria_config) nor O(collective) is known.
      type: str
      sample: mcollective.submission.in.tasks.deployed
    priority:
      description: Its priority.
      type: int
      sample: 4
    reliable:
      description: Whether Choria Server retries it until a stream has stored it.
      type: bool
      sample: true
    sender:
      description: The sender.
      type: str
      sample: user 0
    identity:
      description: The host that it comes from, by O(identity), the configuration file or its FQDN.
      type: str
      sample: web1.example.net
    size:
      description: How many bytes its content has.
      type: int
      sample: 14
    created:
      description: When it was made, RFC 3339 UTC.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    expires:
      description: When Choria Server gives up on it, RFC 3339 UTC.
      type: str
      sample: "2026-03-01T13:00:00.123456789Z"
    file:
      description: The file in the spool; null with O(transport=direct).
      type: str
      sample: /var/lib/choria/submission/P4/1795468263425046170-a0eba55c-1d78-49c6-be0b-95c37f4055fc.msg
    stream:
      description: The stream that stored it; null with O(transport=spool), since that is not known yet.
      type: str
      sample: TASKS
    sequence:
      description: Its sequence number in the stream.
      type: int
      sample: 17
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(spool_full), V(spool_missing),
      V(spool_permission), V(spool_owner), V(spool_mode), V(spool_write), V(no_stream), V(unreachable) or V(permission).
      The guide Troubleshooting in C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: option, option: payload}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_hybrid
from ansible_collections.choria.streams.plugins.module_utils._operations.submission import SUBMIT, submit


def main() -> None:
    """Run the module."""
    run_hybrid(SUBMIT, submit)


if __name__ == "__main__":
    main()
