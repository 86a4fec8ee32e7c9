# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read keys of a bucket."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: choria_kv
version_added: 1.0.0
short_description: Read keys of a key-value bucket of Choria Streams
description:
  - Returns the values of keys, in the order of the terms. Several keys are read in one batch.
  - It reads with the rights of the controller, and never writes.
  - All lookups of a process with the same connection options share one connection.
author:
  - The choria.streams developers (@choria-io)
options:
  _terms:
    description:
      - The keys. Without O(bucket) each begins with its bucket, as V(CFG/auth.username).
      - With O(prefix) each is a prefix of keys, and an empty text stands for all of the bucket.
      - A number is read as text.
    type: list
    elements: str
    required: true
  bucket:
    description: The bucket of all the keys. If not set, each key begins with the name of its bucket.
    type: str
  default:
    description:
      - The value of a key that does not exist, or was deleted. It is returned as it is, without O(format) and O(query).
      - It takes precedence over O(missing). If not set, O(missing) applies.
    type: raw
  missing:
    description: The result for a key that does not exist, or was deleted.
    type: str
    choices:
      error: The lookup fails, and names the key.
      skip: It is left out, so that fewer values are returned than there are terms.
      empty: >-
        It has an empty value, which is an empty text, an empty list with O(history), and an empty dict with
        O(prefix).
    default: error
  revision:
    description: >-
      Read the one key as it was written in this revision. RV(choria.streams.choria_kv#module:entry) and O(history)
      have the revisions. The bucket's O(choria.streams.choria_kv_bucket#module:history) is how many revisions it keeps.
      If not set, the newest is read.
    type: int
  history:
    description: >-
      Return for each key a list of all its revisions that are kept, the oldest first. Each is a dict with C(revision),
      C(created) (RFC 3339 UTC), C(operation) (V(put), V(delete) or V(purge)), C(value) (null if it was deleted) and
      C(ttl) (its lifetime in seconds, or null).
    type: bool
    default: false
  prefix:
    description:
      - Return for each term a dict of all keys below it, and their values. The dict has the keys without the prefix.
      - V(auth) and V(auth.) mean all keys that begin with V(auth.). A prefix that ends in V(/) is used as it is. An
        empty prefix means the whole bucket.
      - All values are of one moment, even if others write meanwhile. More than 1,024 keys are read with a consumer.
        Without the rights for a consumer, and before nats-server 2.11 also for fewer keys, keys are read again after
        each write of others. The lookup fails when that happens five times in a row.
    type: bool
    default: false
  as_of:
    description:
      - Read the keys as they were at this revision of the bucket, or at this time (RFC 3339, such as
        V(2026-03-01T12:00:00Z)). Later writes are ignored. So all tasks and hosts of a play with the same value of this
        option get the same values.
      - RV(choria.streams.choria_kv_bucket_info#module:buckets) has the present revision. If the history of the bucket
        is too short, so that it no longer has the value of a key at that time, the lookup fails with an error that says
        so.
      - Where values expire (O(choria.streams.choria_kv_bucket#module:ttl) and
        O(choria.streams.choria_kv_bucket#module:limit_marker_ttl)), a key may vanish without a trace. So the lookup
        also fails for a key of which nothing is kept from that time, and for every O(prefix), unless the bucket still
        has all revisions that were ever written. Keys that were removed with all revisions and markers, as
        O(choria.streams.choria_kv_bucket#module:compact) does, count as never written.
      - Also with O(prefix), but not with O(revision), O(history) and O(wait).
      - If not set, the present values are read.
    type: str
  wait:
    description:
      - Wait until each key has a value, at most for this time, as seconds or text such as V(30s). After that,
        O(missing) and O(default) apply.
      - The write wakes the lookup, which sends no requests meanwhile.
      - Not with O(prefix), O(revision) and O(history).
    type: str
  format:
    description: The format of values.
    type: str
    choices:
      text: UTF-8 text.
      json: JSON, which becomes data.
      yaml: YAML, which becomes data.
      base64: Any bytes, returned as base64 text.
    default: text
  query:
    description: >-
      A JMESPath expression, applied to each value when O(format) is V(json) or V(yaml), to each list of O(history) and
      to each dict of O(prefix). Needs the Python library jmespath on the controller. If not set, values are returned as
      they are.
    type: str
  cache_ttl:
    description:
      - How long lookups with the same options may use a result again, as seconds or text such as V(30s).
      - Each process has its own memory, and Ansible runs each task on each host in a new one, so this helps within a
        template or a loop, not from task to task.
    type: str
    default: '0'
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.connection.plugins
notes:
  - The options of a connection are those of the controller, and may be templates when variables set them.
  - Values are never part of an error. A task that shows them needs C(no_log), as with any other secret.
  - In a cluster any replica of the bucket may answer, so that a value written a moment ago by another client may not be
    there yet.
seealso:
  - module: choria.streams.choria_kv
  - module: choria.streams.choria_kv_bucket
"""

EXAMPLES = r"""
---
- name: A bucket for configuration, with five values of each key
  choria.streams.choria_kv_bucket:
    name: CFG
    history: 5

- name: Write keys
  choria.streams.choria_kv:
    bucket: CFG
    key: "{{ item.key }}"
    value: "{{ item.value }}"
    encoding: "{{ item.encoding | default('text') }}"
  loop:
    - {key: auth.username, value: admin}
    - {key: auth.realm, value: example.net}
    - {key: web.server, encoding: json, value: {port: 8080, hosts: [web1, web2]}}

- name: Read a key
  ansible.builtin.debug:
    msg: "The user is {{ lookup('choria.streams.choria_kv', 'auth.username', bucket='CFG') }}"

- name: Name the bucket with the key
  ansible.builtin.debug:
    msg: "The user is {{ lookup('choria.streams.choria_kv', 'CFG/auth.username') }}"

- name: Use another value if the key does not exist
  ansible.builtin.debug:
    msg: "{{ lookup('choria.streams.choria_kv', 'web.port', bucket='CFG', default=80) }}"

- name: Loop over several keys, and leave out what is not there
  ansible.builtin.debug:
    var: item
  loop: "{{ query('choria.streams.choria_kv', 'auth.username', 'auth.password', bucket='CFG', missing='skip') }}"

- name: Read all keys below a prefix as of one moment
  ansible.builtin.debug:
    msg: "{{ auth.username }} at {{ auth.realm }}"
  vars:
    auth: "{{ lookup('choria.streams.choria_kv', 'auth', bucket='CFG', prefix=true) }}"

- name: Read JSON, and a part of it
  ansible.builtin.debug:
    msg: "{{ lookup('choria.streams.choria_kv', 'CFG/web.server', format='json', query='hosts[0]') }}"

- name: Read the revisions that are kept
  ansible.builtin.debug:
    msg: "{{ item.revision }} of {{ item.created }}"
  loop: "{{ lookup('choria.streams.choria_kv', 'auth.username', bucket='CFG', history=true) }}"
  loop_control:
    label: "{{ item.revision }}"

- name: Remember the present revision of the bucket
  choria.streams.choria_kv_bucket_info:
    names: [CFG]
  register: cfg

- name: Read as of that moment, in any number of tasks
  ansible.builtin.debug:
    msg: "{{ lookup('choria.streams.choria_kv', 'CFG/auth.username', as_of=cfg.buckets[0].revision) }}"

- name: Wait up to half a minute for a value
  ansible.builtin.debug:
    msg: "{{ lookup('choria.streams.choria_kv', 'CFG/auth.username', wait='30s') }}"

- name: Read from other servers
  ansible.builtin.debug:
    msg: "{{ lookup('choria.streams.choria_kv', 'CFG/auth.username') }}"
  vars:
    choria_streams_servers: "{{ lookup('ansible.builtin.env', 'CHORIA_STREAMS_SERVERS') }}"
    choria_streams_timeout: 2s
"""

RETURN = r"""
---
_raw:
  description:
    - A value for each term, of the type that O(format) and O(query) give it.
    - With O(history) a list for each term, with O(prefix) a dict for each.
  type: list
  elements: raw
  sample: [admin]
"""

from typing import TYPE_CHECKING, Any

from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.reader import KvReader
from ansible_collections.choria.streams.plugins.module_utils._options.codecs import whole
from ansible_collections.choria.streams.plugins.module_utils._options.formats import Query
from ansible_collections.choria.streams.plugins.module_utils._options.names import BUCKET_NAME, EXISTING_KEY
from ansible_collections.choria.streams.plugins.plugin_utils._kv_answers import Answer, Target, answers, seconds
from ansible_collections.choria.streams.plugins.plugin_utils._plugin import (
    options_of,
    shared_session,
    texts_of,
    translated,
)
from ansible_collections.choria.streams.plugins.plugin_utils._results.learned_secrets import learn_values
from ansible_collections.choria.streams.plugins.plugin_utils._run import CHECK_EVERY, check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_NO_KEY = "write one, or '' with prefix=true for all keys of the bucket"


class LookupModule(LookupBase):
    def run(self, terms: Sequence[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        with translated("choria_kv: "):
            default = [kwargs.pop("default")] if "default" in kwargs else []
            options, settings = options_of(self, variables or {}, kwargs)
            targets = [_target(term, options) for term in texts_of(terms, "key", _NO_KEY)]
            _check(options, targets)
            query = Query(options["query"]) if options["query"] else None
            session = shared_session(settings, read_only=True, warn=Display().warning)
            if options["wait"]:
                session.meanwhile(CHECK_EVERY, check)
            reader = KvReader(session, seconds(options, "cache_ttl"))
            results: list[Any] = []
            for (_bucket, key), answer in zip(targets, answers(reader, targets, options)):
                learn_values(key, answer.value)
                if answer.problem:
                    results.extend(default or _instead(answer, options["missing"]))
                else:
                    results.append(query.search(answer.value, answer.name) if query else answer.value)
            return results


def _target(term: str, options: Mapping[str, Any]) -> Target:
    bucket, key = options["bucket"], term
    if bucket is None:
        bucket, slash, key = term.partition("/")
        if not slash:
            raise _errors.OptionError(
                "bucket", f"is not given, and '{term}' names none: give bucket, or write BUCKET/{term}."
            )
    _errors.checked("bucket", BUCKET_NAME.to_wire, bucket)
    if options["prefix"]:
        from ansible_collections.choria.streams.plugins.module_utils._api.kv.kv_snapshot import normal_prefix

        return bucket, normal_prefix(key)
    return bucket, _errors.checked("key", EXISTING_KEY.to_wire, key)


def _check(options: Mapping[str, Any], targets: Sequence[Target]) -> None:
    asked = [name for name in ("revision", "history", "prefix") if options[name]]
    for names in (asked, *(["as_of", name] for name in ("revision", "history", "wait"))):
        given = [name for name in names if options[name]]
        if len(given) > 1:
            raise _errors.OptionError(given[0], f"can't be given together with {given[1]}: give one of them.")
    if options["revision"] is not None:
        _errors.checked("revision", whole(1).to_wire, options["revision"])
    if options["wait"] and asked:
        raise _errors.OptionError(
            "wait", f"can't be given together with {asked[0]}: it is for the present values of keys."
        )
    if options["revision"] and len(targets) > 1:
        raise _errors.OptionError(
            "revision", f"belongs to one key, and {len(targets)} are given: look them up one by one."
        )
    if options["query"] and options["format"] not in ("json", "yaml") and asked not in (["history"], ["prefix"]):
        raise _errors.OptionError("query", "needs data to select from: set format to json or yaml.")


def _instead(answer: Answer, missing: str) -> list[Any]:
    """Return the replacement of a missing answer."""
    if missing == "error":
        raise _errors.StreamsError(f"{answer.problem}: check the name, or give default or missing.", code="missing")
    return [] if missing == "skip" else [answer.empty]
