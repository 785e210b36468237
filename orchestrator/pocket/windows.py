"""`likert pocket train --windows`: the pocket rater of windows from nothing, by one call: levels, weights, report."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actors.babyai import tiles
from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.expert import Demonstration, demonstrate, random_share
from actors.babyai.settings import ACTION_NAMES, MAX_CHAIN, BabyAISettings, Split
from actors.babyai.skills import skills_of
from actors.pocket.windows import PICTURE_PX
from algorithms.scores import ScoringMode
from algorithms.trajectories import Trajectory
from orchestrator.pocket.making import fresh_processes, make
from orchestrator.pocket.phases import Phases

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

    from actors.pocket.together import OnStep, Peers
    from actors.pocket.windows.data import TiledTrajectory, TiledWindow
    from actors.pocket.windows.evaluation import WindowJudgement
    from actors.pocket.windows.teacher import Teacher
    from actors.pocket.windows.training import WindowPlan, WindowTrainer

BABYAI = BabyAISettings()
RANDOM_SHARES = (0.0, 0.3)
"""Bounds of a demonstration's share of random actions, as `likert data babyai` draws it by default."""
CHAINS_PER_TASK = 15
"""Chains that one call to a process draws."""
UNITS = ("subtask", "chain")
HELD_OUT: tuple[Split, ...] = ("held_out", "held_out_pairs")
MODES: tuple[ScoringMode, ...] = ("two_turn", "single_turn", "logits")
CHAIN_SHARE = 2
"""One of so many trajectories to learn from is a whole chain; the others are sub-tasks."""
TOKENIZER_TRAJECTORIES = 300
"""Trajectories whose texts the tokenizer learns from."""


@dataclass(frozen=True)
class WindowRecipe:
    """How much is drawn and learnt."""

    num_chains: int = 900
    """Chains of 1 to 6 sub-tasks to learn from."""
    num_views: int = 4
    """How often each is used: turned by a random number of quarters, and mirrored or not."""
    num_held_out: int = 60
    """Chains to judge on, of each held-out split."""
    num_processes: int = 2
    """Processes that train together. Other numbers draw other batches, and so give slightly other weights."""
    plan: "WindowPlan | None" = None
    """Lengths of the phases; the default's if absent."""


@dataclass(frozen=True)
class HeldOut:
    """How one kind of held-out windows was scored in one mode."""

    split: Split
    unit: str
    judged: "WindowJudgement"


def train_windows(out_folder: Path, seed: int = 0, recipe: WindowRecipe | None = None) -> list[HeldOut]:
    """Rebuild the pocket rater of windows into `out_folder` and judge it; `report.md` there holds the table.

    Equal arguments give equal weights on equal machines.
    """
    recipe = recipe or WindowRecipe()
    with Phases() as phases:
        splits: tuple[tuple[Split, int], ...] = (
            ("train", recipe.num_chains),
            *((split, recipe.num_held_out) for split in HELD_OUT),
        )
        drawn: dict[Split, list[Trajectory]] = {}
        for split, count in splits:
            drawn[split] = draw_chains(split, count, seed)
            phases.show("draw demonstrations", len(drawn), len(splits), "splits")
        fit(out_folder, drawn.pop("train"), recipe, seed, phases.on_step)
        parts = itertools.count(1)
        total = len(HELD_OUT) * len(UNITS) * len(MODES)
        judged = judge_windows(out_folder, drawn, lambda: phases.show("judge", next(parts), total, "parts"))
    (out_folder / "report.md").write_text(report(judged))
    return judged


def fit(out_folder: Path, chains: list[Trajectory], recipe: WindowRecipe, seed: int, on_step: "OnStep") -> None:
    """Train tokenizer and weights on demonstrations, and write the checkpoint."""
    from actors.pocket.windows.data import windows_in
    from actors.pocket.windows.questions import all_texts
    from actors.pocket.windows.teacher import Teacher
    from actors.pocket.windows.training import WindowPlan

    learnt = trajectories_to_learn(chains, recipe.num_views, seed)
    some = np.random.default_rng(seed).permutation(len(learnt))[:TOKENIZER_TRAJECTORIES]
    texts = all_texts(one for index in some for one in windows_in(learnt[index]))
    teacher = Teacher([window for one in learnt for window in windows_in(one)], ACTION_NAMES)
    shards = [learnt[rank :: recipe.num_processes] for rank in range(recipe.num_processes)]
    new_trainer = partial(_trainer, teacher, recipe.plan or WindowPlan())
    make(out_folder, texts, PICTURE_PX, new_trainer, shards, seed, on_step)


def _trainer(
    teacher: "Teacher",
    plan: "WindowPlan",
    tokenizer: "Qwen2Tokenizer",
    learnt: list["TiledTrajectory"],
    seed: int,
    on_step: "OnStep",
    peers: "Peers",
) -> "WindowTrainer":
    from actors.pocket.windows.data import Levels
    from actors.pocket.windows.model import new_model
    from actors.pocket.windows.pointing import point_heads
    from actors.pocket.windows.questions import WindowQuestions
    from actors.pocket.windows.training import WindowTrainer

    model = new_model(tokenizer)
    point_heads(model)
    looks = tiles.tiles(BABYAI.tile_px)
    levels = Levels(learnt, looks.pixels, looks.contents)
    return WindowTrainer(model, WindowQuestions(tokenizer), levels, teacher, plan, seed, on_step, peers)


def judge_windows(
    folder: Path, held_out: dict[Split, list[Trajectory]], on_part: Callable[[], None] = lambda: None
) -> list[HeldOut]:
    """The checkpoint in a folder on windows of chains: of whole chains, and of their sub-tasks, in every mode."""
    from actors.pocket import checkpoint
    from actors.pocket.windows.evaluation import judge
    from actors.pocket.windows.questions import WindowQuestions

    model, tokenizer = checkpoint.load(folder)
    pixels = tiles.tiles(BABYAI.tile_px).pixels
    found = []
    for split, chains in held_out.items():
        for unit in UNITS:
            windows = windows_to_judge(chains, unit)
            parts = judge(model, WindowQuestions(tokenizer), windows, pixels, on_part)
            found += [HeldOut(split, unit, part) for part in parts]
    return found


def windows_to_judge(chains: list[Trajectory], unit: str) -> list["TiledWindow"]:
    """All windows of chains, or of their sub-tasks, as labelling cuts them."""
    from actors.pocket.windows.data import windows_in

    parts = [part for chain in chains for part in (skills_of(chain) if unit == "subtask" else [chain])]
    return [window for part in parts for window in windows_in(tiled(part))]


def report(judged: list[HeldOut]) -> str:
    """The table in Markdown."""
    lines = [
        "| split | instruction | mode | windows | actions | malformed | Spearman's correlation |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in judged:
        part = one.judged
        malformed = f"{100 * part.num_failures / part.num_windows:.1f} %"
        cells = (one.split, one.unit, part.mode, part.num_windows, part.num_actions, malformed)
        lines.append(f"| {' | '.join(map(str, cells))} | {part.correlation:.3f} |")
    return "\n".join(lines) + "\n"


def draw_chains(split: Split, number: int, seed: int) -> list[Trajectory]:
    """Demonstrations of that many chains, without frames, drawn in processes that never import torch; those that the
    expert does not complete are left out."""
    jobs = [(split, first, min(CHAINS_PER_TASK, number - first), seed) for first in range(0, number, CHAINS_PER_TASK)]
    with fresh_processes() as pool:
        return [one for part in pool.map(_draw_some, jobs) for one in part]


def tiled(trajectory: Trajectory, quarters: int = 0, mirrored: bool = False) -> "TiledTrajectory":
    """The trajectory as the rater learns it, in its level turned and mirrored."""
    from actors.pocket.windows.data import TiledTrajectory
    from actors.pocket.windows.words import effect_of

    assert trajectory.symbolic is not None
    cells = tiles.turned(trajectory.symbolic, quarters, mirrored)
    changed = (cells[1:] != cells[:-1]).any(axis=(1, 2, 3))
    contributions, completed = trajectory.audits["contribution"], trajectory.audits["subtask_completed"]
    names = trajectory.action_names
    return TiledTrajectory(
        instruction=trajectory.instruction,
        action_names=tiles.mirrored_names(names) if mirrored else names,
        codes=tiles.codes_of(cells),
        places=tiles.places_of(cells) + np.array([1, 1, 0]),
        effects=np.array(
            [effect_of(*facts) for facts in zip(contributions.tolist(), completed.tolist(), changed, strict=True)]
        ),
        contributions=contributions,
    )


def trajectories_to_learn(chains: list[Trajectory], num_views: int, seed: int) -> list["TiledTrajectory"]:
    """Every chain in several views, most of them as the trajectories of its sub-tasks."""
    rng = np.random.default_rng(seed)
    learnt = []
    for chain in chains:
        for _ in range(num_views):
            parts = [chain] if rng.integers(CHAIN_SHARE) == 0 else skills_of(chain)
            quarters, mirrored = int(rng.integers(4)), bool(rng.integers(2))
            learnt += [tiled(part, quarters, mirrored) for part in parts]
    return learnt


def _draw_some(job: tuple[Split, int, int, int]) -> list[Trajectory]:
    split, first, number, seed = job
    environment = ChainEnvironment(BABYAI, seed, with_frames=False)
    drawn = []
    for index in range(first, first + number):
        task = ChainTask(split, index, 1 + index % MAX_CHAIN)
        chain = demonstrate(environment, seed, Demonstration(task, random_share(seed, index, RANDOM_SHARES)))
        if chain is not None:
            drawn.append(chain)
    return drawn
