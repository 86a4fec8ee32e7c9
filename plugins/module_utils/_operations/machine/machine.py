# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of choria_machine: deploy an autonomous agent to the store, or remove those that are not listed."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import codecs, fields, quantities, values
from .definition import (
    beyond_program,
    check_by_program,
    check_definition,
    checked_name,
    shown_definitions,
    to_yaml,
)
from .files import DEFINITION_MODE, MANIFEST, Content, File, files_in, files_of, listing_of, load, read_file
from .store import STORE, Store, find_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..._connection import sessions

PRESENT, ABSENT, PURGED = "present", "absent", "purged"
_FILE = {
    "path": {"type": "str", "required": True},
    "content": {"type": "raw", "required": True},
    "encoding": {"type": "str", "choices": list(values.ENCODINGS), "default": values.TEXT},
    "mode": {"type": "raw", "default": "0644"},
}
SPEC = fields.Spec(
    (
        fields.Field("state", codecs.choice(PRESENT, ABSENT, PURGED), argument_extra={"default": PRESENT}),
        fields.Field("name", codecs.Codec({"type": "str"})),
        STORE,
        fields.Field("definition", codecs.Codec({"type": "dict"})),
        fields.Field("files", codecs.Codec({"type": "list", "elements": "dict", "default": [], "options": _FILE})),
        fields.Field("archive", codecs.Codec({"type": "path"})),
        fields.Field("archive_checksum", codecs.Codec({"type": "str"})),
        fields.Field("exact", codecs.boolean(), argument_extra={"default": False}),
        fields.Field("validate", codecs.boolean(), argument_extra={"default": True}),
        fields.Field("program", codecs.Codec({"type": "path"})),
        fields.Field("keep", codecs.names(codecs.text("(?s).+", "give names or patterns, which are not empty"))),
    ),
    {
        "required_if": [
            ("state", PRESENT, ("name",)),
            ("state", PRESENT, ("definition", "archive"), True),
            ("state", ABSENT, ("name",)),
            ("state", PURGED, ("keep",)),
        ],
        "required_together": [("archive", "archive_checksum")],
    },
)


@dataclass
class Checks:
    """The checks of the definition in ``option``, and the parts that the program does not know or refused."""

    option: str
    validated: list[str] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    unknown_to_program: list[str] = field(default_factory=list)


def act(connect: Callable[[], sessions.Session], options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the whole result. It never connects."""
    store = find_store(options["store"], options["choria_config"])
    if options["state"] == PRESENT:
        return _present(store, options, check_mode)
    if options["state"] == ABSENT:
        return _absent(store, checked_name(options["name"]), check_mode)
    return _purged(store, options["keep"], check_mode)


def _present(store: Store, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    name = checked_name(options["name"])
    files, checks = _files(name, options)
    content = Content(files, options["exact"])
    check = partial(_ask_program, options["program"], checks)
    if check_mode and not store.path.exists():
        check_alone(content, check)
        return _result(store, name, content, checks, changed=True)
    store.check()
    with nullcontext() if check_mode else store.locked():
        folder = store.folder(name)
        changed = not content.is_in(folder)
        result = _result(store, name, content, checks, changed)
        if changed:
            store.check_writable()
        if changed and check_mode:
            check_alone(content, check)
        elif changed:
            store.put(name, content, check)
    return result


def check_alone(content: Content, check: Callable[[Path], None]) -> None:
    """Check a folder outside of the store."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "machine"
        content.write(folder)
        check(folder)


def _ask_program(program: str | None, checks: Checks, folder: Path) -> None:
    """Check with the program. Its refusal is ignored for parts that only the schema knows."""
    if not program:
        return
    try:
        check_by_program(program, str(folder), checks.option)
    except _errors.Refused:
        if not checks.beyond:
            raise
        checks.unknown_to_program.extend(checks.beyond)
    else:
        checks.validated.append("program")


def _files(name: str, options: Mapping[str, Any]) -> tuple[dict[str, File], Checks]:
    """Return all files, and the checks of their definition so far. Raises OptionError."""
    files = files_in(options["archive"], options["archive_checksum"]) if options["archive"] else {}
    own = files_of(options["files"])
    files.update(own)
    below = next((path for path in files if any(str(above) in files for above in PurePosixPath(path).parents)), None)
    if below:
        raise _errors.OptionError("files", f"'{below}' is below a file, and one of them is in archive: move one.")
    definition, option = options["definition"], "definition"
    if definition is not None:
        if MANIFEST in own:
            raise _errors.OptionError("files", f"{MANIFEST} is already given by definition: remove one of them.")
        definition = {"name": name, **definition}
        files[MANIFEST] = File(to_yaml(definition).encode(), DEFINITION_MODE)
    elif MANIFEST in files:
        option = "archive"
        if not files[MANIFEST].content.strip():
            raise _errors.OptionError("archive", f"its {MANIFEST} is empty: write the definition there.")
        try:
            definition = load(files[MANIFEST].content)
        except ValueError as error:
            raise _errors.OptionError("archive", f"its {MANIFEST} {error}: correct it.") from None
        except _errors.LibraryMissing:
            return files, Checks(option)
    else:
        raise _errors.OptionError("archive", f"{options['archive']} has no {MANIFEST}: add it, or give definition.")
    if not isinstance(definition, dict) or definition.get("name") != name:
        other = definition.get("name") if isinstance(definition, dict) else None
        shown = quantities.shortened(other) if other else "no machine with a name"
        raise _errors.OptionError(option, f"it defines {shown}, and not {name}: give the name that it has.")
    if not options["validate"]:
        return files, Checks(option)
    check_definition(definition, option)
    return files, Checks(option, ["schema"], beyond_program(definition))


def _result(store: Store, name: str, content: Content, checks: Checks, changed: bool) -> dict[str, Any]:
    folder = store.path / name
    manifest = content.files[MANIFEST].content
    result: dict[str, Any] = {
        "changed": changed,
        "machine": {
            "name": name,
            "path": str(folder),
            "checksum": hashlib.sha256(manifest).hexdigest(),
            "files": sorted(content.files),
            "validated": checks.validated,
            "unknown_to_program": checks.unknown_to_program,
        },
    }
    if changed:
        there = read_file(folder / MANIFEST)
        shown = there.content.decode(errors="replace") if there else ""
        result["diff"] = [
            _diff(str(folder / MANIFEST), *shown_definitions(shown, manifest.decode(errors="replace"))),
            _diff(f"{folder} (files)", listing_of(folder, content), content.listing()),
        ]
    return result


def _diff(header: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def _absent(store: Store, name: str, check_mode: bool) -> dict[str, Any]:
    if not store.path.exists():
        return {"changed": False, "removed": []}
    store.check()
    return _removed(store, [name] if store.folder(name).exists() else [], check_mode)


def _purged(store: Store, keep: list[str], check_mode: bool) -> dict[str, Any]:
    if check_mode and not store.path.exists():
        return {"changed": False, "removed": []}
    store.check()
    return _removed(store, store.unknown(keep), check_mode)


def _removed(store: Store, names: list[str], check_mode: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"changed": bool(names), "removed": names}
    if names:
        result["diff"] = _diff(str(store.path), "".join(f"{name}\n" for name in names), "")
        store.check_writable(*names)
    if names and not check_mode:
        with store.locked():
            for name in names:
                store.remove(name)
    return result
