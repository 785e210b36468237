"""`likert pocket ...`: the raters that ship with the package. Heavy imports stand inside the commands."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.plain_command import plain
from orchestrator.errors import SettingsError

pocket = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The small rater that ships with the package.")


@pocket.command()
@plain
def train(
    out: Annotated[
        Path | None, typer.Option(help="Folder for the checkpoint; by default the one that ships with the package.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of frames, weights and batches.")] = 0,
    task: Annotated[list[str] | None, typer.Option(help="Learn this packaged task only; may be repeated.")] = None,
    windows: Annotated[
        bool, typer.Option("--windows", help="The rater of BabyAI windows instead of the one of frames.")
    ] = False,
    episodes: Annotated[
        bool, typer.Option("--episodes", help="The rater of whole BabyAI episodes instead of the one of frames.")
    ] = False,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="The rater that compares two frames, from the weights of the one of frames.")
    ] = False,
    similarity: Annotated[
        bool, typer.Option("--similarity", help="The CLIP that compares frames with sentences, instead of a rater.")
    ] = False,
) -> None:
    """Rebuild a pocket rater from the simulator: half an hour on two cores, or less."""
    from actors.rating.models import (
        POCKET_EPISODES_FOLDER,
        POCKET_FOLDER,
        POCKET_PAIRS_FOLDER,
        POCKET_WINDOWS_FOLDER,
        resolve_model,
    )
    from actors.rating.settings import RaterSettings
    from actors.rating.similarity.settings import POCKET_CLIP_FOLDER
    from orchestrator.settings.loading import packaged_tasks
    from orchestrator.settings.preflight import check_opengl, check_writable

    folders = {
        "--windows": (windows, POCKET_WINDOWS_FOLDER),
        "--episodes": (episodes, POCKET_EPISODES_FOLDER),
        "--pairs": (pairs, POCKET_PAIRS_FOLDER),
        "--similarity": (similarity, POCKET_CLIP_FOLDER),
    }
    given = [option for option, (wanted, _) in folders.items() if wanted]
    if len(given) > 1:
        raise SettingsError(f"{given[0]} and {given[1]} are two raters; give one of them, and then the other")
    if task and (windows or episodes):
        raise SettingsError(f"--task names a task of MetaWorld's frames; leave it out, or leave {given[0]} out")
    unknown = [name for name in task or [] if name not in packaged_tasks()]
    if unknown:
        raise SettingsError(
            f"--task {unknown[0]}: there is no such packaged task; there are {', '.join(packaged_tasks())}"
        )
    folder = out or (folders[given[0]][1] if given else POCKET_FOLDER)
    check_writable("--out", folder)
    if windows:
        from orchestrator.pocket.windows import train_windows

        train_windows(folder, seed)
    elif episodes:
        from orchestrator.pocket.episodes import train_episodes

        train_episodes(folder, seed)
    elif pairs:
        check_opengl()
        try:
            resolve_model(RaterSettings())
        except ValueError as error:
            raise SettingsError(f"--pairs begins from the rater of frames: {error}") from error
        from orchestrator.pocket.pairs import train_pairs

        train_pairs(folder, seed, tasks=tuple(task) if task else None)
    elif similarity:
        check_opengl()
        from orchestrator.pocket.similarity import train_similarity

        train_similarity(folder, seed, tasks=tuple(task) if task else None)
    else:
        check_opengl()
        from orchestrator.pocket.frames import train as train_pocket

        train_pocket(folder, seed, tasks=tuple(task) if task else None)
    typer.echo(f"{folder}: how it rates stands in report.md there")
