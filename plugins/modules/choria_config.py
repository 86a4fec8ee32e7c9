# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a Choria configuration file."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_config
version_added: 1.0.0
short_description: Write a Choria configuration file
description:
  - Writes the whole configuration file of a Choria broker, server or client on the managed host, in one step.
  - Every key that Choria knows can be set. An unknown key is refused before anything is written, since Choria itself
    would ignore it without a warning.
  - Passwords in the settings, also those in URLs, are masked in results, in C(--diff) and in the system's log. In
    O(other_keys) they are recognized by the names of their keys, such as C(plugin.my.password).
author:
  - The choria.streams developers (@choria-io)
extends_documentation_fragment:
  - ansible.builtin.files
  - choria.streams.attributes
notes:
  - No connection is made, so there are no connection options, and nats-py is not needed. The module belongs to the
    action group C(group/choria.streams.config).
  - O(unsafe_writes) has no effect. Files are always replaced whole.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description: The path of the file. Its folder has to exist.
    type: path
    required: true
  settings:
    description:
      - Keys of Choria and their values. A list is written with commas, a boolean as V(true) or V(false).
      - Keys can be nested. Each key of a dict is joined to the outer key with a dot. This helps with keys that contain
        numbers or names, such as C(plugin.choria.network.leafnode_remote.NAME.url).
      - A key whose value is null, an empty text or an empty list is left out, so that Choria's default applies.
      - Other keys in the existing file are removed.
    type: dict
    default: {}
  other_keys:
    description: Further keys to allow, such as those of your own plugins, which Choria does not know.
    type: list
    elements: str
    default: []
  program:
    description:
      - The path of the C(choria) program on the managed host. If set, keys that its release does not know are refused.
      - If not set, keys are checked without a program.
    type: path
  mode:
    description: The permissions of the file. If not set, a new file gets V(0600).
  state:
    description: Whether the file should exist.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: choria.streams.choria_config_info
"""

EXAMPLES = r"""
---
- name: Configure a client
  choria.streams.choria_config:
    path: ~/client.conf
    mode: "0644"
    settings:
      plugin.choria.middleware_hosts: [broker1.example.net:4222, broker2.example.net:4222]
      plugin.choria.use_srv: false
      plugin.security.provider: file
      plugin.security.file.ca: /etc/choria/ca.pem
      plugin.security.file.certificate: /etc/choria/client.pem
      plugin.security.file.key: /etc/choria/client.key

- name: Configure a broker, with keys that are numbered or named below one another
  choria.streams.choria_config:
    path: ~/broker.conf
    settings:
      plugin.choria.network:
        client_port: 4222
        peer_port: 5222
        stream.store: /var/lib/choria/streams
      plugin.security.provider: file
      plugin.security.file.ca: /etc/choria/ca.pem
      plugin.security.file.certificate: /etc/choria/broker.pem
      plugin.security.file.key: /etc/choria/broker.key

- name: Set a key of a plugin of your own
  choria.streams.choria_config:
    path: ~/server.conf
    settings:
      plugin.choria.use_srv: false
      plugin.choria.middleware_hosts: broker1.example.net:4222
      plugin.weather.station: roof
    other_keys: [plugin.weather.station]

- name: Remove a configuration
  choria.streams.choria_config:
    path: ~/server.conf
    state: absent
"""

RETURN = r"""
---
path:
  description: The file.
  returned: success
  type: str
  sample: /etc/choria/broker.conf
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option). The guide Troubleshooting in
      C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: option, option: config}
"""

from ansible_collections.choria.streams.plugins.module_utils._module_files import run_file
from ansible_collections.choria.streams.plugins.module_utils._operations.config_file import (
    SPEC,
    prepare,
    secrets,
    shown_options,
)


def main() -> None:
    """Run the module."""
    run_file(SPEC, prepare, shown_options, secrets)


if __name__ == "__main__":
    main()
