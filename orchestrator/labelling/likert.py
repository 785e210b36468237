"""ERL-VLM on recordings: some moments are rated, a reward model learns from the ratings and scores every frame.

    episodes -> moments, by a budget -> the store, else the rating server -> ratings -> reward models -> columns

Everything but the ratings follows from the settings' seed, and ratings are kept by the store. So a labelling that was
killed draws the same moments, finds what was answered, learns the same reward models, and writes the parts that lack
their columns.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from actors.rating.backend import Needs
from actors.rating.labellers.settings import LikertLabeller
from actors.reward.learner import RewardLearner
from algorithms.feedback import shuffled
from algorithms.held_out_metrics import auroc
from algorithms.images import decode_png, reduce_frame
from algorithms.prompts import PROMPT_VERSION, answer_labels
from algorithms.ratings import RaterIdentity, Rating, RatingFailure, RatingRequest, TaskText
from algorithms.scales import RatingScale
from algorithms.soft_labels import learned_levels, likeliest
from algorithms.trajectories import Trajectory
from algorithms.windows import rewards_of
from orchestrator.data.check import PartError, Problem, structure_problems
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.schema import REWARD, SCORE, trajectory_of
from orchestrator.errors import SettingsError
from orchestrator.labelling.likert_moments import Moment, draw_moments, lengths_by_instruction
from orchestrator.labelling.settings import LabelSettings
from orchestrator.labelling.windows import is_noted
from orchestrator.ratings.answer_counts import AnswerCounts, stop_if_failing
from orchestrator.ratings.question import Question, rating_request
from orchestrator.ratings.service import RatingService, SessionAnswers

ASKED_AT_ONCE = 64
"""Questions between two looks at how many fail."""
FRAMES_AT_ONCE = 256
_ADDED_LATER = (
    "asked_levels", "labels", "label_temperature", "reward_model.boundaries", "reward_model.preference_loss",
)  # fmt: skip


@dataclass(frozen=True)
class Rated:
    """The answered moments of an instruction."""

    inputs: np.ndarray
    """uint8 [N, F, px, px, 3]."""
    ratings: np.ndarray
    """int64 [N]."""
    probabilities: np.ndarray
    """float32 [N, num_ratings]."""
    episodes: np.ndarray
    """[N]: names."""


class LikertLabelling:
    """One pass over a data set. `tell` hears of problems, `show` of progress."""

    def __init__(
        self,
        settings: LabelSettings,
        dataset: TrajectoryDataset,
        service: RatingService,
        identity: RaterIdentity,
        tell: Callable[[Problem], None] = lambda _: None,
        show: Callable[[str, AnswerCounts], None] = lambda *_: None,
    ) -> None:
        assert isinstance(settings.labeller, LikertLabeller)
        self._settings, self._labeller = settings, settings.labeller
        self._dataset = dataset
        self._service = service
        self._tell, self._show = tell, show
        self._about = about_ratings(settings, identity)
        self.counts = AnswerCounts()

    def run(self) -> int:
        """Rate, learn, and write the columns of parts that lack them; returns how many did.

        Raises RatingsFailing if too many questions get no answer, SettingsError if nothing can be learned from those
        that did, and DiskFailing if nothing can be written.
        """
        noted = is_noted(self._dataset, self._settings)
        if noted and not unlabelled_parts(self._settings, self._dataset, self._about):
            return 0
        moments = draw_moments(lengths_by_instruction(self._dataset), self._labeller)
        rated = self._rate(moments)
        failed, told = self.counts.failed, {}
        models: dict[str, RewardLearner] = {}
        for text, one in rated.items():
            models[text], told[text] = self._learn(text, one)
        learned = {text: model for text, model in models.items() if told[text]["learned"]}
        if not learned:
            raise SettingsError(
                "nothing can be learned: of each instruction all ratings are of one level "
                f"({json.dumps({text: one['ratings'] for text, one in told.items()})[:300]}); take another rater, "
                "another labeller.num_ratings, or show it longer segments"
            )
        digest = hashlib.sha256(b"".join(one.ratings.tobytes() for one in rated.values())).hexdigest()
        stamp = self._about_stamp(failed) | {"ratings": digest}
        parts = [part for part in self._dataset.parts if _stamp_of(self._settings, self._dataset, part) != stamp]
        for part in parts:
            self._score_part(part, learned, stamp)
        about = self._about | {"instructions": told, "failed": failed}
        for name, reward in self._settings.rewards.items():
            self._dataset.record_labels(name, about | {"reward": reward.model_dump(mode="json")})
        return len(parts)

    # ------------------------------------------------------------------------------------------------ ratings

    def _rate(self, moments: Mapping[str, list[Moment]]) -> dict[str, Rated]:
        """The ratings of all moments that were answered, by instruction."""
        questions = self._questions(moments)
        keys = list(questions)
        answers: dict[tuple[str, Moment], Rating] = {}
        for first in range(0, len(keys), ASKED_AT_ONCE):
            some = keys[first : first + ASKED_AT_ONCE]
            found = self._service.ask([questions[key] for key in some]).result()
            self.counts.windows += len(some)
            self.counts.from_store += found.num_from_store
            self._count_tokens(found)
            for key, outcome in zip(some, found.outcomes, strict=True):
                if isinstance(outcome, RatingFailure):
                    self.counts.failed += 1
                    self.counts.first_failure = self.counts.first_failure or f"{outcome.cause}: {outcome.detail}"
                else:
                    answers[key] = outcome
            stop_if_failing(self.counts, self._settings.tolerated_failure_share)
            self._show("ratings", self.counts)
        if not answers:
            raise SettingsError(f"no question got an answer (first failure: {self.counts.first_failure})")
        rated = {}
        for text in moments:
            own = [(key, rating) for key, rating in answers.items() if key[0] == text]
            if own:
                levels = self._labeller
                rated[text] = Rated(
                    np.stack([self._seen(questions[key].frames) for key, _ in own]),
                    *learned_levels(
                        [rating for _, rating in own], levels.num_asked, levels.num_ratings, levels.label_temperature
                    ),
                    np.array([key[1].episode_id for key, _ in own]),
                )
        return rated

    def _count_tokens(self, found: SessionAnswers) -> None:
        # Equal questions are asked once, and what the store had cost nothing.
        asked = {one.key: one for one in found.outcomes if isinstance(one, Rating) and one.key not in found.stored_keys}
        self.counts.prompt_tokens += sum(one.prompt_tokens for one in asked.values())
        self.counts.completion_tokens += sum(one.completion_tokens for one in asked.values())

    def _questions(self, moments: Mapping[str, list[Moment]]) -> dict[tuple[str, Moment], Question]:
        """By instruction and moment, in the order drawn; moments whose pictures cannot be read have none."""
        found: dict[tuple[str, Moment], Question] = {}
        for trajectory, text, moment in _shown(self._dataset, moments, self._name):
            pngs = tuple(trajectory.frames[frame] for frame in moment.frames)
            success = bool((trajectory.sparse_rewards[: max(moment.frames)] > 0).any())
            try:
                request = _request(self._settings, text, pngs)
                self._seen(pngs)
            except ValueError as error:
                self._name(Problem(self._dataset.folder.name, f"left out: {error}", None, trajectory.episode_id))
                continue
            found[text, moment] = Question(request, pngs, max(moment.frames), success)
        return {key: found[key] for text, some in moments.items() for m in some if (key := (text, m)) in found}

    # ------------------------------------------------------------------------------------------------ learning

    def _learn(self, text: str, rated: Rated) -> tuple[RewardLearner, dict[str, Any]]:
        """A reward model of these ratings, and what is to be known of it."""
        labeller = self._labeller
        rng = np.random.default_rng([labeller.seed, 1, *hashlib.sha256(text.encode()).digest()])
        out = _held_out(rated.episodes, labeller.held_out_share, rng)
        learned = rated.probabilities if labeller.labels == "soft" else rated.ratings
        learned = shuffled(learned, rng) if labeller.control == "shuffled" else learned
        ratings = learned if learned.ndim == 1 else likeliest(learned)
        gpus = labeller.reward_model.num_gpus
        gpus = (1.0 if torch.cuda.is_available() else 0.0) if gpus is None else gpus
        seed = int(rng.integers(2**31))
        settings = labeller.reward_model.model_copy(update={"num_gpus": gpus})
        model = RewardLearner(settings, labeller.num_ratings, None, seed)
        model.add_ratings(rated.inputs[~out], learned[~out])
        metrics = model.train().metrics
        told: dict[str, Any] = {
            "ratings": np.bincount(rated.ratings, minlength=labeller.num_ratings).tolist(),
            "learned": len(np.unique(ratings[~out])) > 1,
            "accuracy": round(metrics["accuracy"], 4),
            "epochs": int(metrics["epochs"]),
            "held_out": int(out.sum()),
            "held_out_agreement": None,
        }
        if out.any():
            frames = rated.inputs[out]
            scores, _ = model.score(frames.reshape(-1, *frames.shape[2:]))
            agreement = order_agreement(scores.reshape(len(frames), -1).mean(axis=1), rated.ratings[out])
            told["held_out_agreement"] = None if agreement is None else round(agreement, 4)
        self._show("reward model", self.counts)
        return model, told

    def _seen(self, pngs: Sequence[bytes]) -> np.ndarray:
        """uint8 [F, px, px, 3]: what the reward model sees. Raises ValueError if a picture is smaller or damaged."""
        px = self._labeller.reward_model.image_px
        return np.stack([reduce_frame(decode_png(png), px, px) for png in pngs])

    # ------------------------------------------------------------------------------------------------ columns

    def _score_part(self, part: str, models: Mapping[str, RewardLearner], stamp: Mapping[str, Any]) -> None:
        try:
            num_rows = self._dataset.num_rows(part)
            names = [SCORE + self._settings.name, *(REWARD + name for name in self._settings.rewards)]
            columns = {name: np.full(num_rows, np.nan, dtype=np.float32) for name in names}
            for first_row, trajectory in self._whole_episodes(part):
                if trajectory.instruction in models:
                    scores = self._scores(models[trajectory.instruction], trajectory)
                    rows = slice(first_row, first_row + len(trajectory))
                    columns[SCORE + self._settings.name][rows] = scores
                    for name, reward in self._settings.rewards.items():
                        columns[REWARD + name][rows] = rewards_of(scores, trajectory.sparse_rewards, reward, 1.0)
                    self.counts.actions += int(np.isfinite(scores).sum())
                self.counts.episodes += 1
                self._show("scores", self.counts)
            self._dataset.write_columns(part, columns, dict(stamp))
        except PartError as error:
            self._name(Problem(part, str(error)))

    def _whole_episodes(self, part: str) -> Iterator[tuple[int, Trajectory]]:
        for first_row, rows in self._dataset.episode_rows(part, symbolic=False):
            problems = structure_problems(part, first_row, rows, self._dataset.info)
            for problem in problems:
                self._name(problem)
            if not problems:
                yield first_row, trajectory_of(rows, self._dataset.info)

    def _scores(self, model: RewardLearner, trajectory: Trajectory) -> np.ndarray:
        """float64 [T]: of each action, what the frame that it led to scores; NaN where that cannot be read."""
        scores = np.full(len(trajectory), np.nan)
        for first in range(0, len(trajectory), FRAMES_AT_ONCE):
            readable, seen = [], []
            for step in range(first, min(first + FRAMES_AT_ONCE, len(trajectory))):
                try:
                    seen.append(self._seen([trajectory.frames[step + 1]])[0])
                    readable.append(step)
                except ValueError:
                    continue  # `_questions` or `likert data check` says why.
            if seen:
                scores[readable] = model.score(np.stack(seen))[0]
        return scores

    def _about_stamp(self, failed: int) -> dict[str, Any]:
        return {"digest": digest_of(self._settings, self._about), "failed": failed}

    def _name(self, problem: Problem) -> None:
        self.counts.problems += not problem.is_note
        self._tell(problem)


def requests(
    settings: LabelSettings, dataset: TrajectoryDataset, moments: Mapping[str, list[Moment]]
) -> Iterator[RatingRequest]:
    """What will be asked, in the order of the episodes; moments whose pictures cannot be read are left out."""
    for trajectory, text, moment in _shown(dataset, moments, lambda _: None):
        with contextlib.suppress(ValueError):
            yield _request(settings, text, tuple(trajectory.frames[frame] for frame in moment.frames))


def _shown(
    dataset: TrajectoryDataset, moments: Mapping[str, list[Moment]], name: Callable[[Problem], None]
) -> Iterator[tuple[Trajectory, str, Moment]]:
    """Each moment with its trajectory, which is read once; in the order of the episodes."""
    wanted: dict[str, list[tuple[str, Moment]]] = {}
    for text, some in moments.items():
        for moment in some:
            wanted.setdefault(moment.episode_id, []).append((text, moment))
    for trajectory in dataset.episodes(symbolic=False, on_problem=name):
        for text, moment in wanted.get(trajectory.episode_id, ()):
            yield trajectory, text, moment


def _request(settings: LabelSettings, text: str, pngs: tuple[bytes, ...]) -> RatingRequest:
    """Raises ValueError if a picture cannot be read."""
    labeller = settings.labeller
    assert isinstance(labeller, LikertLabeller)
    scale = RatingScale.likert(labeller.num_asked)
    return rating_request(pngs, TaskText(text, labeller.focus), scale, settings.rater.mode)


def _held_out(episodes: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """bool [N]: which ratings are held out, given the episodes that they are of. Those of one episode stay together,
    since its frames are near copies of one another, and one episode at least is left to learn from."""
    names = rng.permutation(np.unique(episodes))
    out = np.zeros(len(episodes), dtype=bool)
    for name in names[:-1]:
        if out.sum() >= share * len(episodes):
            break
        out |= episodes == name
    return out


def order_agreement(scores: np.ndarray, ratings: np.ndarray) -> float | None:
    """Share of pairs with different ratings [N] that scores [N] put in the same order; equal scores count half. None
    if there is no such pair; 0.5 is chance."""
    right, pairs = 0.0, 0
    for level in np.unique(ratings):
        above, at = scores[ratings > level], scores[ratings == level]
        if (share := auroc(above, at)) is not None:
            right, pairs = right + share * len(above) * len(at), pairs + len(above) * len(at)
    return right / pairs if pairs else None


def about_ratings(settings: LabelSettings, identity: RaterIdentity) -> dict[str, Any]:
    """What decides the labels, for `metadata.json`."""
    return {
        "scores": SCORE + settings.name,
        "labeller": _as_before(settings.labeller),
        "model": identity.model,
        "revision": identity.revision,
        "prompt_version": PROMPT_VERSION,
        "mode": settings.rater.mode,
        "sampling": vars(settings.rater.sampling),
    }


def _as_before(labeller: LikertLabeller) -> dict[str, Any]:
    """The settings without fields of later versions that are at their defaults: so what was labelled before there were
    these is known again."""
    tree, usual = labeller.model_dump(mode="json"), LikertLabeller().model_dump(mode="json")
    for path in _ADDED_LATER:
        *blocks, name = path.split(".")
        node, default = tree, usual
        for block in blocks:
            node, default = node[block], default[block]
        if node[name] == default[name]:
            del node[name]
    return tree


def unlabelled_parts(settings: LabelSettings, dataset: TrajectoryDataset, about: Mapping[str, Any]) -> list[str]:
    """Parts without these columns; all of them, if questions failed or the parts are of different ratings."""
    stamps = {part: _stamp_of(settings, dataset, part) for part in dataset.parts}
    digest = digest_of(settings, about)
    done = [s for s in stamps.values() if s is not None and s.get("digest") == digest and not s.get("failed")]
    if len(done) == len(stamps) and len({one.get("ratings") for one in done}) == 1:
        return []
    return [part for part, stamp in stamps.items() if stamp not in done] or list(stamps)


def digest_of(settings: LabelSettings, about: Mapping[str, Any]) -> str:
    """Stands for all that decides what the columns hold, but for the ratings."""
    rewards = {name: reward.model_dump(mode="json") for name, reward in settings.rewards.items()}
    return hashlib.sha256(json.dumps([dict(about), rewards], sort_keys=True).encode()).hexdigest()


def _stamp_of(settings: LabelSettings, dataset: TrajectoryDataset, part: str) -> dict[str, Any] | None:
    """The stamp of a part's columns, if all have the same."""
    try:
        stamps = [dataset.label_stamp(part, name) for name in settings.rewards]
    except PartError:
        return None
    return stamps[0] if all(stamp == stamps[0] for stamp in stamps) else None


def needs_of_ratings(labeller: LikertLabeller) -> Needs:
    """What its questions ask of a rater."""
    return Needs(answer_labels(RatingScale.likert(labeller.num_asked)), num_pictures=1)
