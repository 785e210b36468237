"""`likert pocket train`: the pocket rater from nothing, by one call: frames, tokenizer, weights, report."""

from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actors.pocket.frames import IMAGE_PX
from actors.worlds.metaworld import stages
from actors.worlds.metaworld.progress_frames import ProgressFrames, collect
from actors.worlds.metaworld.settings import MetaWorldTask
from algorithms.ratings import TaskText
from algorithms.scales import SCALE_WORDS
from orchestrator.pocket.making import fresh_processes, make
from orchestrator.pocket.phases import Phases
from orchestrator.settings.loading import TASKS_FOLDER, packaged_tasks
from orchestrator.settings.strict_yaml import parse_yaml

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

    from actors.pocket.frames.data import TaskFrames
    from actors.pocket.frames.questions import PocketTask
    from actors.pocket.frames.training import FramePlan, FrameTrainer
    from actors.pocket.together import OnStep, Peers

EASY_TASKS = ("drawer_close", "handle_press", "button_press")
PAPER_TASKS = ("sweep_into", "drawer_open", "soccer")


@dataclass(frozen=True)
class FrameRecipe:
    """How much is drawn and learnt."""

    num_frames: int = 8000
    """Frames of a task to learn from, where the robot is drawn."""
    num_frames_robot_hidden: int = 5000
    """Frames of a task to learn from, where the robot is hidden: there is less to see."""
    num_held_out: int = 1000
    """Frames of a task to judge on: other starts, and partly other ways of acting."""
    num_two_turn: int = 500
    """How many of those are also judged in two turns, which takes longer."""
    num_processes: int = 2
    """Processes that train together. Other numbers draw other batches, and so give slightly other weights."""
    plan: "FramePlan | None" = None
    """Lengths of the phases; the default's if absent."""


@dataclass(frozen=True)
class Judgement:
    """How one task's held-out frames were rated with one scale in one mode."""

    task: str
    mode: str
    num_ratings: int
    with_rubric: bool
    counts: np.ndarray
    """[n, n] int64: a row for each true level, a column for each chosen one."""


def train(
    out_folder: Path,
    seed: int = 0,
    recipe: FrameRecipe | None = None,
    tasks: tuple[str, ...] | None = None,
) -> list[Judgement]:
    """Rebuild the pocket rater into `out_folder` and judge it on held-out frames; `report.md` there holds the tables.

    Equal arguments give equal weights on equal machines. With the default recipe it takes half an hour on two cores.
    """
    recipe = recipe or FrameRecipe()
    names = tasks or known_tasks()
    settings = [packaged_task(name) for name in names]
    pocket_tasks = tuple(pocket_task(task) for task in settings)
    with Phases() as phases:
        counts = (recipe.num_frames, recipe.num_frames_robot_hidden, recipe.num_held_out)
        learnt, held_out = draw(settings, *counts, seed, phases)
        fit(out_folder, pocket_tasks, learnt, recipe, seed, phases.on_step)
        judgements = judge(out_folder, pocket_tasks, held_out, recipe.num_two_turn, phases)
    (out_folder / "report.md").write_text(report(judgements))
    return judgements


def draw(
    settings: list[MetaWorldTask],
    num_frames: int,
    num_frames_robot_hidden: int,
    num_held_out: int,
    seed: int,
    phases: Phases,
) -> tuple[list[ProgressFrames], list[ProgressFrames]]:
    """Frames of each task to learn from and to judge on, drawn in processes that never import torch."""
    jobs: list[Future[ProgressFrames]] = []
    with fresh_processes() as pool:
        for held_out in (False, True):
            for task in settings:
                count = num_frames if task.robot_visible else num_frames_robot_hidden
                count = num_held_out if held_out else count
                jobs.append(pool.submit(collect, task, count, IMAGE_PX, seed, held_out))
        for done, _ in enumerate(as_completed(jobs), start=1):
            phases.show("draw frames", done, len(jobs), "sets")
    frames = [job.result() for job in jobs]
    return frames[: len(settings)], frames[len(settings) :]


def fit(
    out_folder: Path,
    tasks: tuple["PocketTask", ...],
    learnt: list[ProgressFrames],
    recipe: FrameRecipe,
    seed: int,
    on_step: "OnStep",
) -> None:
    """Train tokenizer and weights on frames of `tasks`, in order, and write the checkpoint."""
    from actors.pocket.frames.questions import all_texts
    from actors.pocket.frames.training import FramePlan

    frames = [labelled(one) for one in learnt]
    count = recipe.num_processes
    shards = [[one.every(count, rank) for one in frames] for rank in range(count)]
    new_trainer = partial(_trainer, tasks, recipe.plan or FramePlan())
    make(out_folder, all_texts(tasks), IMAGE_PX, new_trainer, shards, seed, on_step)


def _trainer(
    tasks: tuple["PocketTask", ...],
    plan: "FramePlan",
    tokenizer: "Qwen2Tokenizer",
    frames: list["TaskFrames"],
    seed: int,
    on_step: "OnStep",
    peers: "Peers",
) -> "FrameTrainer":
    from actors.pocket.frames.model import new_model
    from actors.pocket.frames.questions import FrameQuestions
    from actors.pocket.frames.training import FrameTrainer

    return FrameTrainer(new_model(tokenizer), FrameQuestions(tasks, tokenizer), frames, plan, seed, on_step, peers)


def judge(
    folder: Path, tasks: tuple["PocketTask", ...], held_out: list[ProgressFrames], num_two_turn: int, phases: Phases
) -> list[Judgement]:
    """The checkpoint in `folder` in every scale and mode, with and without rubric, on frames of `tasks`, in order."""
    judgements: list[Judgement] = []
    with fresh_processes() as pool:
        found = pool.map(partial(_judge_task, folder, num_two_turn), tasks, held_out)
        for done, of_task in enumerate(found, start=1):
            judgements += of_task
            phases.show("judge", done, len(tasks), "tasks")
    return judgements


def _judge_task(folder: Path, num_two_turn: int, task: "PocketTask", frames: ProgressFrames) -> list[Judgement]:
    import torch

    from actors.pocket import checkpoint
    from actors.pocket.frames import evaluation
    from actors.pocket.frames.questions import FrameQuestions

    torch.set_num_threads(1)
    model, tokenizer = checkpoint.load(folder)
    questions = FrameQuestions((task,), tokenizer)
    features = evaluation.features_of(model, frames.images)
    some = np.random.default_rng(0).permutation(len(frames))[:num_two_turn]
    said = evaluation.analyses_of(model, questions, task, features[some])
    judgements = []
    for num_ratings in SCALE_WORDS:
        truth = stages.level_of(frames.stages, num_ratings)
        for with_rubric in (True, False):
            at_once = evaluation.answer_only_levels(model, questions, task, features, num_ratings, with_rubric)
            in_turns = evaluation.two_turn_levels(model, questions, task, said, num_ratings, with_rubric)
            for mode, true, chosen in (("answer_only", truth, at_once), ("two_turn", truth[some], in_turns)):
                counts = evaluation.confusion(true, chosen, num_ratings)
                judgements.append(Judgement(task.name, mode, num_ratings, with_rubric, counts))
    return judgements


def known_tasks() -> tuple[str, ...]:
    """The packaged tasks whose true stages are known."""
    return tuple(name for name in packaged_tasks() if name in stages.RULES)


def packaged_task(name: str) -> MetaWorldTask:
    """Settings of a task that ships with the package."""
    return MetaWorldTask.model_validate(parse_yaml((TASKS_FOLDER / f"{name}.yaml").read_text()))


def pocket_task(task: MetaWorldTask) -> "PocketTask":
    """What the pocket rater learns about a packaged task."""
    from actors.pocket.frames.questions import PocketTask
    from actors.pocket.frames.words import WORDS

    text = TaskText(task.instruction, task.focus)
    return PocketTask(task.name, text, task.rubrics, stages.LEVELS, WORDS[task.name])


def report(judgements: list[Judgement]) -> str:
    """Tables in Markdown: balanced accuracy by task, scale and mode, and the confusion at three levels."""
    from actors.pocket.frames.evaluation import balanced_accuracy

    lines = ["| task | mode | n = 2 | n = 3 | n = 4 | n = 5 | n = 3, no rubric |", "|---|---|---|---|---|---|---|"]
    by_key = {(one.task, one.mode, one.num_ratings, one.with_rubric): one.counts for one in judgements}
    names = sorted({one.task for one in judgements})
    for name in names:
        for mode in ("answer_only", "two_turn"):
            cells = [balanced_accuracy(by_key[name, mode, n, True]) for n in SCALE_WORDS]
            cells.append(balanced_accuracy(by_key[name, mode, 3, False]))
            lines.append(f"| {name} | {mode} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    for title, group in (("easy tasks", EASY_TASKS), ("paper tasks", PAPER_TASKS)):
        means = [balanced_accuracy(by_key[name, "answer_only", 3, True]) for name in group if name in names]
        if means:
            lines.append(f"\nMean over the {title} at n = 3: {np.mean(means):.3f}.")
    lines += ["\nConfusion at n = 3, answer-only, with rubric: rows are true levels, columns chosen ones.\n"]
    lines += ["| task | Bad | Average | Good |", "|---|---|---|---|"]
    for name in names:
        rows = [" / ".join(str(count) for count in row) for row in by_key[name, "answer_only", 3, True]]
        lines.append(f"| {name} | " + " | ".join(rows) + " |")
    return "\n".join(lines) + "\n"


def labelled(frames: ProgressFrames) -> "TaskFrames":
    """What a pocket rater learns from frames."""
    from actors.pocket.frames.data import TaskFrames

    return TaskFrames(frames.images, frames.stages, frames.hand_states, frames.object_states, frames.measures)
