"""What `likert label` does with a labeller other than RG-VLM."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from actors.rating.labellers.labeller import Labeller
from actors.rating.labellers.settings import RandomLabeller
from actors.rating.labellers.truth import AUDIT, TruthScores
from algorithms.progress import ProgressRequest
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import SettingsError
from orchestrator.labelling.episodes import EpisodeLabelling, about_labels, order_correlations
from orchestrator.labelling.settings import USED_BY, LabelSettings
from orchestrator.labelling.telling import Teller, facts_of, print_outcome
from orchestrator.labelling.windows import is_noted
from orchestrator.ratings.answer_counts import AnswerCounts
from orchestrator.ratings.asking import asking
from orchestrator.ratings.score_service import ScoreService
from orchestrator.screen.work_progress import WorkProgress
from orchestrator.settings.preflight import check_context, check_model, check_writable
from orchestrator.settings.served import expected_identity

LOOKED_AT = 64
"""Questions that are counted before a rater is loaded."""


def label_with(settings: LabelSettings, dataset: TrajectoryDataset, dry_run: bool) -> None:
    """Label, or with `dry_run` say how much there is to do. Raises LikertError."""
    asks = "rater" in USED_BY[settings.labeller.kind]
    if asks and settings.rater.endpoint is None:
        check_model(settings.rater)
    labeller, more = make_labeller(settings, dataset)
    if dry_run:
        _print_plan(settings, dataset, labeller, more, asks)
    if asks:
        asked = list(itertools.islice(_all_questions(dataset, labeller), LOOKED_AT))
        check_context(settings.rater, asked, "questions", " or labeller.num_frames", settings.tolerated_failure_share)
    if dry_run:
        return
    check_writable("data", settings.data)
    if not asks:
        label_all(settings, dataset, labeller, about_labels(settings, labeller.identity(), asks, **more))
        return
    check_writable("ratings_folder", settings.ratings_folder)
    name = f"label-{dataset.info.name}"
    with asking(settings.rater, settings.ratings_folder, name, labeller.needs()) as (service, identity):
        label_all(settings, dataset, labeller, about_labels(settings, identity, asks, **more), service)


def _all_questions(dataset: TrajectoryDataset, labeller: Labeller) -> Iterator[ProgressRequest]:
    for trajectory in dataset.episodes(symbolic=False, on_problem=lambda _: None):
        yield from labeller.questions(trajectory)


def make_labeller(settings: LabelSettings, dataset: TrajectoryDataset) -> tuple[Labeller, dict[str, Any]]:
    """The labeller that the settings ask for, and what else decides its labels. Raises SettingsError."""
    chosen = settings.labeller
    try:
        if chosen.kind == "clip":
            from actors.rating.labellers.clip import Clip

            return Clip(chosen), {}
        if chosen.kind == "blip2":
            from actors.rating.labellers.blip2 import Blip2

            return Blip2(chosen), {}
        if chosen.kind == "video":
            from actors.rating.labellers.video import Video

            return Video(chosen), {}
        if chosen.kind == "roboclip":
            from actors.rating.labellers.roboclip import RoboClip

            return RoboClip(chosen), {}
    except ValueError as error:
        raise SettingsError(str(error)) from None
    if chosen.kind == "gvl":
        from actors.rating.labellers.gvl import Gvl

        return Gvl(chosen), {}
    if chosen.kind == "topreward":
        from actors.rating.labellers.topreward import TopReward

        return TopReward(chosen), {}
    if chosen.kind == "truth":
        check_audit(dataset)
        return TruthScores(chosen), {}
    from actors.rating.labellers.random_rewards import RandomRewards

    mean = mean_reward(dataset, chosen)
    return RandomRewards(chosen, mean), {"mean": mean}


def check_audit(dataset: TrajectoryDataset) -> None:
    """Raise SettingsError unless the set notes what each action did."""
    if AUDIT not in dataset.info.audits:
        raise SettingsError(
            f"labeller.kind = 'truth': {dataset.folder} has no column audit_{AUDIT}, for nobody knows of "
            f"{dataset.info.source!r} what an action truly did; sets of `likert data babyai` have it"
        )


def mean_reward(dataset: TrajectoryDataset, chosen: RandomLabeller) -> float:
    """Mean reward of the labeller that `mean_of` names. Raises SettingsError if the set has no such column."""
    name, total, number = chosen.mean_of, 0.0, 0
    for trajectory in dataset.episodes(frames=False, symbolic=False, on_problem=lambda _: None):
        if name not in trajectory.rewards:
            raise SettingsError(
                f"labeller.mean_of = {name!r}: episode {trajectory.episode_id} of {dataset.folder} has no column "
                f"reward_{name}; it has {', '.join(sorted(trajectory.rewards)) or 'none'}. Let that labeller label "
                "the whole set first"
            )
        known = trajectory.rewards[name][np.isfinite(trajectory.rewards[name])]
        total, number = total + float(known.sum(dtype=np.float64)), number + len(known)
    if not total:
        raise SettingsError(
            f"labeller.mean_of = {name!r}: its mean over {number:,} actions is 0, so random rewards would all be 0; "
            "name a labeller whose mean is not"
        )
    return total / number


def label_all(
    settings: LabelSettings,
    dataset: TrajectoryDataset,
    labeller: Labeller,
    about: dict[str, Any],
    service: ScoreService | None = None,
) -> AnswerCounts:
    """Label all parts that need it, show progress, and say what was done."""
    started = time.monotonic()
    title = f"{settings.name} of {dataset.info.name}"
    with WorkProgress(title, dataset.info.num_episodes, "trajectories") as progress:
        teller = Teller(progress)

        def show(counts: AnswerCounts) -> None:
            facts = facts_of(counts, settings.price, time.monotonic() - started) if service else ""
            progress.update(skipped + counts.episodes, facts, free=skipped)

        labelling = EpisodeLabelling(settings, dataset, labeller, about, service, teller.tell, show)
        parts = labelling.parts_to_do()
        skipped = dataset.info.num_episodes - count_episodes(dataset, parts)
        if parts or not is_noted(dataset, settings):
            labelling.run(parts)
    counts = labelling.counts
    print_outcome(settings, dataset, len(parts), counts)
    if labeller.asked_frames(1):
        print(correlation_line(order_correlations(dataset, settings.name, labeller)))
    return counts


def count_episodes(dataset: TrajectoryDataset, parts: list[str]) -> int:
    """Trajectories in `parts`."""
    return sum(1 for _ in dataset.episodes(parts, frames=False, symbolic=False, on_problem=lambda _: None))


def correlation_line(correlations: list[float | None]) -> str:
    """VOC in words. It says how well values rise with time, on data that succeeds; not whether something succeeded."""
    known = [one for one in correlations if one is not None]
    undefined = len(correlations) - len(known)
    if not known:
        return f"value-order correlation: not defined for any of {undefined:,} trajectories"
    return (
        f"value-order correlation: {np.mean(known):.3f} (mean of {len(known):,} trajectories; not defined for "
        f"{undefined:,}, whose values are missing or all equal)"
    )


def _print_plan(
    settings: LabelSettings, dataset: TrajectoryDataset, labeller: Labeller, more: dict[str, Any], asks: bool
) -> None:
    identity = labeller.identity()
    if asks:
        identity = expected_identity(settings.rater)
    about = about_labels(settings, identity, asks, **more)
    parts = EpisodeLabelling(settings, dataset, labeller, about).parts_to_do()
    num_questions = num_episodes = 0
    for trajectory in dataset.episodes(parts, frames=asks, symbolic=False, on_problem=lambda _: None):
        num_episodes += 1
        num_questions += len(labeller.questions(trajectory)) if asks else 0
    print(
        f"{settings.data}: {len(dataset.parts) - len(parts)} of {len(dataset.parts)} parts are labelled; the others "
        f"have {num_episodes:,} trajectories" + (f", which ask {num_questions:,} questions" if asks else "")
    )
