"""`likert env check`: an environment is played before its first run, and what it gives is looked at."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

from rich.console import Console

from algorithms.images import encode_png
from orchestrator.doctor import worlds
from orchestrator.doctor.contact_sheet import write_contact_sheet
from orchestrator.doctor.findings import examine_all, raise_if_failed
from orchestrator.errors import SettingsError
from orchestrator.kinds import kind_of, load_experiment


def check_env(file: Path, overrides: Sequence[str], out: Path | None, console: Console | None = None) -> None:
    """Print what is well and what is not, and write what the rater will see into `out`.

    Raises DoctorFailed if something is not well, SettingsError for a bad file or one whose experiment has no world.
    """
    console = console or Console(markup=False, highlight=False)
    experiment = load_experiment(file, overrides)
    kind = kind_of(experiment)
    drawn, ask = kind.drawn(experiment), kind.asks_of_frames(experiment)
    if drawn is None or ask is None:
        raise SettingsError(f"{file}: an experiment of kind {kind.name!r} acts in no environment: none can be checked")
    task, _ = drawn
    look = cache(partial(worlds.look_at, task, kind.seen_px(experiment)))
    findings = examine_all(console, worlds.world_checks(look), worlds.NEEDED, worlds.LACKING)
    if findings[0].status != "failure":
        episodes = look().episodes
        # The first two are of one seed.
        asked = [ask([encode_png(frame) for frame in one.frames], one.instruction) for one in episodes[1:]]
        folder = out or Path("env_check") / task.name
        paths = write_contact_sheet(folder, f"{task.name}: {task.instruction}", findings, episodes[1:], asked)
        console.print(f"what the rater will see: {', '.join(map(str, paths))}", soft_wrap=True)
    raise_if_failed(findings)
