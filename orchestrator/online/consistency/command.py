"""What `likert consistency` does and prints."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from actors.worlds.families import family_of
from algorithms.ratings import Rating
from algorithms.scales import SCALE_WORDS
from algorithms.settings import RewardSettings, SegmentSettings
from orchestrator.errors import SettingsError
from orchestrator.online.consistency.recorded import recorded_trajectories
from orchestrator.online.consistency.report import Rated, write_consistency
from orchestrator.online.consistency.trajectories import (
    START_SPREAD,
    Trajectory,
    around_its_start,
    best_acting,
    draw_trajectories,
)
from orchestrator.online.preflight import check_raters
from orchestrator.online.questions import QuestionMaker
from orchestrator.online.settings import OnlineExperiment
from orchestrator.online.telling.sessions import raise_if_failing
from orchestrator.ratings.asking import asking_ratings
from orchestrator.ratings.question import Question
from orchestrator.ratings.service import RatingService, SessionAnswers
from orchestrator.ratings.store import RatingStore
from orchestrator.runs.kind import ScaleTrial
from orchestrator.runs.reading import RunData
from orchestrator.screen.work_progress import WorkProgress
from orchestrator.settings.preflight import check_writable


def consistency(experiment: OnlineExperiment, acting: RunData | None, wanted: ScaleTrial, out: Path) -> None:
    """Ask about frames along trajectories on every scale, and say which to take. `acting` is a run whose best policy
    acts; None for the expert, or where the episodes are recorded. Raises LikertError."""
    _check(experiment, acting, wanted)
    check_raters([experiment])
    check_writable("--out", out)
    check_writable("ratings_folder", experiment.ratings_folder)
    rounds = wanted.repeats if experiment.rater.temperature > 0.0 else 1
    trajectories = _trajectories(experiment, acting, wanted)
    answers = _ask(experiment, trajectories, rounds)
    rated = {number: _rated(experiment, number, trajectories, found) for number, found in answers.items()}
    paths, number, why = write_consistency(rated, _about(experiment, acting, trajectories, wanted, rounds), out)
    print(f"recommended: feedback.num_ratings={number}: {why}")
    for path in paths:
        print(path)


def _trajectories(experiment: OnlineExperiment, acting: RunData | None, wanted: ScaleTrial) -> list[Trajectory]:
    if wanted.recorded is not None:
        return recorded_trajectories(wanted.recorded, wanted.trajectories, wanted.frames)
    task = around_its_start(experiment.task)
    weights, pixels = None, None
    if acting is not None:
        (weights, _), pixels = best_acting(acting), acting.experiment.policy.pixel_shape
    return draw_trajectories(task, wanted.trajectories, wanted.frames, weights, pixels)


def _check(experiment: OnlineExperiment, acting: RunData | None, wanted: ScaleTrial) -> None:
    if acting is not None and wanted.recorded is not None:
        raise SettingsError("--policy and --recorded: either somebody acts or episodes are recorded; give one of them")
    if not experiment.asks_rater:
        raise SettingsError(f"reward.source {experiment.reward.source!r} asks no rater: there is no scale to choose")
    kind = experiment.feedback.segment.kind
    if kind != "frame":
        raise SettingsError(
            f"feedback.segment.kind {kind!r}: likert consistency asks about single frames; set it to 'frame' for it"
        )
    for name, value, least in (
        ("--trajectories", wanted.trajectories, 1), ("--frames", wanted.frames, 3), ("--repeats", wanted.repeats, 1)
    ):  # fmt: skip
        if value < least:
            raise SettingsError(f"{name} {value}: must be {least} or more")


def _ask(experiment: OnlineExperiment, trajectories: list[Trajectory], rounds: int) -> dict[int, list[SessionAnswers]]:
    """For each scale the answers of each round, about all frames one trajectory after another."""
    scales = sorted(SCALE_WORDS)
    total = len(scales) * rounds * sum(len(one.frames) for one in trajectories)
    found: dict[int, list[SessionAnswers]] = {number: [] for number in scales}
    with WorkProgress("consistency", total, "questions") as progress:
        done = 0
        for round_ in range(rounds):
            with _asking(experiment, round_) as service:
                for number in scales:

                    def show(answered: int, failed: int, from_store: int, shared: int, before: int = done) -> None:
                        facts = f"{from_store:,} of this scale from the store, {failed:,} failed"
                        progress.update(before + answered + failed, facts, free=from_store)

                    answers = service.ask(_questions(experiment, number, trajectories), show).result()
                    raise_if_failing(answers, experiment.feedback.tolerated_failure_share)
                    found[number].append(answers)
                    done += len(answers.outcomes)
    return found


@contextmanager
def _asking(experiment: OnlineExperiment, round_: int) -> Iterator[RatingService]:
    """A rater for a round; each has a seed of its own, or the store would answer the second like the first."""
    rater = experiment.rater.model_copy(update={"seed": experiment.rater.seed + round_})
    needs = _maker(experiment, max(SCALE_WORDS)).needs
    with asking_ratings(rater, RatingStore(experiment.ratings_folder), "consistency", needs) as (service, _):
        yield service


def _maker(experiment: OnlineExperiment, num_ratings: int) -> QuestionMaker:
    feedback = experiment.feedback.model_copy(update={"num_ratings": num_ratings, "segment": SegmentSettings()})
    # Levels are asked about, wherever the run's reward comes from.
    return QuestionMaker(experiment.model_copy(update={"feedback": feedback, "reward": RewardSettings()}))


def _questions(experiment: OnlineExperiment, number: int, trajectories: list[Trajectory]) -> list[Question]:
    maker = _maker(experiment, number)
    return [
        maker.question([frame], 0, None if one.successes is None else bool(one.successes[place]), one.instruction)
        for one in trajectories
        for place, frame in enumerate(one.frames)
    ]


def _rated(
    experiment: OnlineExperiment, number: int, trajectories: list[Trajectory], answers: list[SessionAnswers]
) -> list[Rated]:
    """What was said of each trajectory; a question without an answer takes the level of the frame before it."""
    rated, start = [], 0
    for one in trajectories:
        end = start + len(one.frames)
        rounds = [found.outcomes[start:end] for found in answers]
        told = [outcome.probabilities for outcome in rounds[0] if isinstance(outcome, Rating)]
        complete = len(told) == len(one.frames) and all(told)
        # A recording has pictures alone.
        known = one.observations.shape[1] > 0
        task = experiment.task
        stages = family_of(task).levels(task, one.observations, one.returns, number) if known else None
        rated.append(
            Rated(
                scale=number,
                trajectory=one,
                levels=np.array([_filled([getattr(o, "rating", -1) for o in outcomes]) for outcomes in rounds]),
                probabilities=np.array(told) if complete else None,
                stages=stages,
            )
        )
        start = end
    return rated


def _filled(levels: list[int]) -> list[int]:
    """Levels without gaps, which are -1: each takes the one before it, the first ones the next that is known."""
    known = next((level for level in levels if level >= 0), 0)
    filled = []
    for level in levels:
        known = level if level >= 0 else known
        filled.append(known)
    return filled


def _about(
    experiment: OnlineExperiment,
    acting: RunData | None,
    trajectories: list[Trajectory],
    wanted: ScaleTrial,
    rounds: int,
) -> str:
    who = "MetaWorld's scripted expert" if acting is None else f"the best policy of {acting.folder.name}"
    of_whom = f"{experiment.task.name} by {who}"
    if wanted.recorded is not None:
        of_whom = f"the recordings {wanted.recorded.name}"
    lines = [
        f"{experiment.rater.model} rated {sum(len(one.frames) for one in trajectories)} frames along "
        f"{len(trajectories)} trajectories of {of_whom}, on each scale, {rounds}x "
        f"({experiment.rater.mode}, temperature {experiment.rater.temperature:g})."
    ]
    if experiment.task.has_fixed_start and wanted.recorded is None:
        lines.append(f"The task's start is fixed; trajectories began around it (`start_spread` {START_SPREAD:g}).")
    if rounds < wanted.repeats:
        lines.append(
            "At temperature 0 a model answers by its likeliest word, so that asking again would say nothing: "
            "`rater.temperature` above 0 does."
        )
    return " ".join(lines)
