"""Judging the judges: a rater is shown trajectories and asked whether the task is completed (RG-VLM, table I).

The paper shows trajectories that succeeded, so that whoever always says yes is right. Here each is also shown as what
it is not. Answers go to no training: they are about trajectories, and no action or reward is made of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from actors.rating.settings import RaterSettings
from algorithms.progress import ProgressRequest, spread
from algorithms.ratings import RatingFailure
from algorithms.scores import Scores
from algorithms.trajectories import Trajectory
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import SettingsError
from orchestrator.judging.settings import JudgeSettings
from orchestrator.ratings.answer_counts import AnswerCounts, stop_if_failing
from orchestrator.ratings.score_service import ScoreService
from orchestrator.ratings.score_store import AskedWindow

COMPLETED = "completed"
"""The case of a trajectory that is shown as it is; the others are called as in `JudgeSettings.negatives`."""

LOOKED_AT = 8
"""Trajectories whose questions are counted before a rater is loaded."""


@dataclass(frozen=True)
class Drawn:
    """A trajectory that is to be shown, and whose instruction is to be shown in place of its own."""

    part: str
    episode_id: str
    wrong_instruction: str


@dataclass(frozen=True)
class Case:
    """One question."""

    episode_id: str
    name: str
    """COMPLETED, or a negative."""
    request: ProgressRequest


@dataclass(frozen=True)
class Verdict:
    """What came of one question."""

    episode_id: str
    case: str
    instruction: str
    outcome: Scores | RatingFailure

    @property
    def says_completed(self) -> bool | None:
        """None if there is no answer."""
        return bool(self.outcome.scores[0]) if isinstance(self.outcome, Scores) else None

    @property
    def is_right(self) -> bool | None:
        """None if there is no answer."""
        said = self.says_completed
        return None if said is None else said == (self.case == COMPLETED)


def draw_trajectories(dataset: TrajectoryDataset, settings: JudgeSettings) -> list[Drawn]:
    """Equal seeds draw equal trajectories, in the order of the data set. Raises SettingsError if there are too few."""
    known: list[tuple[str, str, str]] = []
    for part in dataset.parts:
        for one in dataset.episodes([part], frames=False, symbolic=False):
            if one.sparse_rewards.any():
                known.append((part, one.episode_id, one.instruction))
    if len(known) < settings.num_trajectories:
        raise SettingsError(
            f"num_trajectories = {settings.num_trajectories}: only {len(known):,} trajectories of {settings.data} "
            f"completed their instruction; ask for {len(known):,} or fewer"
        )
    rng = np.random.default_rng(settings.seed)
    chosen = sorted(rng.choice(len(known), settings.num_trajectories, replace=False).tolist())
    return [Drawn(*known[index][:2], _other_instruction(known[index][2], known, settings, rng)) for index in chosen]


def _other_instruction(
    own: str, known: list[tuple[str, str, str]], settings: JudgeSettings, rng: np.random.Generator
) -> str:
    others = sorted({text for _, _, text in known} - {own})
    if "wrong_instruction" not in settings.negatives:
        return ""
    if not others:
        raise SettingsError(
            f"negatives has wrong_instruction, but all trajectories of {settings.data} have the same instruction; "
            "leave it out"
        )
    return others[int(rng.integers(len(others)))]


def cases_of(one: Trajectory, wrong_instruction: str, settings: JudgeSettings, mode: str) -> list[Case]:
    """The questions about a trajectory: as it is, and as each negative. `mode` is the rater's."""
    whole = [one.frames[index] for index in spread(len(one.frames), settings.num_frames)]
    beginning = int(len(one) * settings.truncated_share) + 1
    shown = {
        COMPLETED: (whole, one.instruction),
        "wrong_instruction": (whole, wrong_instruction),
        "truncated": ([one.frames[index] for index in spread(beginning, settings.num_frames)], one.instruction),
        "reversed": (whole[::-1], one.instruction),
    }
    asked = "verdict_two_turn" if mode == "two_turn" else "verdict"
    return [
        Case(one.episode_id, name, ProgressRequest(tuple(shown[name][0]), shown[name][1], asked, "in time order"))
        for name in (COMPLETED, *settings.negatives)
    ]


def ask_rater(
    settings: JudgeSettings,
    rater: RaterSettings,
    dataset: TrajectoryDataset,
    drawn: list[Drawn],
    service: ScoreService,
    show: Callable[[AnswerCounts], None] = lambda _: None,
) -> list[Verdict]:
    """All verdicts of a rater, in the order of trajectories and cases.

    Raises RatingsFailing if too many questions get no answer.
    """
    cases: list[Case] = []
    outcomes: dict[int, Scores | RatingFailure] = {}
    counts = AnswerCounts()

    def windows() -> Iterator[tuple[int, AskedWindow]]:
        for trajectory, wrong in _shown(dataset, drawn):
            for case in cases_of(trajectory, wrong, settings, rater.mode):
                cases.append(Case(case.episode_id, case.name, _without_pictures(case.request)))
                yield len(cases) - 1, AskedWindow(case.request, dataset.info.name, case.episode_id, 0)

    for answer in service.stream(windows()):
        outcomes[answer.tag] = answer.outcome
        counts.windows += 1
        counts.from_store += answer.from_store
        if isinstance(answer.outcome, RatingFailure):
            counts.failed += 1
            counts.first_failure = counts.first_failure or f"{answer.outcome.cause}: {answer.outcome.detail}"
            stop_if_failing(counts, settings.tolerated_failure_share)
        elif not answer.from_store:
            counts.prompt_tokens += answer.outcome.prompt_tokens
            counts.completion_tokens += answer.outcome.completion_tokens
        show(counts)
    return [
        Verdict(case.episode_id, case.name, case.request.instruction, outcomes[index])
        for index, case in enumerate(cases)
    ]


def first_questions(
    dataset: TrajectoryDataset, drawn: list[Drawn], settings: JudgeSettings, mode: str
) -> list[ProgressRequest]:
    """What is asked about the first few trajectories that were drawn."""
    shown = _shown(dataset, drawn[:LOOKED_AT])
    return [case.request for one, wrong in shown for case in cases_of(one, wrong, settings, mode)]


def _shown(dataset: TrajectoryDataset, drawn: list[Drawn]) -> Iterator[tuple[Trajectory, str]]:
    wanted = {one.episode_id: one.wrong_instruction for one in drawn}
    for one in dataset.episodes(sorted({one.part for one in drawn}), symbolic=False):
        if one.episode_id in wanted:
            yield one, wanted[one.episode_id]


def _without_pictures(request: ProgressRequest) -> ProgressRequest:
    """Pictures of many trajectories would not fit into memory."""
    return ProgressRequest((), request.instruction, request.mode, request.frame_note)
