"""`likert pocket train --similarity`: the pocket CLIP from nothing, by one call: frames, tokenizer, weights, report."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actors.worlds.metaworld import stages
from actors.worlds.metaworld.progress_frames import ProgressFrames
from actors.worlds.metaworld.settings import MetaWorldTask
from orchestrator.pocket.frames import draw, labelled, packaged_task
from orchestrator.pocket.phases import Phases
from orchestrator.settings.loading import packaged_tasks

if TYPE_CHECKING:
    from actors.pocket.similarity.evaluation import Judged
    from actors.pocket.similarity.sentences import TaskSentences
    from actors.pocket.similarity.training import SimilarityPlan
    from actors.pocket.together import OnStep

ALPHAS = (0.0, 0.5, 1.0)
"""Strengths of goal-baseline regularisation that it is judged with."""


NUM_FRAMES = (1500, 1200, 300)
"""Of a task: to learn from where the robot is drawn, and where it is hidden; to judge on."""


def train_similarity(
    out_folder: Path,
    seed: int = 0,
    num_frames: tuple[int, int, int] = NUM_FRAMES,
    plan: "SimilarityPlan | None" = None,
    tasks: tuple[str, ...] | None = None,
) -> list["Judged"]:
    """Rebuild the pocket CLIP into `out_folder` and judge it on held-out frames; `report.md` there holds the table.

    Equal arguments give equal weights on equal machines.
    """
    names = tasks or tuple(name for name in packaged_tasks() if name in stages.RULES)
    settings = [packaged_task(name) for name in names]
    with Phases() as phases:
        learnt, held_out = draw(settings, *num_frames, seed, phases)
        fit_similarity(out_folder, settings, learnt, plan, seed, phases.on_step)
        judged = judge_similarity(out_folder, settings, held_out, phases)
    (out_folder / "report.md").write_text(report(judged))
    return judged


def fit_similarity(
    out_folder: Path,
    tasks: list[MetaWorldTask],
    learnt: list[ProgressFrames],
    plan: "SimilarityPlan | None",
    seed: int,
    on_step: "OnStep",
) -> None:
    """Train tokenizer and weights on frames of `tasks`, in order, and write the checkpoint."""
    import torch

    from actors.pocket.similarity.model import new_model, save, train_tokenizer
    from actors.pocket.similarity.sentences import Sentences
    from actors.pocket.similarity.training import SimilarityPlan, SimilarityTrainer

    sentences = Sentences(tuple(task_sentences(task) for task in tasks))
    tokenizer = train_tokenizer(sentences.texts)
    threads = torch.get_num_threads()
    # Products of a network this small are too short to gain from more.
    torch.set_num_threads(1)
    try:
        torch.manual_seed(seed)
        frames = [labelled(one) for one in learnt]
        plan = plan or SimilarityPlan()
        trainer = SimilarityTrainer(new_model(tokenizer), tokenizer, sentences, frames, plan, seed, on_step)
        trainer.fit()
    finally:
        torch.set_num_threads(threads)
    save(trainer.model, tokenizer, out_folder)


def judge_similarity(
    folder: Path, tasks: list[MetaWorldTask], held_out: list[ProgressFrames], phases: Phases
) -> list["Judged"]:
    """The checkpoint in `folder` as the reward source uses it, on frames of `tasks`, in order."""
    from actors.pocket.similarity.evaluation import judged

    found = []
    for done, (task, frames) in enumerate(zip(tasks, held_out, strict=True), start=1):
        found.append(judged(folder, task.name, task_sentences(task), labelled(frames), ALPHAS))
        phases.show("judge", done, len(tasks), "tasks")
    return found


def task_sentences(task: MetaWorldTask) -> "TaskSentences":
    """What is said of frames of a packaged task."""
    from actors.pocket.frames.words import WORDS
    from actors.pocket.similarity.sentences import TaskSentences

    return TaskSentences(task.instruction, task.scene, task.agent, WORDS[task.name])


def report(judged: list["Judged"]) -> str:
    """A table in Markdown: rank correlation with the true stage by alpha, accuracy of success, and of sentences."""
    heads = [f"tau, alpha {alpha:g}" for alpha in ALPHAS]
    lines = [f"| task | {' | '.join(heads)} | success by its best cut | sentence on the object |"]
    lines.append("|---" * (len(ALPHAS) + 3) + "|")
    for one in judged:
        taus = " | ".join(f"{one.correlations[alpha]:.2f}" for alpha in ALPHAS)
        lines.append(f"| {one.task} | {taus} | {one.success_accuracy:.3f} | {one.object_accuracy:.3f} |")
    means = [float(np.mean([one.correlations[alpha] for one in judged])) for alpha in ALPHAS]
    lines.append(
        f"| mean | {' | '.join(f'{mean:.2f}' for mean in means)} | "
        f"{np.mean([one.success_accuracy for one in judged]):.3f} | "
        f"{np.mean([one.object_accuracy for one in judged]):.3f} |"
    )
    return "\n".join(lines) + "\n"
