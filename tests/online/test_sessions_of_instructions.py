"""Sessions where every episode has an instruction of its own, and where whole episodes are rated."""

import json
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest

from algorithms.episodes import EpisodeChunk, Scene
from algorithms.images import encode_png
from algorithms.ratings import Rating
from algorithms.replay import ColumnarReplay
from orchestrator.online.sessions import FeedbackSessions
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.service import SessionAnswers

LENGTHS = {"go to the red ball": 6, "pick up the key": 3, "open the door": 5}
PNG = encode_png(np.full((28, 28, 3), 90, np.uint8))


class Frames:
    """All steps have one frame."""

    def has(self, indices):
        return np.ones(len(indices), bool)

    def pngs(self, replay, segments):
        return [[PNG] * len(indices) for indices in segments]


class Service:
    """Answers with level 1, at once."""

    def key(self, request):
        return request.task.instruction

    def ask(self, questions, report):
        answers = [Rating(self.key(one.request), 1, (0.0, 1.0, 0.0), "", 0, 0, 0.0) for one in questions]
        future = Future()
        future.set_result(SessionAnswers(answers, 0, 0.0))
        return future


@pytest.fixture
def experiment(tmp_path):
    return OnlineExperiment.model_validate(
        {
            "name": "words", "runs_folder": tmp_path / "runs", "ratings_folder": tmp_path / "ratings",
            "task": {"world": "babyai", "name": "chains", "image_px": 28},
            "feedback": {"per_session": 10, "segment": {"kind": "episode", "num_frames": 3}},
            "rater": {"mode": "answer_only"},
            "reward_model": {"input": "state"},
            "policy": {"algorithm": "iql"},
        }
    )  # fmt: skip


def make_replay():
    """Three episodes; each is paid 1 by its last step."""
    replay = ColumnarReplay(100, observation_size=2, action_size=1)
    for number, (said, length) in enumerate(LENGTHS.items()):
        rewards = np.zeros(length, np.float32)
        rewards[-1] = number / 2
        chunk = EpisodeChunk(
            episode_id=f"episode{number}", first_step=0, observations=np.full((length + 1, 2), number, np.float32),
            actions=np.zeros((length, 1), np.float32), env_rewards=rewards, successes=rewards > 0.9, terminated=True,
            truncated=False, frame_states=np.zeros((length + 1, 0), np.float32), scene=Scene({}), instruction=said,
        )  # fmt: skip
        replay.add(chunk, np.zeros(length), version=1)
    return replay


def make_sessions(experiment):
    store = SimpleNamespace(folder=experiment.ratings_folder)
    return FeedbackSessions(experiment, Frames(), Service(), store, np.random.default_rng(0))


def test_each_episode_is_asked_about_with_its_own_words_and_labels_keep_them(experiment):
    sessions = make_sessions(experiment)
    session = sessions.open(make_replay(), 10_000, 0, lambda *_: None)
    assert len(session.segments) == 3 and {len(question.frames) for question in session.questions} == {3}
    for question, segment in zip(session.questions, session.segments, strict=True):
        number = int(segment.episode_id.removeprefix("episode"))
        assert question.request.task.instruction == list(LENGTHS)[number]
        assert segment.indices[-1] - segment.indices[0] == list(LENGTHS.values())[number] - 1
    labels, answers = sessions.close(session)
    assert labels.instructions == [question.request.task.instruction for question in session.questions]
    restored = make_sessions(experiment)
    restored.set_state(json.loads(json.dumps(sessions.state())), sessions.arrays())
    assert restored.labels.instructions == labels.instructions and restored.state() == sessions.state()
    # Level 1 of three is right where the chain is half done, which one of these episodes' is.
    assert sessions.audit(session, answers)["rating/stage_accuracy"] == pytest.approx(1 / 3)


def test_labels_of_before_there_were_instructions_are_read(experiment):
    sessions = make_sessions(experiment)
    sessions.close(sessions.open(make_replay(), 10_000, 0, lambda *_: None))
    older = sessions.state()
    del older["instructions"]
    restored = make_sessions(experiment)
    restored.set_state(older, {"observations": sessions.labels.observations})
    assert restored.labels.instructions == [""] * 3
    assert (restored.labels.probabilities == sessions.labels.probabilities).all()
