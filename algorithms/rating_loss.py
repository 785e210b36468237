"""How likely each rating is under predicted rewards, and the losses that follow: one definition for any scale.

Rating-based reinforcement learning (RbRL, White et al., AAAI 2024) normalises the predicted rewards of a batch to
[0, 1], cuts that interval at boundaries which give each level as many items as were rated so, and makes the logit of
level i a parabola that is positive between its two boundaries. ERL-VLM (Luu et al., ICML 2025) replaces the
cross-entropy by the mean absolute error, which bounds what a wrong rating can do.

Everything here is for one batch of one ensemble member. Only the order and the relative spacing of rewards in a batch
matter: `a * rewards + b` with a > 0 has the same loss.

A level that nobody gave in the batch is *absent*. Its interval is empty (both boundaries are equal) wherever it stands
on the scale, and its probability is zero: its logit, -k (R - b)^2, would tie with the neighbouring levels at their
common boundary, take probability from the right answer there, and push items away from a place where they belong. So
a batch rated only 0 and 4 on five levels has the loss of the same batch rated 0 and 1 on two.
"""

from typing import Literal

import torch

BoundaryPlace = Literal["between", "below"]
"""Where a boundary lies between the two items that it parts."""
EPSILON = 1e-6
"""Keeps the normalisation of a constant batch finite (reference code)."""


def normalise(rewards: torch.Tensor) -> torch.Tensor:
    """Rewards [N] mapped to [0, 1] by the batch's minimum and maximum; zeros if all are equal.

    The gradient flows through minimum and maximum (RbRL, normalised return); ties share it.
    """
    lowest, highest = rewards.amin(), rewards.amax()
    return (rewards - lowest) / (highest - lowest + EPSILON)


def level_counts(ratings: torch.Tensor, num_ratings: int) -> torch.Tensor:
    """Number of items rated with each level: int64 [num_ratings] from ratings int64 [N]."""
    return torch.bincount(ratings, minlength=num_ratings)


def level_boundaries(normalised: torch.Tensor, counts: torch.Tensor, place: BoundaryPlace = "between") -> torch.Tensor:
    """Boundaries b_0 = 0 <= b_1 <= ... <= b_n = 1 of the levels' intervals, float [n + 1], without gradient.

    b_i parts two items if the `counts` [n] are filled up in the order of `normalised` [N]: it lies half-way `between`
    them, or at the item `below`, as the published implementations cut, which leaves a lowest level of one
    item no interval. An absent level has b_i = b_(i+1): 0 if it would lie below the lowest item, 1 above the highest.
    The published implementations read the highest item as the first boundary where the lowest level is absent.
    """
    ordered = normalised.detach().sort().values
    ends = ordered.new_tensor([0.0]), ordered.new_tensor([1.0])
    # Position j of each list holds the item next below, and next above, a cut after the j lowest items.
    below, above = torch.cat([ends[0], ordered]), torch.cat([ordered, ends[1]])
    cuts = (below + above) / 2.0 if place == "between" else below
    cuts[0], cuts[-1] = 0.0, 1.0
    return torch.cat([ends[0], cuts[counts.cumsum(0)[:-1]], ends[1]])


def level_log_probabilities(
    rewards: torch.Tensor,
    ratings: torch.Tensor,
    num_ratings: int,
    sharpness: float,
    boundaries: BoundaryPlace = "between",
) -> torch.Tensor:
    """Log-probability of each level for each item, float [N, num_ratings]; minus infinity for an absent level.

    Softmax over the levels of -k (R - b_i)(R - b_(i+1)), with R the normalised rewards and k the sharpness (RbRL;
    k = 30 in its code and in ERL-VLM's). The ratings only serve to place the boundaries.
    """
    normalised = normalise(rewards)
    counts = level_counts(ratings, num_ratings)
    return _log_probabilities(normalised, level_boundaries(normalised, counts, boundaries), counts, sharpness)


def expected_levels(
    rewards: torch.Tensor,
    rated: torch.Tensor,
    ratings: torch.Tensor,
    num_ratings: int,
    sharpness: float,
    boundaries: BoundaryPlace = "between",
) -> torch.Tensor:
    """Probability of each level, float [N, num_ratings], for items without a rating that have `rewards` [N].

    By the scale and the boundaries of one batch of all rated items, which have the rewards `rated` [K] and the levels
    `ratings` int64 [K]; what lies outside their rewards is taken for the nearest of them.
    """
    lowest, highest = rated.amin(), rated.amax()
    counts = level_counts(ratings, num_ratings)
    cuts = level_boundaries(normalise(rated), counts, boundaries)
    normalised = (rewards.clamp(lowest, highest) - lowest) / (highest - lowest + EPSILON)
    return _log_probabilities(normalised, cuts, counts, sharpness).exp()


def _log_probabilities(
    normalised: torch.Tensor, boundaries: torch.Tensor, counts: torch.Tensor, sharpness: float
) -> torch.Tensor:
    """Log-probability of each level, float [N, n], for normalised rewards [N]."""
    distances = normalised[:, None] - boundaries
    logits = -sharpness * distances[:, :-1] * distances[:, 1:]
    return logits.masked_fill(counts == 0, -torch.inf).log_softmax(dim=1)


def smoothed_targets(
    ratings: torch.Tensor, num_ratings: int, label_smoothing: float, soft: torch.Tensor | None = None
) -> torch.Tensor:
    """Targets float [N, num_ratings]: each rating, with a share of its mass spread evenly over all present levels.

    `soft` [N, num_ratings], if given, stands in for the ratings: the probability of each level. What falls on absent
    levels, which no item can be predicted to have, is shared out among the others in proportion.
    """
    present = (level_counts(ratings, num_ratings) > 0).float()
    if soft is None:
        told = torch.nn.functional.one_hot(ratings, num_ratings).float()
    else:
        told = soft * present
        told = told / told.sum(dim=1, keepdim=True)
    return (1.0 - label_smoothing) * told + label_smoothing * present / present.sum()


def item_losses(
    log_probabilities: torch.Tensor, targets: torch.Tensor, kind: Literal["mae", "cross_entropy"]
) -> torch.Tensor:
    """Loss of each item, float [N].

    `mae`: sum over levels of |target - probability| (ERL-VLM, eq. 3), from 0 to 2. `cross_entropy`: minus the sum of
    target * log-probability (RbRL).
    """
    if kind == "mae":
        return (targets - log_probabilities.exp()).abs().sum(dim=1)
    # Absent levels have target 0 and log-probability minus infinity, whose product is not a number.
    return -(targets * log_probabilities.masked_fill(targets == 0.0, 0.0)).sum(dim=1)


def class_weights(counts: torch.Tensor) -> torch.Tensor:
    """Weight of each level's items, float [num_ratings]: (N - n_c) / N over the smallest such weight (reference code).
    Counts may be sums of weights.

    Absent levels get weight 0 and do not change the others'. With fewer than two levels present all weights are 1.
    """
    present = counts > 0
    if present.sum() < 2:
        return present.float()
    complement = (counts.sum() - counts).float()
    return torch.where(present, complement / complement[present].min(), 0.0)
