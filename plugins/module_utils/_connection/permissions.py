# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the permission of a Choria token that allows a subject, as ``choria jwt`` names it.

Source: go-choria, broker/network/choria_auth.go.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .. import _errors
from .._choria.tokens import SERVER

if TYPE_CHECKING:
    from .._choria.tokens import Token

PUBLISH, SUBSCRIBE = "publish to", "subscribe to"

_API = r"(\$JS\.(.+\.)?API|choria\.streams)\."
_OF_ALL = r"STREAM\.(INFO|MSG)|DIRECT\.GET|CONSUMER\.(CREATE|DURABLE|INFO|MSG)"
_OF_CLIENTS = r"INFO|STREAM\.(NAMES|LIST)|CONSUMER\.(NAMES|LIST|DELETE)"
# The broker ignores the one without the other
_GOVERNOR = "--governor --stream-user"

# Subjects in the order in which they are looked at, and the flag that allows them to clients and to servers: with None
# no server's token may. What no row has is allowed to single tokens by name.
_ROWS = {
    PUBLISH: (
        (rf"{_API}({_OF_ALL})\b", "--stream-user", "--stream-user"),
        (rf"{_API}({_OF_CLIENTS})\b", "--stream-user", None),
        (_API, "--stream-admin", None),
        (r"\$JS\.(ACK|FC)\.", "--stream-user", "--stream-user"),
        (r"\$(KV|O)\.", "--stream-user", None),
        (r"[^.]+\.governor\.[^.]+$|choria\.lifecycle\.event\.governor\.", _GOVERNOR, _GOVERNOR),
        (r"[^.]+\.submission\.in\.", "--publish {}", "--submission"),
        ("", "--publish {}", "--subjects {}"),
    ),
    SUBSCRIBE: (
        (r"choria\.(lifecycle|machine)\.", "--event-viewer", None),
        (r"\$JS\.EVENT\.", "--stream-admin", None),
        ("", "--subscribe {}", None),
    ),
}


def missing_permission(verb: str, subject: str, jwt: Token | None = None) -> _errors.PermissionMissing:
    """Return the error for a refused subject. ``verb`` is PUBLISH or SUBSCRIBE, ``jwt`` the token in use."""
    for_clients, for_servers = next(row[1:] for row in _ROWS[verb] if re.match(row[0], subject))
    flag = for_clients.format(subject)
    if jwt is None:
        remedy = f"allow it for the user, or use a Choria token made with 'choria jwt client … {flag}'"
    elif jwt.purpose != SERVER:
        remedy = f"make the token of {jwt.caller} with 'choria jwt client … {flag}'"
    elif for_servers is None:
        remedy = f"no server's token may, so use a client's, made with 'choria jwt client … {flag}'"
    else:
        flag = for_servers.format(subject)
        remedy = f"make the token of {jwt.caller} with 'choria jwt server … {flag}'"
    return _errors.PermissionMissing(
        f"These credentials may not {verb} {subject}: {remedy}.",
        subject=subject,
        permission=flag.split()[0].lstrip("-"),
    )
