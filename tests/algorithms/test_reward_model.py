"""The reward model: what it learns, how it is scaled, and that it resumes exactly."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from algorithms.reward_ensemble import RewardEnsemble
from algorithms.reward_model import RewardModel
from algorithms.reward_networks import FrameRewardNetwork, StateRewardNetwork, frame_features
from algorithms.score_batches import LARGEST
from algorithms.settings import RewardModelSettings

PX = 32
SMALL = {"network": "small", "image_px": PX, "batch_size": 64}


def blobs(progress, rng):
    """uint8 [N, px, px, 3]: on a noisy ground a red block, as far to the right as `progress` [N] says."""
    frames = rng.integers(60, 100, (len(progress), PX, PX, 3), dtype=np.uint8)
    for frame, share in zip(frames, progress, strict=True):
        left, top = 2 + int(22 * share), rng.integers(4, 24)
        frame[top : top + 6, left : left + 6] = (220, 40, 40)
    return frames


def noisy_ratings(progress, num_ratings, rng, noise=0.2):
    """Equal parts of progress as levels, a share of them replaced by random ones."""
    ratings = np.minimum((progress * num_ratings).astype(np.int64), num_ratings - 1)
    return np.where(rng.random(len(progress)) < noise, rng.integers(0, num_ratings, len(progress)), ratings)


def frame_model(seed=0, **changes):
    return RewardModel(RewardModelSettings(**(SMALL | {"max_epochs": 20} | changes)), None, seed)


def state_model(seed=0, **changes):
    settings = {"input": "state", "hidden": (32,), "batch_size": 64, "max_epochs": 40, "learning_rate": 3e-3}
    return RewardModel(RewardModelSettings(**(settings | changes)), 3, seed)


def rated_states(seed=0, num_states=200, num_ratings=3):
    """States [N, 3] in units of their own whose first number is progress."""
    rng = np.random.default_rng(seed)
    progress = rng.random(num_states)
    states = np.stack([100.0 + progress, 1e-3 * rng.normal(size=num_states), np.ones(num_states)], axis=1)
    return states.astype(np.float32), np.minimum((progress * num_ratings).astype(np.int64), num_ratings - 1)


# -------------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize(
    ("num_ratings", "loss", "at_least"),
    # Even perfect knowledge of the better half alone correlates with progress at .87 only.
    [(2, "mae", 0.7), (3, "mae", 0.8), (4, "mae", 0.8), (5, "mae", 0.8), (3, "cross_entropy", 0.7)],
)
def test_noisy_ratings_of_frames_teach_progress_and_shuffled_ones_do_not(num_ratings, loss, at_least):
    rng = np.random.default_rng(0)
    progress, unseen = rng.random(400), rng.random(300)
    frames, ratings, unseen_frames = blobs(progress, rng), noisy_ratings(progress, num_ratings, rng), blobs(unseen, rng)
    correlations = []
    for labels in (ratings, rng.permutation(ratings)):
        model = frame_model(loss=loss, learning_rate=1e-3, num_members=2, max_epochs=10)
        model.fit(frames, labels, num_ratings, np.random.default_rng(1))
        correlations.append(spearmanr(model.score(unseen_frames), unseen)[0])
    assert correlations[0] > at_least
    assert abs(correlations[1]) < 0.5


def test_states_in_units_of_their_own_teach_progress():
    states, ratings = rated_states()
    model = state_model()
    metrics = model.fit(states, ratings, 3, np.random.default_rng(0))
    unseen, _ = rated_states(seed=1)
    assert metrics["accuracy"] > 0.9
    assert spearmanr(model.score(unseen), unseen[:, 0])[0] > 0.95


def test_segments_teach_the_reward_of_their_frames():
    rng = np.random.default_rng(0)
    states = rng.random((300, 4, 3)).astype(np.float32)
    # Rated by the mean of their first numbers; the reward of a single state has to be found from that.
    means = states[:, :, 0].mean(axis=1)
    ratings = np.digitize(means, np.quantile(means, [1 / 3, 2 / 3]))
    model = state_model()
    model.fit(states, ratings, 3, np.random.default_rng(0))
    assert spearmanr(model.score(states[:, 0]), states[:, 0, 0])[0] > 0.9


def test_segments_of_one_frame_train_as_frames_do():
    states, ratings = rated_states()
    one, other = state_model(max_epochs=3), state_model(max_epochs=3)
    one.fit(states, ratings, 3, np.random.default_rng(0))
    other.fit(states[:, None], ratings, 3, np.random.default_rng(0))
    assert one.score(states).tolist() == other.score(states).tolist()


@pytest.mark.parametrize("absent", [0, 1, 2])
@pytest.mark.parametrize("stratified", ["off", "balanced", "proportional"])
def test_a_level_that_nobody_gave_does_no_harm(absent, stratified):
    states, ratings = rated_states()
    kept = ratings != absent
    model = state_model(stratified=stratified)
    metrics = model.fit(states[kept], ratings[kept], 3, np.random.default_rng(0))
    assert metrics["accuracy"] > 0.95
    assert {name for name in metrics if "level" in name} == {f"accuracy_level_{i}" for i in {0, 1, 2} - {absent}}
    assert spearmanr(model.score(states[kept]), ratings[kept])[0] > 0.8


def test_training_stops_at_the_target_accuracy_but_not_before_min_epochs():
    states, ratings = rated_states()
    quick = state_model(min_epochs=4, target_accuracy=0.0).fit(states, ratings, 3, np.random.default_rng(0))
    never = state_model(max_epochs=6, target_accuracy=1.0).fit(states, ratings, 3, np.random.default_rng(0))
    assert (quick["epochs"], never["epochs"]) == (4.0, 6.0)


def test_accuracy_counts_every_rating_once_however_often_it_is_repeated():
    # 90 % of ratings are level 0 and equal states cannot be told apart, so one level is right and the other wrong.
    states, ratings = np.ones((100, 3), dtype=np.float32), np.repeat([0, 1], [90, 10])
    metrics = state_model(max_epochs=2, num_members=1).fit(states, ratings, 2, np.random.default_rng(0))
    expected = 0.9 * metrics["accuracy_level_0"] + 0.1 * metrics["accuracy_level_1"]
    assert metrics["accuracy"] == pytest.approx(expected)
    assert {metrics["accuracy_level_0"], metrics["accuracy_level_1"]} == {0.0, 1.0}


def test_class_weights_change_what_is_learned():
    states, ratings = rated_states()
    kept = np.flatnonzero((ratings == 0) | (np.arange(len(ratings)) % 9 == 0))
    scores = []
    for class_weights in ("none", "complement"):
        model = state_model(class_weights=class_weights, stratified="off", max_epochs=3)
        model.fit(states[kept], ratings[kept], 3, np.random.default_rng(0))
        scores.append(model.score(states).tolist())
    assert scores[0] != scores[1]


# -------------------------------------------------------------------------------------------------- scale


def test_a_model_that_knows_nothing_gives_zero():
    states, ratings = rated_states()
    model = state_model()
    assert not model.score(states).any()
    metrics = model.fit(states, np.full(len(states), 1), 3, np.random.default_rng(0))
    assert metrics["accuracy"] == 1.0 and metrics["loss"] == 0.0
    assert not model.score(states).any()
    model.fit(states, ratings, 3, np.random.default_rng(0))
    assert model.score(states).any()


def test_one_rating_is_enough_to_train_and_too_little_to_tell():
    states, _ = rated_states(num_states=1)
    model = state_model()
    assert model.fit(states, np.array([2]), 3, np.random.default_rng(0))["epochs"] == 2.0
    assert model.score(states).tolist() == [0.0]


def test_rated_inputs_span_the_scale_and_nothing_leaves_it():
    states, ratings = rated_states()
    model = state_model(num_members=1, learning_rate=1e-3)
    model.fit(states, ratings, 3, np.random.default_rng(0))
    rewards = model.score(states)
    assert (rewards.min(), rewards.max()) == (0.0, 1.0)
    beyond = np.array([[90.0, 0.0, 1.0], [110.0, 0.0, 1.0]], dtype=np.float32)
    assert model.score(beyond).tolist() == [0.0, 1.0]


def test_raw_rewards_are_the_networks_outputs():
    states, ratings = rated_states()
    rewards = {}
    for reward_scale in ("raw", "rated_range"):
        model = state_model(num_members=1, reward_scale=reward_scale)
        model.fit(states, ratings, 3, np.random.default_rng(0))
        rewards[reward_scale] = model.score(states)
    raw = rewards["raw"]
    assert np.ptp(raw) < 0.9
    assert (raw - raw.min()) / np.ptp(raw) == pytest.approx(rewards["rated_range"], abs=1e-4)


def test_members_on_different_scales_count_the_same():
    settings = RewardModelSettings(input="state", num_members=2)
    ensemble = RewardEnsemble(settings, 1, seed=0)
    ensemble.members = torch.nn.ModuleList([Affine(0.001, 0.5), Affine(0.8, -0.3)])
    ensemble.set_range(torch.tensor([0.5, -0.3]), torch.tensor([0.501, 0.5]))
    assert ensemble(torch.tensor([0.0, 0.25, 1.0])).tolist() == pytest.approx([0.0, 0.25, 1.0], abs=1e-4)


class Affine(torch.nn.Module):
    def __init__(self, factor, offset):
        super().__init__()
        self.factor, self.offset = factor, offset

    def forward(self, inputs):
        return self.factor * inputs + self.offset


# -------------------------------------------------------------------------------------------------- networks


def test_the_published_network_has_the_published_size():
    network = FrameRewardNetwork("published", 224, torch.Generator())
    # 16*3*25+16 + 32*16*9+32 + 64*32*9+64 + 128*64*9+128 + 8192+1
    assert sum(parameter.numel() for parameter in network.parameters()) == 106_401
    assert frame_features("published", 224) == 8192
    assert frame_features("small", 56) == 576
    assert network(torch.zeros(2, 224, 224, 3, dtype=torch.uint8)).shape == (2,)


@pytest.mark.parametrize(("network", "px"), [("published", 40), ("small", 22)])
def test_too_small_images_are_refused(network, px):
    with pytest.raises(ValueError, match=f"image_px {px} is too small for the convolutions of network '{network}'"):
        RewardModel(RewardModelSettings(network=network, image_px=px), None, 0)


def test_a_state_network_needs_the_size_of_a_state():
    with pytest.raises(ValueError, match=r"reward_model\.input 'state' needs the size of an observation"):
        RewardModel(RewardModelSettings(input="state"), None, 0)


def test_what_never_varied_among_rated_states_is_ignored_and_the_rest_is_clipped():
    network = StateRewardNetwork(2, (), torch.Generator())
    network.standardise_by(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    with torch.no_grad():
        network.layers[0].weight[:] = torch.tensor([[0.05, 0.05]])
        outputs = network(torch.tensor([[2.0, 7.0], [4.0, 1e6], [1e6, 7.0]]))
    # Mean 2 and deviation 1: standardised 0, 2, and 10 instead of a million.
    assert outputs.tolist() == pytest.approx(np.tanh([0.0, 0.1, 0.5]).tolist())


def test_networks_are_a_function_of_their_seed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    states, ratings = rated_states()
    scores = []
    for seed in (1, 1, 2):
        model = state_model(seed=seed, max_epochs=2)
        model.fit(states, ratings, 3, np.random.default_rng(0))
        scores.append(model.score(states).tobytes())
    assert scores[0] == scores[1] != scores[2]
    assert torch.equal(before, torch.get_rng_state())


# -------------------------------------------------------------------------------------------------- exactness


@pytest.mark.parametrize("kind", ["frame", "state"])
def test_a_score_does_not_depend_on_what_it_is_scored_with(kind):
    rng = np.random.default_rng(0)
    if kind == "frame":
        model, inputs, ratings = frame_model(max_epochs=2), blobs(rng.random(150), rng), rng.integers(0, 3, 150)
    else:
        model, (inputs, ratings) = state_model(), rated_states(num_states=150)
    model.fit(inputs, ratings, 3, rng)
    whole = model.score(inputs)
    assert len(inputs) > 2 * LARGEST
    for size in (1, 7, 100):
        parts = [model.score(inputs[start : start + size]) for start in range(0, len(inputs), size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_nothing_to_score_is_no_error():
    scores = state_model().score(np.zeros((0, 3), dtype=np.float32))
    assert scores.shape == (0,) and scores.dtype == np.float32


def test_a_restored_model_trains_on_bit_by_bit(tmp_path):
    states, ratings = rated_states()
    model, rng = state_model(max_epochs=3), np.random.default_rng(0)
    model.fit(states[:100], ratings[:100], 3, rng)
    torch.save({"model": model.state_dict(), "rng": rng.bit_generator.state}, tmp_path / "state.pt")
    model.fit(states, ratings, 3, rng)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    restored, restored_rng = state_model(seed=9, max_epochs=3), np.random.default_rng(9)
    restored.load_state_dict(state["model"])
    restored_rng.bit_generator.state = state["rng"]
    restored.fit(states, ratings, 3, restored_rng)
    assert restored.score(states).tobytes() == model.score(states).tobytes()
    assert all(np.array_equal(array, restored.weights()[name]) for name, array in model.weights().items())


def test_a_model_that_takes_over_a_state_keeps_its_own_step_size():
    states, ratings = rated_states()
    model = state_model(max_epochs=3)
    model.fit(states, ratings, 3, np.random.default_rng(0))
    standing = state_model(max_epochs=3, learning_rate=1e-12)
    standing.load_state_dict(model.state_dict())
    standing.fit(states, ratings, 3, np.random.default_rng(0))
    np.testing.assert_allclose(standing.score(states), model.score(states), atol=1e-6)
    model.fit(states, ratings, 3, np.random.default_rng(0))
    assert np.abs(standing.score(states) - model.score(states)).max() > 1e-3


def test_a_state_is_a_copy():
    states, ratings = rated_states()
    model = state_model(max_epochs=2)
    model.fit(states, ratings, 3, np.random.default_rng(0))
    state, scores = model.state_dict(), model.score(states).tobytes()
    model.fit(states, ratings, 3, np.random.default_rng(1))
    assert model.score(states).tobytes() != scores
    model.load_state_dict(state)
    assert model.score(states).tobytes() == scores
