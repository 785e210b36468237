"""Feedback sessions: which segments are rated, or which pairs compared, what came back, and what the reward model may
learn from it."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from algorithms.feedback import FeedbackSchedule, shuffled
from algorithms.images import decode_png, reduce_image
from algorithms.pairs import PairDraw
from algorithms.ratings import Rating
from algorithms.replay import ColumnarReplay
from algorithms.scales import CANNOT_TELL
from algorithms.segments import Segment, SegmentDraw
from algorithms.soft_labels import learned_levels, learned_preferences
from orchestrator.errors import LikertError
from orchestrator.online.asking.altered import altered
from orchestrator.online.asking.choosing import Choice, Opinions, Seen, choose
from orchestrator.online.asking.drawing import Drawing
from orchestrator.online.asking.in_doubt import ask_in_doubt
from orchestrator.online.asking.known import known_canaries
from orchestrator.online.asking.labels import Labels, joined, no_labels
from orchestrator.online.asking.people import People
from orchestrator.online.frames.step_frames import StepFrames
from orchestrator.online.questions import QuestionMaker
from orchestrator.online.settings import OnlineExperiment
from orchestrator.online.telling.agreement import agreement, agreement_of_pairs
from orchestrator.online.telling.sessions import raise_if_failing
from orchestrator.ratings.question import Question
from orchestrator.ratings.service import RatingService, Report, SessionAnswers
from orchestrator.ratings.store import RatingStore
from orchestrator.runs.folder import RunFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenSession:
    """A session under way."""

    segments: list[Segment]
    questions: list[Question]
    observations: np.ndarray
    """[N, F, observation] float32: what a state reward model sees of each segment."""
    instructions: list[str]
    """Of each segment's episode; empty where that has none of its own."""
    env_returns: np.ndarray
    """[N, F] float32: what each frame's episode had been paid by the world itself by then, for audits."""
    answers: "Future[SessionAnswers]"
    round: int
    """Round in which it was opened."""
    num_repeats: int
    """Segments that were drawn and left out, since the run has had their pictures rated."""
    choice: Choice | None
    """How the segments were chosen among others; None if they were not."""


@dataclass
class FeedbackSessions:
    """Opens sessions on schedule and turns their answers into labels."""

    experiment: OnlineExperiment
    frames: StepFrames
    service: RatingService
    store: RatingStore
    rng: np.random.Generator
    schedule: FeedbackSchedule = field(init=False)
    labels: Labels = field(init=False)

    def __post_init__(self) -> None:
        settings = self.experiment.feedback
        self.schedule = FeedbackSchedule(settings, self.experiment.total_env_steps)
        self._since_index = 0
        self._before: dict[str, Any] = {}
        self.labels = no_labels(self.experiment.num_learned)
        self.undecided: list[str] = []
        """Keys of pairs of which the rater could not tell which is nearer to the goal."""
        self.maker = QuestionMaker(self.experiment)
        self._drawing = Drawing(self.experiment, self.frames, self.service, self.maker)
        self.known = known_canaries(self.experiment)
        self.people = None if settings.people.use == "ignore" else People(self.experiment, self.store)

    def open(
        self, replay: ColumnarReplay, env_steps: int, round_: int, report: Report, opinions: Opinions | None = None
    ) -> OpenSession | None:
        """Select segments, render them and start asking; None if there is nothing to ask that was not asked before.

        `opinions` are those of the reward model, once it has learned something; without them only novelty can be told.
        """
        settings = self.experiment.feedback
        self._before = self.state()
        num_segments = self.schedule.begin(env_steps)
        recent = replay.recent_episodes(settings.recent_episodes)
        episodes = [episode for episode in recent if self.frames.has(episode.indices).all()]
        kind = PairDraw if self.experiment.compares else SegmentDraw
        draw = kind(episodes, settings, self._since_index, self.rng)
        self._since_index = replay.next_index
        selects = settings.selection.strategy == "novelty" or (opinions and settings.selection.strategy != "uniform")
        num_drawn = num_segments * (settings.selection.candidates if selects else 1)
        rated = {*self.labels.keys, *self.undecided}
        asked, num_repeats = self._drawing.questions(draw, num_drawn, replay, env_steps, rated)
        choice = None
        if selects and asked:
            choice = self._choose(asked, num_segments, replay, opinions)
            asked = [asked[place] for place in choice.places]
        self.schedule.give_back(num_segments - len(asked))
        if not asked:
            return None
        segments, questions = [segment for segment, _ in asked], [question for _, question in asked]
        instructions = [replay.instructions(segment.indices[-1:])[0] for segment in segments]
        observations = np.stack([replay.next_observations(segment.indices) for segment in segments])
        answers = self._ask(questions, report)
        indices = np.stack([segment.indices for segment in segments])
        returns = replay.returns(indices.ravel()).reshape(indices.shape)
        return OpenSession(
            segments, questions, observations, instructions, returns, answers, round_, num_repeats, choice
        )

    def _ask(self, questions: list[Question], report: Report) -> "Future[SessionAnswers]":
        below = self.experiment.feedback.analyse_below
        if below is None:
            return self.service.ask(questions, report)
        return ask_in_doubt(self.service, questions, below, report)

    def _choose(
        self,
        drawn: Sequence[tuple[Segment, Question]],
        number: int,
        replay: ColumnarReplay,
        opinions: Opinions | None,
    ) -> Choice:
        """Which of what was drawn is asked about."""
        indices = [segment.indices for segment, _ in drawn]
        observations = np.stack([replay.next_observations(one) for one in indices])
        candidates = Seen(observations, [replay.instructions(one[-1:])[0] for one in indices])

        def told() -> np.ndarray:
            assert opinions is not None, "only novelty is told without"
            return opinions(self._seen([one.frames for _, one in drawn], observations), candidates.instructions)

        rated = Seen(self.labels.observations, self.labels.instructions)
        return choose(self.experiment.feedback.selection, number, candidates, rated, told, self.rng)

    def close(self, session: OpenSession) -> tuple[Labels, SessionAnswers]:
        """Wait for the answers and keep their labels; a study's alterations are in both. Raises RatingsFailing if too
        many failed."""
        tolerated = self.experiment.feedback.tolerated_failure_share
        try:
            answers = session.answers.result()
            raise_if_failing(answers, tolerated)
        except LikertError:
            # As if it had not been opened: a resumed run draws the same segments and finds their answers in the store.
            self.set_state(self._before, self.arrays())
            raise
        outcomes = altered(self.experiment, answers.outcomes, session.observations, session.env_returns)
        answers = replace(answers, outcomes=outcomes)
        answered = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, Rating)]
        if self.experiment.compares:
            told = {index: answers.outcomes[index].rating != CANNOT_TELL for index in answered}
            self.undecided += [answers.outcomes[index].key for index in answered if not told[index]]
            answered = [index for index in answered if told[index]]
        ratings, probabilities = self._made([answers.outcomes[index] for index in answered])
        new = Labels(
            [answers.outcomes[index].key for index in answered],
            ratings,
            probabilities,
            session.observations[answered],
            [session.instructions[index] for index in answered],
            np.ones(len(answered), dtype=np.float32) if session.choice is None else session.choice.weights[answered],
        )
        self.labels = joined(self.labels, new)
        return new, answers

    def _made(self, answers: Sequence[Rating]) -> tuple[np.ndarray, np.ndarray]:
        """What is learned from answers, on the scale on which it is learned: ratings int64 [N] and probabilities."""
        settings = self.experiment.feedback
        if self.experiment.compares:
            return learned_preferences(answers, settings.label_temperature)
        return learned_levels(answers, settings.num_asked, settings.num_ratings, settings.label_temperature)

    def hear_people(self, session: OpenSession, folder: RunFolder) -> dict[str, float]:
        """Take notice of what people have said by now, once for this session, also if it is held again; what came of
        it, for the log."""
        if self.people is None:
            return {}
        recorded = folder.heard_people()
        self.people.hear(session.round, recorded)
        # On disk before anything is learned from it.
        folder.keep_heard_people(recorded | self.people.heard)
        return self.people.metrics(self.labels, self._with_people())

    def _with_people(self) -> Labels:
        """All labels so far as they count, which is in the rater's words where no person is heard."""
        return self.labels if self.people is None else self.people.among(self.labels)

    def learned(self, labels: Labels) -> np.ndarray:
        """What the rater says of `labels`, as it is learned: ratings int64 [N], or by settings their probabilities."""
        return labels.probabilities if self.experiment.feedback.labels == "soft" else labels.ratings

    @property
    def tell_apart(self) -> bool:
        """Whether there is something to learn from the ratings so far: two levels, unless one is enough by settings;
        of pairs, one that could be told apart."""
        if self.experiment.compares:
            return len(self.labels) > 0
        if not self.experiment.feedback.explore_until_two_levels:
            return True
        return len(np.unique(self._with_people().ratings)) > 1

    def ratings_to_learn(self) -> np.ndarray:
        """All ratings so far as `learned` has them, with those of people by settings, in the order of `labels`; dealt
        out anew if this is the shuffled control.

        Shuffling each session by itself would not do: sessions differ in their histograms, and later ones are better.
        """
        learned = self.learned(self._with_people())
        return shuffled(learned, self.rng) if self.experiment.feedback.control == "shuffled" else learned

    def analysed(self, session: OpenSession, answers: SessionAnswers) -> dict[str, float]:
        """The share of the answers that were analysed, where only those in doubt are."""
        if self.experiment.feedback.analyse_below is None:
            return {}
        pairs = zip(session.questions, answers.outcomes, strict=True)
        return {"rating/analysed": float(np.mean([self.service.key(one.request) == told.key for one, told in pairs]))}

    def weights_to_learn(self) -> np.ndarray | None:
        """What each of `ratings_to_learn` counts in the loss, float32 [N]; None if all count alike by settings."""
        selection = self.experiment.feedback.selection
        weighted = selection.strategy != "uniform" and selection.weights == "importance"
        return self.labels.weights if weighted else None

    def audit(self, session: OpenSession, answers: SessionAnswers) -> dict[str, float]:
        """How far ratings agree with the simulator: with its success flag, and with the task's true stages; preferences
        with true progress."""
        rated = [place for place, outcome in enumerate(answers.outcomes) if isinstance(outcome, Rating)]
        ratings = np.array([answers.outcomes[place].rating for place in rated])
        observations, returns = session.observations[rated], session.env_returns[rated]
        if self.experiment.compares:
            return agreement_of_pairs(self.experiment.task, ratings, observations, returns)
        return agreement(
            self.experiment.task,
            len(self.experiment.scale),
            ratings,
            np.array([bool(session.questions[place].success) for place in rated]),
            observations[:, -1],
            returns[:, -1],
        )

    def inputs(self, labels: Labels) -> np.ndarray:
        """What the reward model sees of `labels`: uint8 [N, F, px, px, 3] from the store, or float32 [N, F, obs]."""
        if self.experiment.reward_model.input == "state":
            return labels.observations
        return self._seen(self.store.frames(labels.keys), labels.observations)

    def _seen(self, frames: Sequence[Sequence[bytes]], observations: np.ndarray) -> np.ndarray:
        """The same of segments with these frames, as PNG files, and these observations."""
        settings = self.experiment.reward_model
        if settings.input == "state":
            return observations
        return np.stack(
            [reduce_image(np.stack([decode_png(png) for png in pngs]), settings.image_px) for pngs in frames]
        )

    def first_inputs(self, number: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """`inputs` of the run's first `number` labels, what is `learned` of them, and their instructions."""
        labels = self.labels
        first = labels.only(range(min(number, len(labels))))
        return self.inputs(first), self.learned(first), first.instructions

    def drop_lost(self) -> None:
        """Leave out labels whose frames the store has lost, if the reward model needs to see them again.

        Parts of the store were damaged then. The run goes on with the ratings that are left; it is no longer the run
        that it would have been.
        """
        if self.experiment.reward_model.input == "state":
            return
        left = self.store.frames_left(self.labels.keys)
        kept = [index for index, key in enumerate(self.labels.keys) if key in left]
        if len(kept) < len(self.labels):
            log.warning(
                "%d of %d ratings have lost their frames in the damaged store %s; the run goes on without them",
                len(self.labels) - len(kept), len(self.labels), self.store.folder,
            )  # fmt: skip
            self.labels = self.labels.only(kept)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs beside `arrays`; the frames stay in the store."""
        return {
            "schedule": self.schedule.state(),
            "since_index": self._since_index,
            "rng": self.rng.bit_generator.state,
            "keys": self.labels.keys,
            "ratings": self.labels.ratings.tolist(),
            "instructions": self.labels.instructions,
            "undecided": list(self.undecided),
            "people": {} if self.people is None else dict(self.people.heard),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """What of the labels is arrays of numbers."""
        labels = self.labels
        return {
            "observations": labels.observations,
            "probabilities": labels.probabilities,
            "weights": labels.weights,
        }

    def set_state(self, state: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Put back what `state` and `arrays` returned together."""
        self.schedule.set_state(state["schedule"])
        self._since_index = state["since_index"]
        self.rng.bit_generator.state = state["rng"]
        keys = list(state["keys"])
        # Older states have none: then all episodes had their task's.
        instructions = list(state.get("instructions", [""] * len(keys)))
        ratings = np.array(state["ratings"], dtype=np.int64)
        # Older states have none: then only levels were learned from.
        probabilities = arrays.get("probabilities", np.eye(self.experiment.num_learned, dtype=np.float32)[ratings])
        # Older states have none: then nothing was selected.
        weights = arrays.get("weights", np.ones(len(keys), dtype=np.float32))
        self.labels = Labels(keys, ratings, probabilities, arrays["observations"], instructions, weights)
        self.undecided = list(state.get("undecided", []))
        if self.people is not None:
            # Older states have none: then nobody was heard.
            self.people.heard = dict(state.get("people", {}))
