# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the connection options of a Choria configuration file."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_config_info
version_added: 1.0.0
short_description: Read the settings of a Choria configuration file
description:
  - Reads a configuration file of a Choria client, server or broker on the managed host, and its C(plugin.d), and
    returns the settings that other modules of this collection would use. No connection is made, and no secret is
    returned.
seealso:
  - module: choria.streams.choria_config
  - module: choria.streams.choria_credentials
author:
  - The choria.streams developers (@choria-io)
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.info
notes:
  - Of the connection options, only O(choria_config) is used. The module accepts the others for C(module_defaults).
    nats-py is not needed.
"""

EXAMPLES = r"""
---
- name: A client's configuration
  ansible.builtin.copy:
    dest: "{{ playbook_dir }}/client.conf"
    mode: "0600"
    content: |
      plugin.choria.middleware_hosts = broker1.example.net:4222, broker2.example.net:4222
      plugin.security.provider = file
      plugin.security.file.ca = /etc/choria/ca.pem
      plugin.security.file.certificate = /etc/choria/client.pem
      plugin.security.file.key = /etc/choria/client.key

- name: Read the connection that the file describes
  choria.streams.choria_config_info:
    choria_config: "{{ playbook_dir }}/client.conf"
  register: found

- name: Show the brokers
  ansible.builtin.debug:
    msg: "{{ found.config.connection.servers }}"
"""

RETURN = r"""
---
config:
  description: The settings of the file.
  returned: success
  type: dict
  contains:
    path:
      description: The file.
      type: str
      sample: /etc/choria/client.conf
    files:
      description: All files that were read, including those of C(plugin.d).
      type: list
      elements: str
      sample: [/etc/choria/client.conf]
    provider:
      description: The security provider.
      type: str
      sample: choria
    identity:
      description: The identity of this host.
      type: str
      sample: node1.example.net
    collectives:
      description: The collectives.
      type: list
      elements: str
      sample: [mcollective, london]
    main_collective:
      description: The main collective.
      type: str
      sample: mcollective
    connection:
      description: >-
        The connection options that follow, such as C(servers), C(ca_path), C(client_cert), C(jwt) and C(seed) (the
        paths
        of these files). Passwords are left out.
      type: dict
      sample: {servers: [nats://broker1.example.net:4222], tls: required, ca_path: /etc/choria/ca.pem}
    token:
      description: The contents of the token; null if there is none, or it can't be used.
      type: dict
      contains:
        purpose:
          description: V(choria_client_id) or V(choria_server).
          type: str
          sample: choria_client_id
        caller:
          description: The name of its owner.
          type: str
          sample: "up=ann"
        organization:
          description: The organization.
          type: str
          sample: choria
        expires:
          description: When it expires, RFC 3339 UTC.
          type: str
          sample: "2027-03-01T12:00:00Z"
        permissions:
          description: Its permissions.
          type: list
          elements: str
          sample: [streams_user, governor]
    problem:
      description: >-
        Why the file can't be used for a connection; null if no fault can be found offline.
      type: str
      sample: the token has expired
    spool:
      description: The folder of the submission spool; null if the file sets none.
      type: str
      sample: /var/spool/choria/submission
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option). The guide Troubleshooting in
      C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: option, option: config}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_hybrid
from ansible_collections.choria.streams.plugins.module_utils._operations.config_facts import config_facts
from ansible_collections.choria.streams.plugins.module_utils._options import fields


def main() -> None:
    """Run the module."""
    run_hybrid(
        fields.Spec(), lambda _connect, options, _check_mode: {"changed": False, "config": config_facts(options)}
    )


if __name__ == "__main__":
    main()
