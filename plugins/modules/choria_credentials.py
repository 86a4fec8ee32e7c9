# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the certificates and tokens of a small site."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_credentials
version_added: 1.0.0
short_description: Create certificates and tokens for a lab or a small site
description:
  - Keeps a private certificate authority, and an issuer of Choria's tokens, in a folder, with the certificates and
    tokens that they sign. It belongs on the controller, with C(delegate_to) or in a play of its own.
  - Keys are created once and never overwritten. A certificate or token is created again for the same key when it
    expires soon, when its hosts or permissions have changed, or when another authority or issuer signed it.
  - If C(ca.pem) and C(ca.key) do not exist, a new authority is created. You can keep C(ca.key) elsewhere while nothing
    has to be signed.
  - The authority's own certificate is never renewed by itself. In its last year, or for O(validity) if that is
    shorter, the task warns. To renew it for the same key, remove C(ca.pem) while C(ca.key) is beside it, run the task
    again, and copy the new C(ca.pem) to all hosts. Signed certificates stay valid.
  - Files have the mode 0600, the folder 0700. No key is in a result.
seealso:
  - module: choria.streams.choria_config
  - module: choria.streams.choria_config_info
author:
  - The choria.streams developers (@choria-io)
extends_documentation_fragment:
  - choria.streams.attributes
requirements:
  - cryptography >= 42, which ansible-core brings to the controller, perhaps in an older version
notes:
  - No connection is made, so there are no connection options, and nats-py is not needed. The module belongs to the
    action group C(group/choria.streams.config).
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Only the names of files.
  idempotent:
    support: full
options:
  folder:
    description: The folder of all files. It is created if it does not exist.
    type: path
    required: true
  authority:
    description: The name in the authority's own certificate, which is valid for ten years.
    type: str
    default: Choria
  certificates:
    description: The certificates to create, for brokers, servers and clients.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The subject's name. C(NAME.pem) and C(NAME.key) are the files.
        type: str
        required: true
      hosts:
        description: The names and addresses by which it is reached, O(certificates[].name) by default.
        type: list
        elements: str
        default: []
  server_tokens:
    description: The tokens of Choria Servers and Brokers to create.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The identity. C(NAME.jwt) and C(NAME.seed) are the files.
        type: str
        required: true
      permissions:
        description: What the server may do, in the words of the token.
        type: list
        elements: str
        choices: [submission, streams, governor, service_host]
        default: []
      publish:
        description: Additional subjects that it may publish to, such as V(orders.>).
        type: list
        elements: str
        default: []
  client_tokens:
    description: The tokens of people and programs to create.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The caller id. C(NAME.jwt) and C(NAME.seed) are the files.
        type: str
        required: true
      permissions:
        description: What the client may do, in the words of the token.
        type: list
        elements: str
        choices:
          [streams_admin, streams_user, events_viewer, election_user, system_user, governor, org_admin,
           fleet_management, signed_fleet_management, service, authentication_delegator, provisioner]
        default: []
      publish:
        description: Additional subjects that it may publish to, such as V(ansible.runs.>).
        type: list
        elements: str
        default: []
      subscribe:
        description: Additional subjects that it may subscribe to.
        type: list
        elements: str
        default: []
  collectives:
    description: The collectives that servers belong to.
    type: list
    elements: str
    default: [choria]
  organization:
    description: The organization in tokens.
    type: str
    default: choria
  validity:
    description: How long certificates and tokens are valid, such as V(90d) or V(24h), or seconds.
    type: str
    default: 365d
  renew_before:
    description: How long before their expiry certificates and tokens are created again.
    type: str
    default: 30d
"""

EXAMPLES = r"""
---
- name: Create certificates and tokens for a lab with one broker and one server
  choria.streams.choria_credentials:
    folder: ~/choria-lab
    certificates:
      - name: broker1.example.net
        hosts: [broker1.example.net, 192.0.2.10]
    server_tokens:
      - name: broker1.example.net
      - name: node1.example.net
        permissions: [submission, streams, governor]
    client_tokens:
      - name: admin
        permissions: [streams_admin, governor, events_viewer]
  register: made

- name: Show the key that brokers and servers have to trust
  ansible.builtin.debug:
    msg: "{{ made.credentials.issuer }}"
"""

RETURN = r"""
---
credentials:
  description: The credentials of O(certificates), O(server_tokens) and O(client_tokens).
  returned: success
  type: dict
  contains:
    authority:
      description: The file with the authority's certificate, null without certificates.
      type: str
      sample: /srv/site/ca.pem
    authority_expires:
      description: When the authority's certificate expires, null without certificates.
      type: str
      sample: "2036-03-01T12:00:00Z"
    issuer:
      description: The public key of the issuer as hex, null without tokens.
      type: str
      sample: "809c63eee18912cdb2371b470f2ab4a19bcc1df1b7018c812b451525d9bee56f"
    certificates:
      description: The certificates, with C(name), C(certificate), C(key), C(hosts) and C(expires).
      type: list
      elements: dict
      sample:
        - name: broker1.example.net
          certificate: /srv/site/broker1.example.net.pem
          key: /srv/site/broker1.example.net.key
          hosts: [broker1.example.net]
          expires: "2027-03-01T12:00:00Z"
    tokens:
      description: The tokens, with C(name), C(purpose), C(token), C(seed), C(permissions) and C(expires).
      type: list
      elements: dict
      sample:
        - name: ann
          purpose: client
          token: /srv/site/ann.jwt
          seed: /srv/site/ann.seed
          permissions: [streams_user]
          expires: "2027-03-01T12:00:00Z"
written:
  description: The names of the files that were written, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [ann.jwt, ann.seed]
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option). The guide Troubleshooting in
      C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: option, option: config}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_local
from ansible_collections.choria.streams.plugins.module_utils._operations.credentials import SPEC, act


def main() -> None:
    """Run the module."""
    run_local(SPEC, act)


if __name__ == "__main__":
    main()
