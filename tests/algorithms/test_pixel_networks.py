"""Encoder and actor of pictures: shifts on known pictures, layers against torch's, and their way between processes."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from algorithms.pixel_frames import PixelShape
from algorithms.pixel_networks import PictureFeatures, PixelActor, PixelEncoder, random_shifts, shifted_stacks

SHAPE = PixelShape(12, 2, ((4, 3, 2), (6, 3, 1)), 5, random_shift_px=2, sees_state=True)


def make_actor(state_size=3, seed=0):
    torch.manual_seed(seed)
    return PixelActor(SHAPE, state_size, action_size=2, hidden=(8, 7))


def pictures(count=4, px=12, seed=1):
    return torch.randint(0, 256, (count, px, px, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def states(count=4, size=3):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(2))


def test_a_known_picture_is_shifted_as_told():
    picture = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=torch.uint8)
    windows = picture[None, None, :, :, None].expand(4, 1, 3, 3, 3)
    shifts = torch.tensor([[0, 0], [1, 0], [0, -1], [-2, 2]])
    stacks = shifted_stacks(windows, 0, 1, shifts)
    assert stacks.dtype == torch.uint8
    expected = [
        [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
        [[1, 2, 3], [1, 2, 3], [4, 5, 6]],  # Down; the upper edge is repeated.
        [[2, 3, 3], [5, 6, 6], [8, 9, 9]],  # To the left.
        [[7, 7, 7], [7, 7, 7], [7, 7, 7]],  # Up and to the right, until the lower left corner fills it.
    ]
    for channel in range(3):
        assert stacks[..., channel].tolist() == expected


def test_shifts_are_those_of_padding_and_cropping():
    """DrQ pads by repeating edges and crops at random; each picture of a batch elsewhere, all frames of it alike."""
    rng, largest, px = np.random.default_rng(0), 3, 8
    windows = rng.integers(0, 256, (16, 4, px, px, 3), dtype=np.uint8)
    shifts = random_shifts(16, largest, torch.Generator().manual_seed(0), torch.device("cpu"))
    for first in (0, 1):
        stacks = shifted_stacks(torch.from_numpy(windows), first, 3, shifts)
        for stack, window, (down, right) in zip(stacks, windows, shifts.tolist(), strict=True):
            seen = np.concatenate(window[first : first + 3], axis=-1)
            padded = np.pad(seen, ((largest, largest), (largest, largest), (0, 0)), mode="edge")
            top, left = largest - down, largest - right
            np.testing.assert_array_equal(stack.numpy(), padded[top : top + px, left : left + px])


def test_shifts_reach_every_place_alike_and_none_beyond():
    shifts = random_shifts(9000, 1, torch.Generator().manual_seed(0), torch.device("cpu"))
    counts = [
        int((shifts == torch.tensor(place)).all(dim=1).sum()) for place in itertools.product((-1, 0, 1), repeat=2)
    ]
    # Binomial(9000, 1/9) has a standard deviation of 30.
    assert sum(counts) == 9000 and max(abs(count - 1000) for count in counts) < 150
    assert not random_shifts(50, 0, None, torch.device("cpu")).any()


def test_the_encoder_is_plain_convolutions_of_scaled_pictures():
    encoder, seen = PixelEncoder(SHAPE), pictures()
    hidden = seen.permute(0, 3, 1, 2).contiguous().float() / 255.0 - 0.5
    for layer, stride in zip(encoder.convolutions, (2, 1), strict=True):
        hidden = functional.conv2d(hidden, layer.weight, layer.bias, stride).relu()
    encoded = encoder(seen)
    assert encoded.shape == (4, encoder.num_outputs) == (4, 6 * 3 * 3)
    torch.testing.assert_close(encoded, hidden.flatten(1), rtol=1e-4, atol=1e-5)


def test_the_actors_loss_does_not_reach_the_encoder():
    actor = make_actor()
    actions, log_prob = actor.sample(actor.encoder(pictures()), states())
    (actions.sum() + log_prob.sum()).backward()
    with_gradient = {name for name, one in actor.named_parameters() if one.grad is not None and one.grad.abs().sum()}
    own = {name for name, _ in actor.named_parameters() if not name.startswith("encoder.")}
    assert with_gradient == own


def test_acting_is_the_mean_or_a_repeatable_sample_and_sees_pictures_and_state():
    actor, seen, state = make_actor(), pictures(), states()
    likely = actor.act(seen, state)
    samples = [actor.act(seen, state, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert likely.shape == (4, 2) and torch.equal(samples[0], samples[1]) and not torch.equal(samples[0], samples[2])
    by_learner, _ = actor.sample(actor.encoder(seen), state, torch.Generator().manual_seed(3))
    torch.testing.assert_close(samples[0], by_learner.detach())
    assert not torch.allclose(likely, actor.act(pictures(seed=9), state), atol=1e-4)
    assert not torch.allclose(likely, actor.act(seen, state + 1.0), atol=1e-4)


def test_the_states_normalisation_leaves_pictures_alone():
    plain, scaled, seen, state = make_actor(), make_actor(), pictures(), states()
    scaled.set_normalisation(torch.full((3,), 2.0), torch.full((3,), 0.5))
    torch.testing.assert_close(scaled.act(seen, 2.0 * state + 2.0), plain.act(seen, state))
    torch.testing.assert_close(scaled.normalised(2.0 * state + 2.0), state)


@pytest.mark.parametrize("state_size", [3, 0])
def test_weights_travel_as_arrays(state_size):
    actor, seen, state = make_actor(state_size), pictures(), states(size=state_size)
    weights = actor.numpy_weights()
    for array in weights.values():
        array.setflags(write=False)
    copied = PixelActor.from_numpy(weights)
    assert (copied.state_size, copied.frame_stack) == (state_size, 2)
    assert torch.equal(copied.act(seen, state), actor.act(seen, state))
    with torch.no_grad():
        actor.encoder.convolutions[0].bias.add_(1.0)
    assert torch.equal(copied.encoder.convolutions[0].bias, torch.zeros(4))


def test_features_tell_pictures_apart_and_follow_from_the_seed():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (PictureFeatures(24, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator was drawn from"
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (70, 24, 24, 3), dtype=np.uint8)
    near = frames.copy()
    near[:, 0, 0] ^= 8
    features = first.of(frames)
    assert features.shape == (70, 50) and features.dtype == np.float32
    np.testing.assert_array_equal(features, again.of(frames))
    assert not np.allclose(features, other.of(frames), atol=0.1)
    moved = np.linalg.norm(first.of(near) - features, axis=1)
    apart = np.linalg.norm(features[1:] - features[:-1], axis=1)
    assert 0.0 < moved.max() < apart.min()


@pytest.mark.parametrize("px", [1, 3, 8])
def test_small_pictures_have_features_too(px):
    frames = np.random.default_rng(0).integers(0, 256, (5, px, px, 3), dtype=np.uint8)
    assert len(np.unique(PictureFeatures(px, 0).of(frames), axis=0)) == 5
