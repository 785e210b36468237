"""The command `likert`. Heavy imports stand inside the commands, so that `--help` answers at once."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Tracebacks with local variables could show a key; the plain one is enough.
    pretty_exceptions_enable=False,
    help="Reinforcement learning from the ratings of a vision-language model that you host yourself.",
)
pocket = typer.Typer(no_args_is_help=True, help="The small rater that ships with the package.")
app.add_typer(pocket, name="pocket")

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Settings laid over the file, such as seed=1.")
]


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="Experiment settings, such as tune_configs/demo.yaml.")],
    overrides: Overrides = None,
) -> None:
    """Run an experiment, or go on with it if it was stopped."""
    from orchestrator.loading import load_experiment

    experiment = load_experiment(file, overrides or [])
    from orchestrator.preflight import check_machine

    check_machine(experiment)
    from orchestrator.online import run_experiment
    from orchestrator.run_files import FolderLock

    with FolderLock(experiment.run_folder):
        run_experiment(experiment)


@app.command()
def ratings(
    folder: Annotated[Path, typer.Argument(help="A rating store, such as ratings/.")],
    last: Annotated[int, typer.Option(min=0, help="List this many of the latest ratings.")] = 10,
    failures: Annotated[bool, typer.Option("--failures", help="List failed questions instead.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write all ratings to this .csv or .parquet file.")] = None,
    images: Annotated[Path | None, typer.Option(help="Write all rated pictures into this folder.")] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Merge small files; runs may go on meanwhile.")] = False,
) -> None:
    """Count, list and export the ratings in a store."""
    from orchestrator.ratings_command import show_store

    show_store(folder, last=last, failures=failures, export=export, images=images, compact=compact)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the table and the figure.")] = Path("report"),
) -> None:
    """Compare runs: a table with confidence intervals, and success over environment steps."""
    from orchestrator.report import write_report

    for path in write_report(runs, out):
        typer.echo(path)


def main() -> None:
    """Entry point: a `LikertError` is printed bare and sets the exit code."""
    from orchestrator.errors import LikertError

    try:
        app(standalone_mode=False)
    except LikertError as error:
        _fail(f"likert: {error}", error.exit_code)
    except KeyboardInterrupt:
        _fail("likert: stopped; the same command goes on from the last checkpoint", INTERRUPTED)


def _fail(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)
