"""A reward model that reads the instruction; and that without one nothing is other than it was."""

import hashlib

import numpy as np
import pytest
import torch

from actors.reward.learner import RewardLearner
from algorithms.instructions import HashedWords, InstructionError, ReadRows
from algorithms.language_networks import PolicyShape
from algorithms.reward_model import RewardModel
from algorithms.settings import RewardModelSettings

torch.set_num_threads(1)

TEXTS = ("go to the left end", "go to the right end")
CELLS, PX = 5, 16
WORDS = {"num_words": 64, "instruction_length": 8, "num_actions": 3, "action_size": 3}
SHAPES = {
    "grid": PolicyShape(kind="grid", observation_shape=(1, CELLS, 1), num_categories=2, **WORDS),
    "numbers": PolicyShape(kind="vector", observation_shape=(CELLS,), num_categories=0, **WORDS),
    "frames": PolicyShape(kind="image", observation_shape=(PX, PX, 3), num_categories=0, **WORDS),
}


def settings(kind, **changes):
    small = {
        "input": "frame" if kind == "frames" else "state", "image_px": PX, "hidden": (16,), "num_members": 2,
        "min_epochs": 1, "max_epochs": 30, "batch_size": 20, "learning_rate": 1e-3,
    }  # fmt: skip
    return RewardModelSettings(**small | changes)


def rated(kind):
    """Ten of each place and instruction: inputs, instructions, and ratings that are best at the end asked for."""
    places, asked = np.meshgrid(np.arange(CELLS), np.arange(2))
    places, asked = np.repeat(places.ravel(), 4), np.repeat(asked.ravel(), 4)
    inputs = np.eye(CELLS, dtype=np.float32)[places]
    if kind == "frames":
        inputs = np.zeros((len(places), PX, PX, 3), np.uint8)
        for frame, place in zip(inputs, places, strict=True):
            frame[:, 3 * place : 3 * place + 3] = 255
    ratings = np.where(asked == 0, CELLS - 1 - places, places) // 2
    return inputs, [TEXTS[one] for one in asked], ratings


def learner_of(kind, seed=0, **changes):
    return RewardLearner(settings(kind, **changes), 3, CELLS, seed, SHAPES[kind])


@pytest.mark.parametrize("kind", ["grid", "numbers", pytest.param("frames", marks=pytest.mark.slow)])
def test_the_same_place_is_worth_what_the_instruction_makes_of_it(kind):
    learner = learner_of(kind)
    inputs, texts, ratings = rated(kind)
    learner.add_ratings(inputs, ratings, texts)
    assert learner.train().metrics["accuracy"] > 0.6
    scores, version = learner.score(inputs, texts)
    assert version == 1
    best, worst = scores[ratings == 2].mean(), scores[ratings == 0].mean()
    assert best > worst + 0.3
    swapped, _ = learner.score(inputs, texts[::-1])
    assert swapped[ratings == 2].mean() < best - 0.2


def test_a_score_does_not_depend_on_what_it_is_scored_with():
    learner = learner_of("grid", max_epochs=2)
    inputs, texts, ratings = rated("grid")
    learner.add_ratings(inputs, ratings, texts)
    learner.train()
    together, _ = learner.score(inputs, texts)
    alone = [learner.score(inputs[[place]], [texts[place]])[0][0] for place in (0, 17, 39)]
    assert [together[place] for place in (0, 17, 39)] == alone
    assert len(learner.score(inputs[:0], [])[0]) == 0


def test_segments_and_cached_frames_are_read_too_and_a_restored_learner_is_the_same():
    learners = [learner_of("frames", max_epochs=1) for _ in range(2)]
    inputs, texts, ratings = rated("frames")
    for learner in learners:
        learner.add_ratings(inputs.reshape(20, 2, PX, PX, 3), ratings[::2], texts[::2])
    learners[0].train()
    learners[1].set_state(learners[0].state())
    for learner in learners:
        learner.cache_frames(10, inputs[:7], texts[:7])
        learner.cache_frames(17, [inputs[7:9], inputs[9:]], texts[7:])
        learner.train()
    steps = [learner.relabel(12) for learner in learners]
    assert steps[0].indices.tolist() == list(range(12, 50))
    assert steps[0].rewards.tobytes() == steps[1].rewards.tobytes()
    assert steps[0].rewards.tobytes() == learners[0].score(inputs[2:], texts[2:])[0].tobytes()


def test_rated_segments_without_their_instructions_are_refused():
    inputs, texts, ratings = rated("grid")
    with pytest.raises(ValueError, match="40 rated segments, but 3 instructions"):
        learner_of("grid").add_ratings(inputs, ratings, texts[:3])


@pytest.mark.parametrize(("kind", "expected"), [("numbers", "99ef1bdb1afa650b"), ("frames", "2d296ac04bc0e22d")])
def test_networks_that_read_nothing_begin_as_they_always_did(kind, expected):
    own = {"input": "state", "hidden": (16,)} if kind == "numbers" else {"network": "small", "image_px": 28}
    weights = RewardModel(RewardModelSettings(**own), 3, 5).weights()
    digest = hashlib.sha256(b"".join(name.encode() + array.tobytes() for name, array in weights.items()))
    assert digest.hexdigest()[:16] == expected


def test_ids_of_words_are_the_same_everywhere_and_know_no_case():
    words = HashedWords(1024, 8)
    assert words.row("Go to the red ball.").tolist() == words.row("go to the RED ball .").tolist()
    assert words.row("go to the red ball").tolist() == [229, 565, 775, 913, 51, 0, 0, 0]
    rows = ReadRows(words).of(["go left", "go right", "go left"])
    assert rows.shape == (3, 8) and rows.dtype == np.int32
    assert (rows[0] == rows[2]).all() and rows[0, 1] != rows[1, 1]
    assert ReadRows(words).of([]).shape == (0, 8)
    with pytest.raises(InstructionError, match=r"raise policy\.instruction_length"):
        words.row("a b c d e f g h i")
