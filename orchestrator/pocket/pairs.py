"""`likert pocket train --pairs`: the pocket rater of pairs, by one call: frames, tokenizer, weights, report."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actors.pocket.frames import IMAGE_PX
from actors.worlds.metaworld.progress_frames import ProgressFrames
from orchestrator.pocket.frames import draw, known_tasks, labelled, packaged_task, pocket_task
from orchestrator.pocket.making import fresh_processes, make
from orchestrator.pocket.phases import Phases

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

    from actors.pocket.frames.data import TaskFrames
    from actors.pocket.frames.questions import PocketTask
    from actors.pocket.pairs.evaluation import PairJudgement
    from actors.pocket.pairs.training import PairPlan, PairTrainer
    from actors.pocket.together import OnStep, Peers


@dataclass(frozen=True)
class PairRecipe:
    """How much is drawn and learnt."""

    num_frames: int = 1500
    """Frames of a task to learn from, where the robot is drawn: a million pairs."""
    num_frames_robot_hidden: int = 1200
    """Frames of a task to learn from, where the robot is hidden: there is less to see."""
    num_held_out: int = 300
    """Frames of a task to judge on: other starts, and partly other ways of acting."""
    num_pairs: int = 200
    """Pairs of those to judge on, each in both orders."""
    num_two_turn: int = 100
    """How many of those are also judged in two turns, which takes longer."""
    num_processes: int = 1
    """Processes that train together. Other numbers draw other batches, and so give slightly other weights."""
    plan: "PairPlan | None" = None
    """Length of the training; the default's if absent."""


def train_pairs(
    out_folder: Path, seed: int = 0, recipe: PairRecipe | None = None, tasks: tuple[str, ...] | None = None
) -> list["PairJudgement"]:
    """Rebuild the pocket rater of pairs into `out_folder` and judge it; `report.md` there holds the tables.

    It begins from the rater of frames that ships. Equal arguments give equal weights on equal machines.
    """
    recipe = recipe or PairRecipe()
    settings = [packaged_task(name) for name in tasks or known_tasks()]
    pocket_tasks = tuple(pocket_task(task) for task in settings)
    with Phases() as phases:
        counts = (recipe.num_frames, recipe.num_frames_robot_hidden, recipe.num_held_out)
        learnt, held_out = draw(settings, *counts, seed, phases)
        fit(out_folder, pocket_tasks, learnt, recipe, seed, phases.on_step)
        judged = judge_pairs(out_folder, pocket_tasks, held_out, recipe, phases)
    (out_folder / "report.md").write_text(report(judged))
    return judged


def fit(
    out_folder: Path,
    tasks: tuple["PocketTask", ...],
    learnt: list[ProgressFrames],
    recipe: PairRecipe,
    seed: int,
    on_step: "OnStep",
) -> None:
    """Train tokenizer and weights on frames of `tasks`, in order, and write the checkpoint."""
    from actors.pocket.pairs.questions import all_texts
    from actors.pocket.pairs.training import PairPlan

    frames, count = [labelled(one) for one in learnt], recipe.num_processes
    shards = [[one.every(count, rank) for one in frames] for rank in range(count)]
    new_trainer = partial(_trainer, tasks, recipe.plan or PairPlan())
    make(out_folder, all_texts(tasks), IMAGE_PX, new_trainer, shards, seed, on_step)


def _trainer(
    tasks: tuple["PocketTask", ...],
    plan: "PairPlan",
    tokenizer: "Qwen2Tokenizer",
    frames: list["TaskFrames"],
    seed: int,
    on_step: "OnStep",
    peers: "Peers",
) -> "PairTrainer":
    from actors.pocket.pairs.model import new_model
    from actors.pocket.pairs.questions import PairQuestions
    from actors.pocket.pairs.training import PairTrainer

    return PairTrainer(new_model(tokenizer), PairQuestions(tasks, tokenizer), frames, plan, seed, on_step, peers)


def judge_pairs(
    folder: Path,
    tasks: tuple["PocketTask", ...],
    held_out: list[ProgressFrames],
    recipe: PairRecipe,
    phases: Phases,
) -> list["PairJudgement"]:
    """The checkpoint in `folder` in both modes on pairs of frames of `tasks`, in order."""
    judged: list[PairJudgement] = []
    with fresh_processes() as pool:
        found = pool.map(partial(_judge_task, folder, recipe.num_pairs, recipe.num_two_turn), tasks, held_out)
        for done, of_task in enumerate(found, start=1):
            judged += of_task
            phases.show("judge", done, len(tasks), "tasks")
    return judged


def _judge_task(
    folder: Path, num_pairs: int, num_two_turn: int, task: "PocketTask", frames: ProgressFrames
) -> list["PairJudgement"]:
    import torch

    from actors.pocket import checkpoint
    from actors.pocket.frames.evaluation import features_of
    from actors.pocket.pairs.evaluation import judge, pairs_to_judge
    from actors.pocket.pairs.questions import PairQuestions

    torch.set_num_threads(1)
    model, tokenizer = checkpoint.load(folder)
    pairs = pairs_to_judge(frames.stages, num_pairs)
    features = features_of(model, frames.images)
    return judge(model, PairQuestions((task,), tokenizer), task, features, frames.stages, pairs, num_two_turn)


def report(judged: list["PairJudgement"]) -> str:
    """The table in Markdown: a row for each task and mode, and one of all tasks for each mode."""
    lines = [
        "| task | mode | pairs | right | one stage apart | further apart | "
        "cannot tell: equal | cannot tell: different | wrong picture | same in both orders |",
        "|" + 10 * "---|",
    ]
    for mode in ("answer_only", "two_turn"):
        of_mode = sorted((one for one in judged if one.mode == mode), key=lambda one: one.task)
        lines += [_row(one.task, [one]) for one in of_mode]
        lines.append(_row("all", of_mode))
    return "\n".join(lines) + "\n"


def _row(name: str, judged: list["PairJudgement"]) -> str:
    gaps = np.abs(np.concatenate([one.gaps for one in judged]))
    right, untold = (np.concatenate(parts) for parts in ([x.right for x in judged], [x.untold for x in judged]))
    consistent = np.concatenate([one.consistent for one in judged])
    shares = [
        right,
        right[gaps == 1],
        right[gaps > 1],
        untold[gaps == 0],
        untold[gaps > 0],
        ~(right | untold)[gaps > 0],
        consistent,
    ]
    cells = [f"{share.mean():.3f}" if share.size else "-" for share in shares]
    return f"| {name} | {judged[0].mode} | {len(gaps)} | {' | '.join(cells)} |"
