# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy an autonomous agent to the store of a node."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_machine
version_added: 1.0.0
short_description: Deploy an autonomous agent to a node
description:
  - Puts an autonomous agent, which Choria also calls a machine, into the machine store of Choria Server on the managed
    host, with its definition and further files. The server detects it within ten seconds, and needs no restart.
  - The definition is checked before anything is written, for errors that the server would report or ignore.
  - A machine changes in one step. Its new folder is written beside the old one, under a name that the server ignores,
    and then replaces the old one. The server restarts a machine if its definition changed.
author:
  - The choria.streams developers (@choria-io)
options:
  state:
    description:
      - V(present) writes the machine O(name) into the store, V(absent) removes it with all its data.
      - V(purged) removes every machine that O(keep) does not name.
    type: str
    choices: [present, absent, purged]
    default: present
  name:
    description: The name of the machine and of its folder. Needed unless O(state=purged).
    type: str
  store:
    description:
      - The folder of machines.
      - By default C(plugin.choria.machine.store) in the file O(choria_config), or in
        V(/etc/choria/server.conf) if that is not set either.
    type: path
  definition:
    description:
      - The contents of C(machine.yaml), as a dict. O(name) is its C(name).
      - Templates of the agent itself, such as C({{ lookup "data.release" "" }}), need C(!unsafe) before them.
        Otherwise Ansible would render them.
      - Values of C(environment) are shown neither in options nor in differences.
      - To use a file of the controller, write V({{ lookup('ansible.builtin.file', 'machine.yaml'\) | from_yaml }}).
      - If not set, C(machine.yaml) comes from O(archive).
    type: dict
  files:
    description: Further files of the machine, such as the scripts that its watchers run.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Its path inside the folder of the machine.
        type: str
        required: true
      content:
        description: Its content. It is never shown. Differences have its size and its digest.
        type: raw
        required: true
      encoding:
        description: >-
          The form of O(files[].content). V(text) is written as it is, V(json) is a structure that is written as JSON,
          V(base64) is for binary content.
        type: str
        choices: [text, json, base64]
        default: text
      mode:
        description: >-
          Its permissions, such as V('0755') for a script. Others than the owner and its group can't get write access.
        type: raw
        default: '0644'
  archive:
    description:
      - A tar or zip archive on the managed host with the files of the machine. A single folder around all of them is
        left out.
      - With O(definition), its C(machine.yaml) is ignored. O(files) take precedence over files of the archive.
      - Links, and paths out of the folder, are refused.
      - Needs O(archive_checksum).
    type: path
  archive_checksum:
    description: >-
      The checksum of O(archive), as V(sha256:…), V(sha384:…) or V(sha512:…). Not without O(archive). Needed with it.
    type: str
  exact:
    description:
      - Whether to remove other files of the machine. C(machine_data.json), in which the server keeps its data, always
        stays.
    type: bool
    default: false
  validate:
    description:
      - Whether the definition is checked. Set it to V(false) for watchers and properties that this collection does not
        know yet.
      - The C(machine.yaml) of an archive can be checked if it is JSON, or if the host has PyYAML.
    type: bool
    default: true
  program:
    description:
      - The path of the C(choria) program on the managed host. If set, C(choria machine validate) has to accept a new
        definition as well.
      - It knows fewer watchers than the server itself, no keys with dots, and no durations such as V(1m30s). If
        O(validate) accepts a definition with some of these, a refusal of the program is ignored, and
        RV(machine.unknown_to_program) lists them.
      - If not set, the program is not used.
    type: path
  keep:
    description:
      - With O(state=purged), the names of machines that stay, also as patterns such as V(site-*). Machines of Choria's
        own plugin manager are in the same store, and have to be named too.
      - Needed for V(purged).
    type: list
    elements: str
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
attributes:
  check_mode:
    support: full
    details: Everything is checked, O(program) included, and the store stays as it is.
  diff_mode:
    support: full
    details: Shows the definition, and sizes, modes and digests of the other files.
  idempotent:
    support: full
notes:
  - Of the connection options, only O(choria_config) is used. No connection is made, and nats-py is not needed.
  - Only root can write to the store, since the server runs its machines as root. So tasks need C(become).
  - A command that a watcher runs during the change keeps its open files, in a folder that no longer exists.
seealso:
  - module: choria.streams.choria_machine_info
  - name: Autonomous Agents
    description: What definitions say.
    link: https://choria.io/docs/autoagents/
"""

EXAMPLES = r"""
---
# On hosts with Choria Server, whose file /etc/choria/server.conf names plugin.choria.machine.store. The variable
# server_config is this file.
- name: An agent that deploys the release which a key names, on as many nodes at once as the governor DEPLOY has seats
  choria.streams.choria_machine:
    choria_config: "{{ server_config }}"
    name: DEPLOY
    definition:
      version: 1.0.0
      initial_state: idle
      transitions:
        - {name: wanted, from: [idle], destination: deploying}
        - {name: done, from: [deploying], destination: idle}
        - {name: failed, from: [deploying], destination: broken}
      watchers:
        - name: release
          type: kv
          interval: 10s
          state_match: [idle]
          success_transition: wanted
          properties:
            bucket: DEPLOY
            key: release
            bucket_prefix: false
        - name: deploy
          type: exec
          state_match: [deploying]
          success_transition: done
          fail_transition: failed
          properties:
            command: !unsafe ./deploy '{{ lookup "data.release" "" }}'
            timeout: 10m
            governor: DEPLOY
            governor_timeout: 1h
    files:
      - path: deploy
        mode: "0755"
        content: |
          #!/bin/sh
          echo "deploying $1"

- name: Remove all other machines, except those of site-wide tools
  choria.streams.choria_machine:
    choria_config: "{{ server_config }}"
    state: purged
    keep: [DEPLOY, site-*]

- name: Remove one machine
  choria.streams.choria_machine:
    choria_config: "{{ server_config }}"
    name: DEPLOY
    state: absent
"""

RETURN = r"""
---
machine:
  description: The machine as it is now.
  returned: success, with O(state=present)
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: DEPLOY
    path:
      description: Its folder.
      type: str
      sample: /etc/choria/machines/DEPLOY
    checksum:
      description: The SHA-256 digest of C(machine.yaml), which the server's log has as well.
      type: str
      sample: fe1ed4245ab9c83a783c2fb315c50cce877c4408186fe31c5caa68d8db8b597c
    files:
      description: The files that the task deployed.
      type: list
      elements: str
      sample: [bin/deploy]
    validated:
      description: The checks that the definition passed, V(schema) and V(program).
      type: list
      elements: str
      sample: [schema, program]
    unknown_to_program:
      description: Why a refusal of O(program) did not count, such as V(archive watchers).
      type: list
      elements: str
      sample: [archive watchers]
removed:
  description: The machines that were removed.
  returned: success, with O(state=absent) or O(state=purged)
  type: list
  elements: str
  sample: [OLD]
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, V(option), V(store_missing), V(store_mode),
      V(store_entry) or V(store_permission). The guide Troubleshooting in C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change. C(problems) lists all faults of a refused definition.
  returned: failure
  type: dict
  sample: {code: option, option: definition, problems: [transition deploy leads to an unknown state deployed]}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_hybrid
from ansible_collections.choria.streams.plugins.module_utils._operations.machine.machine import SPEC, act


def main() -> None:
    """Run the module."""
    run_hybrid(SPEC, act)


if __name__ == "__main__":
    main()
