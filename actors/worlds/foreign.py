"""Code of others, named in a settings file: importing it, and what goes wrong in it as one message."""

import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from actors.worlds.world import WorldError


def imported(path: str, field: str) -> Any:
    """What `module:name` means. Raises WorldError."""
    # A module of the user's own lies where the run was started; a command's own search path does not begin there.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    module_name, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise WorldError(f"{field}: {path!r} cannot be imported: {described(error)}{where_to_look(error)}") from error
    return found


@contextmanager
def told(what: str) -> Iterator[None]:
    """What goes wrong in code of others, or ends the program there, becomes a WorldError about `what`, with the line at
    which it happened."""
    try:
        yield
    except WorldError:
        raise
    except (Exception, SystemExit) as error:
        raise WorldError(f"{what} failed: {described(error)}{where(error)}") from error


def described(error: BaseException) -> str:
    """An error of code of others, in one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def where(error: BaseException) -> str:
    """The line of code at which it happened."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f" (in {place.filename}, line {place.lineno})"


def where_to_look(error: Exception) -> str:
    """What to do about an import that failed."""
    if isinstance(error, ModuleNotFoundError):
        return (
            ". Install it in Likert's environment; if it is a file of your own, start the run in its folder, or name "
            "that folder in PYTHONPATH"
        )
    return where(error)
