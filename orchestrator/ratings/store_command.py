"""What `likert ratings` prints."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from algorithms.ratings import level_in_words
from orchestrator.errors import SettingsError
from orchestrator.ratings.export import export_images, export_ratings
from orchestrator.ratings.people.opinions import PeopleStore
from orchestrator.ratings.score_store import ScoreStore
from orchestrator.ratings.store import RatingStore, StoreCounts
from orchestrator.screen.counts import counted
from orchestrator.settings.preflight import check_file_writable, check_writable
from orchestrator.storage.locations import RemotePath


def show_store(
    folder: Path | RemotePath,
    *,
    last: int,
    failures: bool,
    export: Path | None,
    images: Path | None,
    compact: bool,
    console: Console | None = None,
) -> None:
    """Count a store, list its latest ratings or failures, and do what else is asked. Raises SettingsError."""
    if not any((folder / table).is_dir() for table in ("ratings", "failures", "scores", "score_failures")):
        raise SettingsError(
            f"{folder} is not a rating store: it has neither a folder `ratings` nor `failures`, nor `scores` of windows"
        )
    if compact:
        check_writable("the store", folder)
    if export is not None:
        check_file_writable("--export", export)
    if images is not None:
        check_writable("--images", images)
    # Analyses are a model's words: what looks like markup in them is text.
    console = console or Console(markup=False, highlight=False)
    store, scores, people = RatingStore(folder), ScoreStore(folder), PeopleStore(folder)
    if compact:
        merged = store.compact() | scores.compact() | {"people": people.compact()}
        for name, (before, after) in merged.items():
            console.print(f"{name}: {counted(before, 'part')}, now {after}")
    if export is not None:
        console.print(f"{counted(export_ratings(store, export), 'rating')} written to {export}")
    if images is not None:
        console.print(f"{counted(export_images(store, images), 'picture')} written to {images}")
    if compact or export is not None or images is not None:
        return
    _show_counts(console, store.counts())
    _show_scores(console, scores)
    said = Counter((row["person"], row["instruction"]) for row in people.opinions())
    if said:
        console.print(_count_table("By people, in the gallery", ["person", "task"], said))
    if last:
        console.print(_failure_list(store, last) if failures else _rating_list(store, last))


def _show_counts(console: Console, counts: StoreCounts) -> None:
    num_failures = sum(counts.failures.values())
    console.print(
        f"{counted(counts.ratings, 'rating')}, {counted(counts.images, 'picture')}, "
        f"{counted(num_failures, 'failed question')}"
    )
    levels = Table("task", "ratings by level, worst first", title="By task and level", title_justify="left")
    for (instruction, words), numbers in sorted(counts.levels.items()):
        levels.add_row(
            instruction, ", ".join(f"{word} {number:,}" for word, number in zip(words, numbers, strict=True))
        )
    tables = [
        levels,
        _count_table("By model", ["model", "revision"], counts.models),
        _count_table("By run", ["run"], {(run,): number for run, number in counts.runs.items()}),
        _count_table("Failures", ["task", "cause"], counts.failures),
    ]
    for table in tables:
        if table.row_count:
            console.print(table)


def _show_scores(console: Console, scores: ScoreStore) -> None:
    tables = [
        _count_table("Windows of actions with scores", ["data set", "mode", "model"], scores.counts()),
        _count_table("Windows that got no scores", ["data set", "cause"], scores.failure_counts()),
    ]
    for table in tables:
        if table.row_count:
            console.print(table)


def _count_table(title: str, names: list[str], counts: dict[tuple[str, ...], int]) -> Table:
    table = Table(*names, title=title, title_justify="left")
    table.add_column("number", justify="right")
    for key, number in sorted(counts.items()):
        table.add_row(*key, f"{number:,}")
    return table


def _rating_list(store: RatingStore, last: int) -> Table:
    columns = ["asked_at", "run", "env_step", "instruction", "words", "rating", "probabilities", "success", "analysis"]
    table = Table("asked (UTC)", "run", "step", "task", "rating", "success", "analysis", title="Latest ratings")
    for row in _latest(store.rows(columns), last):
        word = level_in_words(row["words"], row["rating"], row["probabilities"])
        success = {True: "yes", False: "no", None: ""}[row["success"]]
        step = f"{row['env_step']:,}"
        table.add_row(_time(row), row["run"], step, row["instruction"], word, success, row["analysis"])
    return table


def _failure_list(store: RatingStore, last: int) -> Table:
    table = Table("asked (UTC)", "run", "step", "task", "cause", "attempts", "detail", title="Latest failures")
    columns = ["asked_at", "run", "env_step", "instruction", "cause", "attempts", "detail"]
    for row in _latest(store.failures(columns), last):
        table.add_row(
            _time(row),
            row["run"],
            f"{row['env_step']:,}",
            row["instruction"],
            row["cause"],
            str(row["attempts"]),
            row["detail"],
        )
    return table


def _latest(rows: Iterable[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row["asked_at"])[-number:][::-1]


def _time(row: dict[str, Any]) -> str:
    return row["asked_at"].strftime("%Y-%m-%d %H:%M:%S")
