# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that all code below the edges raises, and only the edges translate."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

# The oldest Python that modules run with. This is the first file that each of them imports: it must run with any.
NEEDED = (3, 9)


def python_problem(version: Any, executable: str) -> str:
    """Return the sentence for a Python that is too old, or an empty text."""
    if tuple(version[:2]) >= NEEDED:
        return ""
    needed, running = (".".join(map(str, parts)) for parts in (NEEDED, version[:3]))
    return (
        f"choria.streams needs Python {needed} or newer on the hosts that its modules run on, and {executable} is "
        f"Python {running}: install a newer one there, and set ansible_python_interpreter to it."
    )


_PROBLEM = python_problem(sys.version_info, sys.executable)
if _PROBLEM:
    failure = {"failed": True, "changed": False, "msg": _PROBLEM, "failure": {"code": "python_too_old"}}
    sys.stdout.write(json.dumps(failure))
    raise SystemExit(1)

T = TypeVar("T")
LONGEST = 8000  # characters of a message
# Codes of failures after a write: something is changed, or may be
WRITTEN = ("not_applied", "not_current", "copy_incomplete", "outcome_unknown")
# Codes of failures that may come before a write or after it
UNFORESEEN = ("bug", "file", "wrong_answer")


def shown(message: str) -> str:
    """Return a message as terminals show it: names and values in it may be long, and have line ends and other codes."""
    text = "\n- ".join("".join(char if char.isprintable() else " " for char in line) for line in message.split("\n- "))
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"


class StreamsError(Exception):
    """One sentence for the user: what, where, why and what to do. It never contains a secret.

    ``failure`` is the machine-readable part of results, so that playbooks can branch on it.
    """

    def __init__(self, message: str, **failure: Any) -> None:
        super().__init__(message)
        self.message = shown(message)
        self.failure: dict[str, Any] = dict(failure)
        self.result: dict[str, Any] = {}
        """What a module returns beside the failure."""


class OptionError(StreamsError):
    """An invalid option. It is raised before anything is sent."""

    def __init__(self, option: str, message: str, **failure: Any) -> None:
        super().__init__(f"{option}: {message}", code="option", option=option, **failure)
        self.reason = message


def checked(option: str, check: Callable[..., T], *given: Any) -> T:
    """Return ``check(*given)``. Its ValueError becomes the error of the option."""
    try:
        return check(*given)
    except ValueError as error:
        raise OptionError(option, f"{error}.") from None


class LibraryMissing(StreamsError):
    """A required Python library is not installed, or ``too_old`` describes its version."""

    def __init__(self, library: str, purpose: str, python: str, too_old: str = "") -> None:
        verb, flag = ("upgrade", " --upgrade") if too_old else ("install", "")
        super().__init__(
            f"The Python library {library} is needed {purpose}, but {python} {too_old or 'does not have it'}: "
            f"{verb} it there, for example with '{python} -m pip install{flag} {library}'.",
            code="library_missing",
            library=library,
        )


class Unreachable(StreamsError):
    """No server could be reached, or the connection broke."""

    def __init__(self, message: str, **failure: Any) -> None:
        super().__init__(message, **{"code": "unreachable", **failure})


class NoAnswer(StreamsError):
    """The server is up, but this request got no answer."""

    def __init__(self, message: str, **failure: Any) -> None:
        super().__init__(message, **{"code": "no_answer", **failure})


class OutcomeUnknown(NoAnswer):
    """A write was sent, and its answer got lost: it may be done now, later, or never.

    ``reason`` is the error that explains the missing answer.
    """

    def __init__(self, what: str, reason: StreamsError, remedy: str = "") -> None:
        remedy = remedy or "check what is there before you run the task again"
        unknown = "the answer got lost, so it is not known whether that was done"
        super().__init__(
            f"{what}: {unknown}: {remedy}. Reason: {reason.message}",
            code="outcome_unknown",
            reason=reason.failure.get("code", ""),
        )
        self.reason = reason


class WrongAnswer(StreamsError):
    """An invalid answer. ``written`` is True for a write, whose outcome is then unknown."""

    def __init__(self, what: str, problem: str, *, written: bool = False) -> None:
        unknown = ", so it is not known whether that was done" if written else ""
        super().__init__(
            f"{what}: the answer is not JetStream's ({problem}){unknown}: check servers and api_prefix, and what else "
            "listens there.",
            code="outcome_unknown" if written else "wrong_answer",
        )


class PermissionMissing(StreamsError):
    """The credentials do not allow the request."""

    def __init__(self, message: str, **failure: Any) -> None:
        super().__init__(message, **{"code": "permission", **failure})


class Refused(StreamsError):
    """The plan is impossible or dangerous: nothing was sent."""

    def __init__(self, message: str, **failure: Any) -> None:
        super().__init__(message, **{"code": "refused", **failure})


# How often to plan again when others write at the same time
TRIES = 3


class Overtaken(StreamsError):
    """Somebody else wrote after the plan was made. It has to be made again, ``tries`` times in all."""

    def __init__(self, message: str, tries: int = TRIES, **failure: Any) -> None:
        super().__init__(message, **{"code": "overtaken", **failure})
        self.tries = tries


class ApiError(StreamsError):
    """JetStream answered with an error.

    ``err_code`` is the number from nats-server's error catalogue (server/errors.json), ``status`` the HTTP-like code.
    """

    def __init__(self, what: str, status: int, err_code: int, description: str, hint: str = "") -> None:
        super().__init__(
            f"{what}: {description} (JetStream error {err_code})." + (f" {hint}" if hint else ""),
            code="api",
            status=status,
            err_code=err_code,
            description=description,
        )
        self.status = status
        self.err_code = err_code
        self.repeated = False
        """Whether it answers a request that was sent more than once, so that an earlier one may have succeeded."""
        self.description = description


def bug(error: BaseException) -> StreamsError:
    """Return the error for an unexpected exception, with its type and place, or its file. Its text may be a secret."""
    if isinstance(error, OSError) and error.filename:
        return StreamsError(f"{error.filename}: {error.strerror}: check the path and its permissions.", code="file")
    place, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "choria" in name and "ansible" in name:
            place = f" at {name.rpartition('plugins/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return StreamsError(
        f"{type(error).__name__}{place} is a bug of choria.streams: report this sentence with the task, and check "
        "what is there before you run it again.",
        code="bug",
    )


def missing(option: str, name: str, module: str, code: str) -> StreamsError:
    """Return the error of a missing stream or bucket that an option names, and that ``module`` creates."""
    return StreamsError(
        f"{option}: there is no {option} {name}: create it with {module}, or check its name and the options of the "
        "connection (servers, user, domain and api_prefix).",
        code=code,
        option=option,
    )


def in_words(value: Any) -> str:
    """Return a value of an option for a sentence, as people write it in a playbook."""
    if value is None or value in ("", [], {}):
        return "nothing"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
