"""`likert rater ...`: rating servers that several runs share."""

from typing import Annotated

import typer

from orchestrator.cli.plain_command import plain

rater = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Rating servers that several runs share.")


@rater.command()
@plain
def start(
    name: Annotated[str, typer.Argument(help="What runs call it in rater.server.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings of the rater, such as model=Qwen/Qwen2-VL-7B-Instruct."),
    ] = None,
) -> None:
    """Start a rating server in the running Ray cluster; it stays until it is stopped."""
    from orchestrator.settings.loading import load_rater
    from orchestrator.settings.served import as_served

    settled = as_served(load_rater([*(settings or []), f"server={name}"]))
    from orchestrator.ratings import rater_command

    typer.echo(rater_command.start(settled))


@rater.command()
@plain
def stop(name: Annotated[str, typer.Argument(help="Its name, as in rater.server.")]) -> None:
    """End a rating server and its engines."""
    from orchestrator.ratings import rater_command

    rater_command.stop(name)


@rater.command()
@plain
def status() -> None:
    """List the rating servers of the running Ray cluster, and the runs that ask them."""
    from orchestrator.ratings import rater_command

    for line in rater_command.status():
        typer.echo(line)
