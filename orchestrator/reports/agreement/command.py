"""What `likert ratings --agreement` prints."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator.errors import SettingsError
from orchestrator.reports.agreement.report import (
    ABOUT,
    HEADER,
    LEVEL_HEADER,
    agreement_in,
    level_cells,
    line_cells,
    said_in_words,
    write_agreement,
)
from orchestrator.settings.preflight import check_writable
from orchestrator.storage.locations import RemotePath


def show_agreement(folder: Path | RemotePath, out: Path | None, console: Console | None = None) -> None:
    """Print how far people and models agree on what is in a store, and write it into `out` if given. Raises
    SettingsError if there is nothing to compare."""
    if not (folder / "ratings").is_dir():
        raise SettingsError(f"{folder} is not a rating store: it has no folder `ratings`")
    if out is not None:
        check_writable("--out", out)
    tasks = agreement_in(folder)
    if not tasks:
        raise SettingsError(
            f"{folder}: there is nothing to compare, since no person has rated anything and no model was asked twice "
            "with another rater.seed. Rate in `likert gallery` first"
        )
    # Names are what people typed: what looks like markup in them is text.
    console = console or Console(markup=False, highlight=False)
    pairs = [(task, line) for task in tasks for line in task.lines]
    _print(console, HEADER, [line_cells(*pair) for pair in pairs])
    _print(
        console,
        LEVEL_HEADER,
        [row for task, line in pairs if line.kind == "people and model" for row in level_cells(task, line)],
    )
    for task in tasks:
        if task.num_people:
            console.print(said_in_words(task))
    console.print(ABOUT)
    for path in [] if out is None else write_agreement(tasks, out):
        console.print(str(path))


def _print(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if rows:
        table = Table(*header)
        for row in rows:
            table.add_row(*row)
        console.print(table)
