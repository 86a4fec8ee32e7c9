# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the certificates and tokens that the role choria copies."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: choria_role_material_problems
version_added: 1.0.0
short_description: Check certificates, keys and tokens on the controller
description:
  - Returns what is wrong with certificates, keys and tokens, before the role P(choria.streams.choria#role) copies them.
  - A server and a client with the files shake hands in memory. That checks the chain, the dates, the key and the names.
author:
  - The choria.streams developers (@choria-io)
options:
  _input:
    description:
      - A dict with C(authority), the path of the authority's certificate, C(trusted), paths of further ones, C(pairs)
        and C(tokens).
      - An entry of C(pairs) has C(option), C(certificate), C(key) and C(names). The certificate has to be valid for
        each of the names.
      - An entry of C(tokens) has C(option), C(token), C(seed) and C(purposes), those that the token may have.
    type: dict
    required: true
"""

EXAMPLES = r"""
---
- name: Show what is wrong with an authority
  ansible.builtin.debug:
    msg: "{{ material | choria.streams.choria_role_material_problems }}"
  vars:
    material: {authority: /nowhere/ca.pem, trusted: [], pairs: [], tokens: []}
"""

RETURN = r"""
---
_value:
  description: One sentence for each fault. The list is empty if there is none.
  type: list
  elements: str
  sample: [the certificate of broker1 has expired]
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.plugin_utils._role.certificates import material_problems

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = "choria_role_material_problems"


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {_NAME: material_problems}
