# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection options. Their table is ``module_utils/_options/connection.py``; a test compares the two."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  servers:
    description:
      - The servers to connect to, as URLs such as V(nats://broker1.example.net:4222).
      - The first that takes the connection is used, in the order given.
      - V(tls://) asks for TLS, V(ws://) and V(wss://) for websockets (which need the Python library aiohttp).
      - >-
        Credentials in the URL, V(nats://user:password@host) or V(nats://token@host), are used where no others are set.
        In a user, password or token percent-encode each of C(:), C(/), C(?), C(#), C(@) and the comma. A URL with a
        path, a query or a fragment is refused.
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
      - What is set beside it wins over it. If O(choria_config) is not set, O(servers) tells which file counts.
    type: path
  context:
    description:
      - The name of a context of the C(nats) program. What is set beside it, or in O(choria_config), wins over it.
      - No context is read if not set.
    type: str
  user:
    description:
      - The user's name.
      - If not set, O(choria_config), O(context) or the URL in O(servers) may have it. By default there is none.
    type: str
  password:
    description:
      - The user's password. If not set, it comes from where the user's name comes from.
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
      - A password or token that goes to another host without TLS gives a warning, unless V(off) says that it is meant.
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
    description:
      - How long connecting to one server may take, as seconds or text such as V(5s).
    type: str
    default: 5s
  timeout:
    description:
      - How long one request may take, as seconds or text such as V(10s).
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
      - Where it is not set, the main collective of O(choria_config), and without one V(mcollective).
    type: str
  identity:
    description:
      - The name by which others know who holds a seat in a governor or wrote a message.
      - Modules use the managed host's FQDN where it is not set, plugins the name of the host in the inventory.
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

    PLUGINS = r"""
options:
  servers:
    env:
      - name: CHORIA_STREAMS_SERVERS
      - name: NATS_URL
    ini:
      - section: choria_streams
        key: servers
    vars:
      - name: choria_streams_servers
  choria_config:
    env:
      - name: CHORIA_STREAMS_CHORIA_CONFIG
    ini:
      - section: choria_streams
        key: choria_config
    vars:
      - name: choria_streams_choria_config
  context:
    env:
      - name: CHORIA_STREAMS_CONTEXT
    ini:
      - section: choria_streams
        key: context
    vars:
      - name: choria_streams_context
  user:
    env:
      - name: CHORIA_STREAMS_USER
    ini:
      - section: choria_streams
        key: user
    vars:
      - name: choria_streams_user
  password:
    env:
      - name: CHORIA_STREAMS_PASSWORD
    ini:
      - section: choria_streams
        key: password
    vars:
      - name: choria_streams_password
  token:
    env:
      - name: CHORIA_STREAMS_TOKEN
    ini:
      - section: choria_streams
        key: token
    vars:
      - name: choria_streams_token
  creds:
    env:
      - name: CHORIA_STREAMS_CREDS
    ini:
      - section: choria_streams
        key: creds
    vars:
      - name: choria_streams_creds
  nkey_seed:
    env:
      - name: CHORIA_STREAMS_NKEY_SEED
    ini:
      - section: choria_streams
        key: nkey_seed
    vars:
      - name: choria_streams_nkey_seed
  jwt:
    env:
      - name: CHORIA_STREAMS_JWT
    ini:
      - section: choria_streams
        key: jwt
    vars:
      - name: choria_streams_jwt
  seed:
    env:
      - name: CHORIA_STREAMS_SEED
    ini:
      - section: choria_streams
        key: seed
    vars:
      - name: choria_streams_seed
  tls:
    env:
      - name: CHORIA_STREAMS_TLS
    ini:
      - section: choria_streams
        key: tls
    vars:
      - name: choria_streams_tls
  ca_path:
    env:
      - name: CHORIA_STREAMS_CA_PATH
    ini:
      - section: choria_streams
        key: ca_path
    vars:
      - name: choria_streams_ca_path
  client_cert:
    env:
      - name: CHORIA_STREAMS_CLIENT_CERT
    ini:
      - section: choria_streams
        key: client_cert
    vars:
      - name: choria_streams_client_cert
  client_key:
    env:
      - name: CHORIA_STREAMS_CLIENT_KEY
    ini:
      - section: choria_streams
        key: client_key
    vars:
      - name: choria_streams_client_key
  validate_certs:
    env:
      - name: CHORIA_STREAMS_VALIDATE_CERTS
    ini:
      - section: choria_streams
        key: validate_certs
    vars:
      - name: choria_streams_validate_certs
  tls_first:
    env:
      - name: CHORIA_STREAMS_TLS_FIRST
    ini:
      - section: choria_streams
        key: tls_first
    vars:
      - name: choria_streams_tls_first
  connect_timeout:
    env:
      - name: CHORIA_STREAMS_CONNECT_TIMEOUT
    ini:
      - section: choria_streams
        key: connect_timeout
    vars:
      - name: choria_streams_connect_timeout
  timeout:
    env:
      - name: CHORIA_STREAMS_TIMEOUT
    ini:
      - section: choria_streams
        key: timeout
    vars:
      - name: choria_streams_timeout
  domain:
    env:
      - name: CHORIA_STREAMS_DOMAIN
    ini:
      - section: choria_streams
        key: domain
    vars:
      - name: choria_streams_domain
  api_prefix:
    env:
      - name: CHORIA_STREAMS_API_PREFIX
    ini:
      - section: choria_streams
        key: api_prefix
    vars:
      - name: choria_streams_api_prefix
  inbox_prefix:
    env:
      - name: CHORIA_STREAMS_INBOX_PREFIX
    ini:
      - section: choria_streams
        key: inbox_prefix
    vars:
      - name: choria_streams_inbox_prefix
  collective:
    env:
      - name: CHORIA_STREAMS_COLLECTIVE
    ini:
      - section: choria_streams
        key: collective
    vars:
      - name: choria_streams_collective
  identity:
    env:
      - name: CHORIA_STREAMS_IDENTITY
    ini:
      - section: choria_streams
        key: identity
    vars:
      - name: choria_streams_identity
"""
