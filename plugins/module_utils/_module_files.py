# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge for modules that write files on managed hosts."""

from __future__ import annotations

import grp
import os
import pwd
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from . import _errors
from ._fsync import check_writable
from ._module import failing, module_of, session_of
from ._options import quantities

# As Ansible reads them: octal digits, or symbols
_MODE = re.compile(r"(0o)?[0-7]{1,4}|[ugoa]*([-+=]([rwxXst]*|[ugo]))+(,[ugoa]*([-+=]([rwxXst]*|[ugo]))+)*")
_MOST_MODE, _MOST_ID = 0o7777, (1 << 32) - 2

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._connection import sessions
    from ._module import AnsibleModule, Secrets, Shown
    from ._options import fields

    Settle = Callable[[str, Any], bool]


class TextFile(Protocol):
    """The present and the desired text of a file, None for no file."""

    @property
    def before(self) -> str | None:
        """The present text."""

    @property
    def after(self) -> str | None:
        """The desired text."""

    def diff(self, path: str) -> dict[str, str]:
        """Return both texts for a diff, without secrets."""


def run_file(spec: fields.Spec, prepare: Callable[[dict[str, Any]], TextFile], shown: Shown, secrets: Secrets) -> None:
    """Run a module that brings the text file at ``path`` into the desired state, with its owner, group and mode.

    ``shown(options)`` returns the options as they may be shown, ``secrets(options)`` values that nothing may show. A
    new file has mode 0600 unless the task sets another.
    """
    module = module_of(spec, connects=False, shown=shown, secrets=secrets, add_file_common_args=True)
    with failing(module):
        _check_attributes(module.params)
    path = module.params["path"] = module.params["path"].rstrip("/") or "/"
    with failing(module):
        file = prepare(module.params)
        folder = os.path.dirname(os.path.abspath(path))
        if file.after is not None and not os.path.isdir(folder) and not module.check_mode:
            raise _errors.OptionError(
                "path", f"{path} can't be written (its folder is missing): create the folder first."
            )
        changed = file.before != file.after
        if changed:
            _write_file(module, path, file.after)
        if file.after is not None and os.path.exists(path):
            arguments = module.load_file_common_arguments(module.params)
            try:
                changed = _set_attributes(module, arguments, changed=changed)
            except _errors.StreamsError as error:
                error.result = {"changed": changed, "path": path}
                raise
        report = {"diff": file.diff(path)} if file.before != file.after else {}
        module.exit_json(changed=changed, path=path, **report)


def _set_attributes(module: AnsibleModule, arguments: dict[str, Any], *, changed: bool) -> bool:
    """Set the owner and mode of a file. Raises StreamsError if that fails."""
    module.raises = True
    try:
        return bool(module.set_fs_attributes_if_different(arguments, changed))
    finally:
        module.raises = False


def _check_attributes(options: dict[str, Any]) -> None:
    """Raise OptionError for an owner, a group or a mode that Ansible would refuse after the file is written."""
    for option in ("mode", "directory_mode"):
        mode = options.get(option)
        if isinstance(mode, int) and not isinstance(mode, bool):
            good = 0 <= mode <= _MOST_MODE
        else:
            good = mode is None or (isinstance(mode, str) and bool(_MODE.fullmatch(mode)))
        if not good:
            raise _errors.OptionError(
                option, f"'{quantities.shortened(mode)}' is not a mode: give octal digits as text, such as '0644'."
            )
    for option, find in (("owner", pwd.getpwnam), ("group", grp.getgrnam)):
        name = options.get(option)
        try:
            if name is not None and (not name.isdecimal() or int(name) > _MOST_ID):
                find(name)
        except (KeyError, ValueError):
            raise _errors.OptionError(
                option,
                f"there is no {option} '{quantities.shortened(name)}' on this host: correct it, or create it first.",
            ) from None


def _write_file(module: AnsibleModule, path: str, text: str | None) -> None:
    """Replace a file in one step, or remove it. An existing file keeps its owner and mode. Check mode only checks."""
    try:
        check_writable(Path(path))
        if module.check_mode:
            return
        if text is None:
            os.unlink(path)
            return
        descriptor, made = tempfile.mkstemp(dir=module.tmpdir)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        before = os.umask(0o077)  # atomic_move gives a new file what the umask allows
        try:
            module.atomic_move(made, os.path.abspath(path))
        finally:
            os.umask(before)
    except Exception as error:  # atomic_move raises no errors of its own
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise _errors.OptionError("path", f"{path} can't be written ({reason}): check path and permissions.") from error


def run_files(
    spec: fields.Spec,
    act: Callable[[sessions.Session, dict[str, Any], bool, Settle, bool], dict[str, Any]],
    shown: Shown,
) -> None:
    """Run a module that may write files, with the options for their owner and mode.

    ``act(session, options, check_mode, settle, with_diff)`` returns the whole result. ``settle(path, mode)`` sets the
    owner of a file or folder by these options, and returns True if that changed something. ``shown`` returns the
    options as they may be shown.
    """
    module = module_of(spec, shown=shown, add_file_common_args=True)
    with failing(module):
        _check_attributes(module.params)

    def settle(path: str, mode: Any) -> bool:
        arguments = module.load_file_common_arguments({**module.params, "mode": mode}, path)
        return _set_attributes(module, arguments, changed=False)

    with failing(module):
        with session_of(module, read_only=module.check_mode) as session:
            result = act(session, module.params, module.check_mode, settle, module._diff)
        module.exit_json(**result)
