"""How every command of `likert` ends: with a plain message and an exit code, also when it is interrupted."""

import functools
import logging
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

from orchestrator.errors import LikertError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def plain(command: Callable[..., None]) -> Callable[..., None]:
    """Print a `LikertError` as its message alone and exit with its code; take SIGTERM for Ctrl-C."""

    @functools.wraps(command)
    def run_plainly(*args: Any, **kwargs: Any) -> None:
        logging.basicConfig(level=logging.WARNING, format="likert: %(message)s", handlers=[_StderrOfTheMoment()])
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            command(*args, **kwargs)
        except LikertError as error:
            print(f"likert: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            print("likert: stopped; the same command goes on from where it was saved", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        finally:
            signal.signal(signal.SIGTERM, before)

    return run_plainly


class _StderrOfTheMoment(logging.StreamHandler):
    """Writes where `sys.stderr` points now: live progress takes its place and prints warnings above itself."""

    stream = property(lambda self: sys.stderr, lambda self, _: None)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
