"""`likert gallery`: a page on which people see ratings, and rate beside the model."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.plain_command import plain
from orchestrator.errors import SettingsError


@plain
def gallery(
    folder: Annotated[str, typer.Argument(help="A rating store, such as ratings/, or a run's folder.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 0,
    export: Annotated[Path | None, typer.Option(help="Write one .html file instead, that needs nothing else.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="With --export: what it shows, such as doubt=0.5 or disagrees=true."),
    ] = None,
    most: Annotated[int | None, typer.Option(min=1, help="With --export: so many at most; 200 if absent.")] = None,
) -> None:
    """Show ratings on a page of this machine, and let people rate beside the model; Ctrl-C ends it.

    It prints a link, which works on this machine only and until it ends. What people say is kept in the store.

    Exit codes: 0 ended, 2 no store or run, nothing in it, or a port or folder that cannot be used.
    """
    if export is None and (only or most is not None):
        raise SettingsError("--only and --most are for --export; give it too, or leave them out: the page has filters")
    from orchestrator.gallery import command

    if export is not None:
        command.export(folder, export, only or [], most, typer.echo)
    else:
        command.open_page(folder, port, typer.echo)
