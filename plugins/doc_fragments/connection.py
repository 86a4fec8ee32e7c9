# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection options. Their table is ``module_utils/_options/connection.py``; a test compares the two."""

from __future__ import annotations

import json
import re
from typing import Any


def _sources(option: str) -> dict[str, Any]:
    """Return the environment variables, the key of ansible.cfg and the variable of an option."""
    variables = [f"CHORIA_STREAMS_{option.upper()}"]
    if option == "servers":
        variables.append("NATS_URL")
    return {
        "env": [{"name": variable} for variable in variables],
        "ini": [{"section": "choria_streams", "key": option}],
        "vars": [{"name": f"choria_streams_{option}"}],
    }


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  servers:
    description:
      - The servers to connect to, as URLs such as V(nats://broker1.example.net:4222).
      - They are tried in their order. The first that accepts the connection is used.
      - V(tls://) asks for TLS, V(ws://) and V(wss://) for websockets (which need the Python library aiohttp).
      - Credentials in the URL, V(nats://user:password@host) or V(nats://token@host), are used if no others are set. In
        a user, password or token percent-encode each of C(:), C(/), C(?), C(#), C(@) and the comma. A URL with a path,
        a query or a fragment is refused.
      - Where it is not set, and neither O(choria_config) nor O(context) is, the file that C(choria) itself would use
        counts (the first of V(~/.choriarc), V(~/.mcollective), V(/etc/choria/client.conf) and
        V(/usr/local/etc/choria/client.conf)), and without one V(nats://127.0.0.1:4222).
      - Modules read the environment and the files of the managed host, plugins those of the controller.
    type: list
    elements: str
  choria_config:
    description:
      - A configuration file of a Choria client, server or broker, such as V(/etc/choria/client.conf). The brokers,
        the security provider (V(file), V(puppet) or V(choria)), the collective and the identity follow from it.
      - Options that are set beside it override it. O(servers) describes the default.
    type: path
  context:
    description:
      - The name of a context of the C(nats) program. Other options, and O(choria_config), override it.
      - No context is read if not set.
    type: str
  user:
    description:
      - The user's name.
      - If not set, O(choria_config), O(context) or the URL in O(servers) may have it. By default there is none.
    type: str
  password:
    description: The user's password. If not set, it comes from where the user's name comes from.
    type: str
  token:
    description:
      - An authentication token. If not set, O(context) or the URL in O(servers) may have it. By default there is none.
    type: str
  creds:
    description:
      - A NATS credentials file, which holds a user's JWT and seed. Needs the Python library nkeys.
      - If not set, O(choria_config) or O(context) may name one. By default there is none.
    type: path
  nkey_seed:
    description:
      - The seed of a user's NKey, which begins with V(SU). Needs the Python library nkeys.
      - If not set, O(context) may have it. By default there is none.
    type: str
  jwt:
    description:
      - A file with the token of a Choria user or server, for Choria Brokers that identify by tokens. Needs O(seed),
        and the Python library cryptography.
      - The subjects of replies and of the JetStream API follow from it.
      - If not set, O(choria_config) may name one. By default there is none.
    type: path
  seed:
    description:
      - The file with the seed that belongs to O(jwt), 64 hexadecimal digits as C(choria jwt keys) writes them.
      - If not set, O(choria_config) may name it, or it lies beside the token there. By default there is none.
    type: path
  tls:
    description:
      - Whether connections are encrypted. With V(required) a server that offers no TLS is refused before anything
        secret is sent. With V(preferred) TLS is used wherever the server offers it. With V(off) it is never used.
      - V(required) is the default with V(tls://) or V(wss://) in O(servers), O(ca_path), O(client_cert), O(tls_first),
        O(choria_config), and O(jwt). Elsewhere the default is V(preferred).
      - A password or token that goes to another host without TLS gives a warning, unless V(off) is set.
    type: str
    choices: [required, preferred, 'off']
    version_added: 1.0.0
  ca_path:
    description:
      - A PEM file with the certificates of the CAs that the server's certificate is checked against. No other CA is
        trusted then.
      - Without it those of the system are trusted. Implies O(tls=required).
    type: path
  client_cert:
    description:
      - A PEM file with our certificate, for mutual TLS.
      - If not set, O(choria_config) or O(context) may name one. By default there is none.
    type: path
  client_key:
    description:
      - A PEM file with the private key of O(client_cert), without a passphrase.
      - If not set, it comes from where the certificate comes from.
    type: path
  validate_certs:
    description:
      - Whether the server's certificate has to be valid, and for the host name that is connected to. V(false) gives a
        warning.
    type: bool
    default: true
  tls_first:
    description:
      - Whether TLS begins before the server says anything, for servers with C(handshake_first).
      - If not set, O(context) may have it. By default it does not.
    type: bool
  connect_timeout:
    description: How long connecting to one server may take, as seconds or text such as V(5s).
    type: str
    default: 5s
  timeout:
    description: How long one request may take, as seconds or text such as V(10s).
    type: str
    default: 10s
  domain:
    description:
      - The JetStream domain to talk to, where leaf nodes have domains of their own.
      - If not set, O(context) may have it. By default there is none.
    type: str
  api_prefix:
    description:
      - The subject prefix of the JetStream API, where an account imports it under another name than V($JS.API).
      - If not set, O(context) may have it. By default it is V($JS.API), or follows from O(domain) or O(jwt).
    type: str
  inbox_prefix:
    description:
      - The subject prefix under which replies are awaited, where the credentials may not subscribe to V(_INBOX).
      - With O(jwt) it is the one that the broker lets this caller use.
      - If not set, O(context) may have it. By default it is V(_INBOX), or follows from O(jwt).
    type: str
  collective:
    description:
      - The Choria collective, which is the first word of a governor's subject.
      - By default the main collective of O(choria_config), or V(mcollective) without such a file.
    type: str
  identity:
    description:
      - The name by which others know who holds a seat in a governor or wrote a message.
      - By default modules use the identity of O(choria_config), or else the managed host's FQDN. Plugins use the name
        of the host in the inventory.
    type: str
notes:
  - Each connection option can be set for all modules at once with C(module_defaults) and the group
    C(group/choria.streams.all), or by the environment variable C(CHORIA_STREAMS_<OPTION>) on the managed host;
    for O(servers) also C(NATS_URL).
requirements:
  - nats-py >= 2.10
  - cryptography, for O(jwt)
  - nkeys, for O(creds) and O(nkey_seed)
  - dnspython, for brokers that are found by SRV records
  - aiohttp, for websockets in O(servers)
"""

    # Where plugins read each option too. JSON is YAML, and each process that reads this would take 20 ms for a dump of
    # YAML. With a type, since ansible-test's yamllint fails at an assignment of anything but a text.
    PLUGINS: str = json.dumps(
        {"options": {option: _sources(option) for option in re.findall(r"^  (\w+):$", DOCUMENTATION, re.MULTILINE)}}
    )
