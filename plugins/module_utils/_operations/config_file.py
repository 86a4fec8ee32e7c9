# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check, render and show a Choria configuration file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._choria.keys import LISTED, is_known, is_secret, nearest
from .._choria.program import ask
from .._connection.servers import secrets_of
from .._options import codecs, fields, quantities, untrusted
from .._options import mask as masks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

PRESENT, ABSENT = "present", "absent"
SPEC = fields.Spec(
    (
        fields.Field("path", codecs.Codec({"type": "path", "required": True})),
        fields.Field("settings", codecs.Codec({"type": "dict", "default": {}})),
        fields.Field("other_keys", codecs.Codec({"type": "list", "elements": "str", "default": [], "no_log": False})),
        fields.Field("program", codecs.Codec({"type": "path"})),
        fields.Field("state", codecs.Codec({"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT})),
    )
)
_CREDENTIALS = re.compile(r"((?<![^,\s])(?:\w+:/+)?)[^,\s]+@")
_KEY = re.compile(r"[^\s=#][^\s=]*")
HEADER = "# Written by Ansible (choria.streams.choria_config): changes made here are lost\n"


@dataclass(frozen=True)
class TextFile:
    """The present and the desired text of a file, None for no file."""

    before: str | None
    after: str | None

    def diff(self, path: str) -> dict[str, str]:
        """Return the masked texts for a diff."""
        before, after = shown(self.before), shown(self.after)
        if before == after:
            after += f"# {masks.CHANGED}\n"
        return {"before_header": path, "after_header": path, "before": before, "after": after}


def prepare(options: Mapping[str, Any]) -> TextFile:
    """Return the texts of the file. Raises OptionError for a wrong path or setting, before anything is written."""
    absent = options["state"] == ABSENT
    before = _read(options["path"], of_any_bytes=absent)
    if absent:
        return TextFile(before, None)
    after = HEADER + "".join(f"{key} = {value}\n" for key, value in render(options).items())
    if len(after.encode()) > untrusted.MOST_CONFIG:
        raise _errors.OptionError(
            "settings", f"makes a file of more than {untrusted.MOST_CONFIG} bytes, which nobody reads: give less."
        )
    return TextFile(before, after)


def secrets(options: Mapping[str, Any]) -> set[str]:
    """Return the secrets in options, which need not be valid."""
    settings = options.get("settings")
    values = _flat(settings) if isinstance(settings, dict) else ()
    texts = [(key, str(text)) for key, value in values for text in (value if isinstance(value, list) else [value])]
    secret = {text for key, text in texts if is_secret(key) and text}
    return secret | secrets_of(text for _key, text in texts if "://" in text)


def shown_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options as results and logs may show them."""
    settings = options.get("settings")
    if settings is None:
        return options
    return {**options, "settings": _shown_settings(settings) if isinstance(settings, dict) else masks.HIDDEN}


def _shown_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    masked: dict[str, Any] = {}
    for key, value in settings.items():
        whole = f"{prefix}{key}"
        if isinstance(value, dict):
            masked[key] = _shown_settings(value, f"{whole}.")
        elif isinstance(value, list):
            masked[key] = [_shown_value(whole, item) for item in value]
        else:
            masked[key] = _shown_value(whole, value)
    return masked


def _shown_value(key: str, value: Any) -> Any:
    if masks.is_nothing(value):
        return value
    return masks.HIDDEN if is_secret(key) else _without_credentials(value) if isinstance(value, str) else value


def render(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the lines to write, ``key`` to text, in order. Keys without a value are left out.

    Raises OptionError for an unknown key, or a value that a file can't hold, and Refused for a key that the program
    itself does not know.
    """
    settings, others = dict(_flat(options["settings"])), options["other_keys"]
    lines: dict[str, str] = {}
    for key, value in sorted(_flat(options["settings"]), key=lambda pair: pair[0]):
        if not _KEY.fullmatch(key):
            raise _errors.OptionError(
                "settings",
                f"'{quantities.shortened(key)}' can't be a key: a key has no blanks, no = and no # before it.",
            )
        if not is_known(key) and key not in others:
            like = nearest(key)
            hint = (
                f", did you mean {like}? If a plugin of yours reads it," if like else ": if a plugin of yours reads it,"
            )
            raise _errors.OptionError("settings", f"{key} is not a key of Choria{hint} list it in other_keys.")
        if value != settings[key]:
            raise _errors.OptionError("settings", f"{key} has two values, one inside of a dict: leave one out.")
        text = _text(key, value)
        if text:
            lines[key] = text
    if options["program"]:
        _ask_program(options["program"], lines, others)
    return lines


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested dicts as keys that are joined by dots, and their values."""
    for key, value in settings.items():
        whole = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{whole}.")
        else:
            yield whole, value


def shown(text: str | None) -> str:
    """Return the text of a file with secrets masked, also of a file that somebody else wrote."""
    # Values may hold other characters that Python takes for the end of a line
    return "\n".join(map(_masked, (text or "").split("\n")))


def _masked(line: str) -> str:
    key, equals, value = line.partition("=")
    if not equals:
        return _without_credentials(line)
    if is_secret(key.strip()):
        return f"{key.rstrip()} = {masks.HIDDEN}" if value.strip() else line
    return f"{key}={_without_credentials(value)}"


def _without_credentials(text: str) -> str:
    """Return the text without the part before an @ in each word."""
    return _CREDENTIALS.sub(rf"\1{masks.HIDDEN}@", text)


def _read(path: str, *, of_any_bytes: bool) -> str | None:
    """Return the text of the file, or None if there is none. Raises OptionError if it can't be read."""
    try:
        if of_any_bytes:
            return untrusted.read_bytes(path, untrusted.MOST_CONFIG).decode(errors="backslashreplace")
        return untrusted.read_text(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _errors.OptionError(
            "path", f"{path} can't be read ({error.strerror}): check path and permissions."
        ) from error


def _text(key: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        raise _errors.OptionError(
            "settings", f"{key} has a dict in its list, and a list holds plain values: give these."
        )
    if isinstance(value, list):
        parts = [_text(key, part) for part in value]
        if any("," in part for part in parts):
            raise _errors.OptionError(
                "settings", f"{key} has a comma in an entry, where it separates entries: remove it."
            )
        return ", ".join(parts)
    text = str(value).strip()
    if "\n" in text or "\r" in text:
        raise _errors.OptionError(
            "settings", f"{key} has more than one line, which a Choria file can't hold: give one line."
        )
    return text


def _ask_program(program: str, keys: Collection[str], others: Collection[str]) -> None:
    """Check keys with the installed program, which may be older or newer than our list."""
    answer = ask(program, "tool", "config", "--list")
    if answer.returncode:
        raise _errors.OptionError(
            "program", f"{program} tool config --list does not work (status {answer.returncode}): check program."
        )
    _check_listed(answer.stdout.split(), keys, others)


def _check_listed(listing: Collection[str], keys: Collection[str], others: Collection[str]) -> None:
    for key in sorted(keys):
        if key in LISTED and key not in listing and key not in others:
            raise _errors.Refused(
                f"settings: the choria program on this host does not know {key}: remove it, or install a release "
                "that has it.",
                code="option",
                option="settings",
            )
