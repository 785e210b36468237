"""`likert env ...`: environments of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.plain_command import plain

env = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Environments of one's own.")


@env.callback()
def _group() -> None:
    """A group, though it has one command."""


@env.command()
@plain
def check(
    file: Annotated[Path, typer.Argument(help="Experiment settings, such as tune_configs/worlds/pendulum.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY.PATH=VALUE", help="Settings laid over the file, such as task.image_px=112."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for what the rater will see; env_check/TASK if absent.")
    ] = None,
) -> None:
    """Play the environment of an experiment, say what is wrong with it, and show what the rater will see.

    Nothing is asked of a rater. Exit codes: 0 all is well, 1 a check failed, 2 bad settings.
    """
    from orchestrator.doctor.env_command import check_env

    check_env(file, overrides or [], out)
