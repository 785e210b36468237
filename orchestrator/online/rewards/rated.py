"""ERL-VLM's reward: a rater rates segments, a reward model learns from the ratings, the replay is rewritten. And
RL-VLM-F's, where the rater compares pairs instead."""

import io
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actors.worlds.world import WorldSpec
from algorithms.episodes import EpisodeChunk
from algorithms.ratings import Rating
from algorithms.replay import ColumnarReplay
from algorithms.scaling import RewardScale
from orchestrator.errors import RatingsFailing
from orchestrator.online.asking.canaries import hear, hear_known
from orchestrator.online.frames.step_frames import StepFrames
from orchestrator.online.frames.step_scores import StepScores
from orchestrator.online.reward_training import RewardTraining
from orchestrator.online.rewards.source import UNKNOWN, NewRewards, RewardSource, StillUnknown
from orchestrator.online.rollouts import Collected
from orchestrator.online.sessions import FeedbackSessions, OpenSession
from orchestrator.online.settings import OnlineExperiment
from orchestrator.online.stopping.progress import Progress
from orchestrator.online.telling.sessions import count_answers, counted_with, session_metrics
from orchestrator.ratings.service import SessionAnswers
from orchestrator.runs.layout import LEARNER_STATE_FILE
from orchestrator.storage.writing import read_arrays, write_arrays, write_atomic


class RatedReward(RewardSource):
    """Sessions on schedule; after each one the reward model learns, and the whole replay is worth what it says.

    As long as all ratings are of one level it says nothing, and by settings nothing is learned from them; nor as long
    as the rater can tell no pair apart.
    """

    def __init__(
        self,
        experiment: OnlineExperiment,
        world: WorldSpec,
        frames: StepFrames,
        learner: RewardTraining,
        sessions: FeedbackSessions,
    ) -> None:
        self.learner = learner
        self.sessions = sessions
        self._experiment = experiment
        self._frames = frames
        self._scores = StepScores(learner, frames, experiment.reward_model.input == "frame", world.says_instruction)
        self._session: OpenSession | None = None

    def known(self, progress: Progress) -> bool:
        return progress.reward_version > 0

    def version(self, progress: Progress) -> int:
        return progress.reward_version or UNKNOWN

    def of_new(
        self, observations: np.ndarray, part: Collected, first_index: int, progress: Progress
    ) -> np.ndarray | None:
        self._scores.cache(first_index, part)
        if not self.known(progress):
            return None
        return _scale(progress).apply(self._scores.of_new(observations, part, progress.reward_version))

    def keep(self, first_index: int, chunk: EpisodeChunk, oldest_index: int) -> None:
        self._frames.keep(first_index, chunk, oldest_index)

    # ------------------------------------------------------------------------------------------------ sessions

    def advance(self, replay: ColumnarReplay, progress: Progress, stands: bool) -> NewRewards | StillUnknown | None:
        """Open a session when one is due; learn from it once answered, `max_rating_lag` rounds later at most."""
        if stands and self._session is None and self.sessions.schedule.due(progress.env_steps):
            self._show("rating", progress)
            self._hear_canaries(progress)
            report = partial(self._report_answers, progress)
            opinions = self.learner.opinions if self.known(progress) else None
            self._session = self.sessions.open(replay, progress.env_steps, progress.rounds, report, opinions)
        if self._session is None:
            return None
        overdue = progress.rounds - self._session.round >= self._experiment.feedback.max_rating_lag
        if overdue or self._session.answers.done():
            return self._close_session(replay, progress)
        return None

    @property
    def waits(self) -> bool:
        return self._session is not None

    def finish(self, replay: ColumnarReplay, progress: Progress) -> NewRewards | StillUnknown | None:
        return None if self._session is None else self._close_session(replay, progress)

    def leave(self) -> None:
        weights, version = self.learner.publish()
        self.folder.save_reward_model(weights, version)

    def _close_session(self, replay: ColumnarReplay, progress: Progress) -> NewRewards | StillUnknown | None:
        session, self._session = self._session, None
        assert session is not None
        self._show("rating", progress)
        labels, answers = self.sessions.close(session)
        count_answers(progress, answers, session.num_repeats)
        rated = [outcome for outcome in answers.outcomes if isinstance(outcome, Rating)]
        if not rated:
            return None
        heard = self.sessions.hear_people(session, self.folder)
        if heard:
            self.folder.log(heard, progress.env_steps)
        first = not self.known(progress)
        if first and not self.sessions.tell_apart:
            self._starve(session, rated[0], progress)
            self._log(session, answers, {}, progress)
            return StillUnknown() if self._experiment.feedback.explore_until_two_levels else None
        if not len(labels):
            self._log(session, answers, {}, progress)
            return None
        progress.starving = False
        self._show("reward model", progress)
        # At first also those of sessions that nothing could be learned from.
        new = self.sessions.labels if first else labels
        update = self.learner.learn(
            self.sessions.inputs(new),
            self.sessions.learned(new),
            new.instructions,
            self.sessions.ratings_to_learn(),
            self.sessions.weights_to_learn(),
        )
        progress.reward_version = update.version
        indices, scores = self._scores.of_replay(replay, update.version)
        if self._experiment.reward_model.reward_scale == "standardised":
            scale = RewardScale.of(scores)
            progress.reward_shift, progress.reward_deviation = scale.shift, scale.deviation
        self._log(session, answers, update.metrics, progress)
        return NewRewards(indices, _scale(progress).apply(scores), update.version, first)

    def _hear_canaries(self, progress: Progress) -> None:
        """See whether the rater still answers as it did, and is right where that is known. Raises RatingsFailing if not
        and the run is to stop: the session is still due then, and nothing was asked for it."""
        settings, sessions = self._experiment.feedback.canaries, self.sessions
        found, metrics = [], {}
        if settings.number:
            song = hear(settings, sessions.labels.keys, sessions.store, sessions.service)
            metrics |= {} if song is None else song.metrics
            if song is not None and song.changed > settings.tolerated_share:
                tolerated = f"feedback.canaries.tolerated_share {settings.tolerated_share:g}"
                found.append(f"the rater has drifted: {song} ({tolerated})")
        if settings.known:
            known = hear_known(sessions.known, sessions.maker, sessions.service)
            metrics |= {} if known is None else known.metrics
            if known is not None and known.wrong > settings.tolerated_wrong_share:
                tolerated = f"feedback.canaries.tolerated_wrong_share {settings.tolerated_wrong_share:g}"
                found.append(f"the rater is wrong too often: {known} ({tolerated})")
        if metrics:
            self.folder.log(metrics, progress.env_steps)
        if not found:
            return
        told = "; ".join(found)
        if settings.on_drift == "stop":
            raise RatingsFailing(
                f"{told}. Mend the rater, then give the same command again: the run goes on from here. To go on with "
                "the rater as it is, add feedback.canaries.on_drift=warn"
            )
        self.folder.note(told)

    def _starve(self, session: OpenSession, one: Rating, progress: Progress) -> None:
        """All ratings so far are like this one: say so, once."""
        if not progress.starving and self._experiment.feedback.explore_until_two_levels:
            progress.starving = True
            word = self._experiment.scale.words[one.rating]
            count = len(self.sessions.labels) + len(self.sessions.undecided)
            awaited = "a pair that can be told apart" if self._experiment.compares else "a second level"
            self.folder.note(
                f"all {count} ratings so far are {word!r}: the reward model waits for {awaited}, and the policy goes "
                "on exploring (feedback.explore_until_two_levels)"
            )

    # ------------------------------------------------------------------------------------------------ telling

    def _show(self, phase: str, progress: Progress) -> None:
        self.folder.show(phase=phase, env_steps=progress.env_steps)

    def _report_answers(self, progress: Progress, answered: int, failed: int, from_store: int, shared: int) -> None:
        counts = counted_with(progress, answered, failed, from_store, shared)
        # Those of the session under way count as asked.
        self.folder.show(asked=self.sessions.schedule.num_asked, **counts)

    def _log(
        self,
        session: OpenSession,
        answers: SessionAnswers,
        reward_metrics: Mapping[str, float],
        progress: Progress,
    ) -> None:
        metrics = session_metrics(progress, len(self._experiment.scale), answers, reward_metrics)
        metrics |= {} if session.choice is None else session.choice.metrics
        metrics |= self.sessions.analysed(session, answers)
        self.folder.log(metrics | self.sessions.audit(session, answers), progress.env_steps)
        self.folder.keep_rated_frames(session.questions, answers, progress.env_steps)

    # ------------------------------------------------------------------------------------------------ stop and resume

    def writer(self) -> Callable[[Path], Mapping[str, Any]]:
        """With the rating store, all that the rewards of the rest of the run depend on."""
        learner_state = self.learner.state()

        def write(folder: Path) -> Mapping[str, Any]:
            # Through memory, because torch tells of a full disk in words of its own.
            buffer = io.BytesIO()
            torch.save(learner_state, buffer)
            write_atomic(folder / LEARNER_STATE_FILE, buffer.getvalue())
            self._frames.save(folder)
            write_arrays(folder / "labels.npz", self.sessions.arrays())
            return {"sessions": self.sessions.state()}

        return write

    def read(self, folder: Path, state: Mapping[str, Any], progress: Progress) -> Callable[[], None]:
        """Frames come from the rating store, and replayed ones are drawn when next needed."""
        arrays = read_arrays(folder / "labels.npz")
        learner_state = torch.load(folder / LEARNER_STATE_FILE, weights_only=True)

        def put_back() -> None:
            self._frames.restore(folder)
            self.sessions.set_state(state["sessions"], arrays)
            self.sessions.drop_lost()
            # Those that nothing could be learned from are with the sessions alone.
            self.learner.restore(learner_state, len(self.sessions.labels) if progress.reward_version else 0)

        return put_back


def _scale(progress: Progress) -> RewardScale:
    return RewardScale(progress.reward_shift, progress.reward_deviation)
