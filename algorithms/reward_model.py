"""The reward model: learns from ratings, or from preferences, what a frame, or a state, is worth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from algorithms.language_networks import PolicyShape, asked_of
from algorithms.preference_loss import preference_log_probabilities, preference_losses
from algorithms.rating_loss import (
    class_weights,
    expected_levels,
    item_losses,
    level_counts,
    level_log_probabilities,
    smoothed_targets,
)
from algorithms.reward_ensemble import RewardEnsemble
from algorithms.score_batches import LARGEST, agreeing_sizes, cut
from algorithms.settings import RewardModelSettings
from algorithms.soft_labels import likeliest
from algorithms.stratified import rating_batches


class RewardModel:
    """An ensemble, its optimiser, and the way it learns.

    Its inputs are frames uint8 [N, px, px, 3] or states float32 [N, observation]. A rated segment of F frames or states
    has a further dimension, [N, F, ...]; its score is the mean of their outputs. RbRL takes the sum, which differs by a
    factor that the loss does not see. A model that reads is told the instruction of each input besides, as ids of words
    int32 [N, words].

    One that compares learns from pairs [N, 2, ...] in place of segments; their ratings, 0 or 1, say which of the two is
    preferred.
    """

    def __init__(
        self,
        settings: RewardModelSettings,
        observation_size: int | None,
        seed: int,
        device: str | torch.device = "cpu",
        reads: PolicyShape | None = None,
        compares: bool = False,
    ) -> None:
        """`reads`: what networks that read the instruction fit; None for a model that does not. `compares`: learn from
        preferences.

        Raises ValueError if the settings do not fit the inputs; see `RewardEnsemble`."""
        self._settings = settings
        self._compares = compares
        self._reads = reads is not None
        self._device = torch.device(device)
        self._ensemble = RewardEnsemble(settings, observation_size, seed, reads)
        self._ensemble.to(self._device, memory_format=torch.channels_last)
        self._members = self._ensemble.members
        # One optimiser for all members, as published; their parameters do not interact.
        self._optimiser = torch.optim.Adam(self._members.parameters(), lr=settings.learning_rate, fused=True)
        self._sizes: tuple[int, ...] | None = None
        """Of the batches in which it scores, once it has scored."""

    def fit(
        self,
        inputs: np.ndarray,
        ratings: np.ndarray,
        num_ratings: int,
        rng: np.random.Generator,
        words: np.ndarray | None = None,
        item_weights: np.ndarray | None = None,
    ) -> dict[str, float]:
        """Train on all ratings until `target_accuracy` or `max_epochs`, going on from where the last call ended.

        Args:
            inputs: Frames or states of N >= 1 segments, [N, F, ...] or [N, ...]; of pairs, [N, 2, ...].
            ratings: int64 [N] in [0, num_ratings); of pairs 0 or 1. Or float32 [N, num_ratings], the probability of
                each: the likeliest then places boundaries and balances batches, and all are what is learned.
            rng: Draws the batches.
            words: int32 [N, words], for a model that reads.
            item_weights: float32 [N], how much each rating counts in the loss; None: all alike. Batches and boundaries
                take no notice of them, and class weights count with them.

        Returns:
            `epochs`; `loss` of the last epoch; `accuracy`: the share of ratings that were the most probable level when
            the last epoch trained on them, mean over the members; `accuracy_level_i` for each level that occurs.
        """
        segments = inputs if inputs.ndim == self._frame_dims + 2 else inputs[:, None]
        labels = torch.tensor(ratings if ratings.ndim == 1 else likeliest(ratings))
        soft = None if ratings.ndim == 1 else torch.tensor(ratings, dtype=torch.float32)
        counted = None if item_weights is None else torch.tensor(item_weights, dtype=torch.float32)
        weights = self._class_weights(labels, num_ratings, counted)
        told = _Told(labels, soft, weights, counted, words)
        self._standardise_by(segments)
        epochs, metrics = 0, {}
        for epochs in range(1, self._settings.max_epochs + 1):
            metrics = self._fit_epoch(segments, told, rng)
            if epochs >= self._settings.min_epochs and metrics["accuracy"] > self._settings.target_accuracy:
                break
        self._set_range(segments, labels, words)
        return {"epochs": float(epochs), **metrics}

    @torch.no_grad()
    def score(self, inputs: np.ndarray, words: np.ndarray | None = None) -> np.ndarray:
        """Rewards float32 [N] of N >= 0 frames uint8 [N, px, px, 3] or states float32 [N, observation].

        `words` int32 [N, words] is for a model that reads. Zeros before the first `fit`, and as long as all ratings are
        equal, unless `reward_scale` is `raw`.
        """
        return self._in_batches(inputs, self._ensemble, words).numpy()

    @torch.no_grad()
    def opinions(
        self,
        inputs: np.ndarray,
        rated: np.ndarray,
        ratings: np.ndarray,
        num_ratings: int,
        words: np.ndarray | None = None,
        rated_words: np.ndarray | None = None,
    ) -> np.ndarray:
        """How probable each member finds each answer about inputs that nobody was asked about.

        Args:
            inputs: As those of `fit`, [N, F, ...] or [N, ...]; of pairs, [N, 2, ...].
            rated: The inputs of the last `fit` [K, ...], and `ratings` and `rated_words` likewise: they say where
                levels part.

        Returns:
            float32 [members, N, num_ratings].
        """
        outputs = self._segment_outputs(inputs, words)
        if self._compares:
            return preference_log_probabilities(outputs.flatten(0, 1)).exp().view(*outputs.shape[:2], 2).numpy()
        labels = torch.tensor(ratings if ratings.ndim == 1 else likeliest(ratings))
        known = self._segment_outputs(rated, rated_words).mean(dim=2)
        settings = self._settings
        of_members = [
            expected_levels(scores, of_rated, labels, num_ratings, settings.sharpness, settings.boundaries)
            for scores, of_rated in zip(outputs.mean(dim=2), known, strict=True)
        ]
        return torch.stack(of_members).numpy()

    def weights(self) -> dict[str, np.ndarray]:
        """Copies of the ensemble's weights by name."""
        return {name: tensor.numpy() for name, tensor in _copies(self._ensemble.state_dict()).items()}

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Score as the model did whose `weights` these are. Raises RuntimeError if the networks differ."""
        self._ensemble.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})

    def state_dict(self) -> dict[str, Any]:
        """Copies of weights and optimiser, on the processor: with the generator of `fit`, all that training needs."""
        optimiser = self._optimiser.state_dict()
        optimiser["state"] = {number: _copies(moments) for number, moments in optimiser["state"].items()}
        return {"ensemble": _copies(self._ensemble.state_dict()), "optimiser": optimiser}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned. Raises RuntimeError or ValueError if the networks differ.

        The step size stays that of the settings: a trial that takes over another one's model may have its own.
        """
        self._ensemble.load_state_dict(state["ensemble"])
        self._optimiser.load_state_dict(state["optimiser"])
        for group in self._optimiser.param_groups:
            group["lr"] = self._settings.learning_rate

    @property
    def _frame_dims(self) -> int:
        return 3 if self._settings.input == "frame" else 1

    def _in_batches(
        self, inputs: np.ndarray, network: Callable[..., torch.Tensor], words: np.ndarray | None = None
    ) -> torch.Tensor:
        """The network's outputs [..., N], on the processor, computed in batches that agree to the last bit."""
        outputs = []
        which, read = (None, None) if words is None else self._read(words)
        for start, size in cut(len(inputs), self._batch_sizes(inputs)):
            part = inputs[start : start + size]
            arguments = [torch.from_numpy(_filled_up(part, size)).to(self._device)]
            if which is not None:
                rows = torch.from_numpy(_filled_up(which[start : start + size], size)).to(self._device)
                arguments.append([one[rows] for one in read])
            outputs.append(network(*arguments)[..., : len(part)].cpu())
        return torch.cat(outputs, dim=-1)

    def _batch_sizes(self, inputs: np.ndarray) -> tuple[int, ...]:
        if self._reads:
            # What it sees and reads are ids as well, which are not drawn at random.
            return (LARGEST,)
        if self._sizes is None:
            self._sizes = agreeing_sizes(
                lambda batch: self._ensemble.outputs(torch.from_numpy(batch).to(self._device)).cpu(), inputs
            )
        return self._sizes

    def _segment_outputs(self, inputs: np.ndarray, words: np.ndarray | None) -> torch.Tensor:
        """Each member's output for each frame of segments [N, F, ...] or [N, ...], float32 [members, N, F]."""
        segments = inputs if inputs.ndim == self._frame_dims + 2 else inputs[:, None]
        num_frames = segments.shape[1]
        words = None if words is None else np.repeat(words, num_frames, axis=0)
        flat = self._in_batches(segments.reshape(-1, *segments.shape[2:]), self._ensemble.outputs, words)
        return flat.view(len(self._members), len(segments), num_frames)

    def _read(self, words: np.ndarray) -> tuple[np.ndarray, list[torch.Tensor]]:
        """Of instructions [N, words] which of the different ones each is [N], and what each member makes of these."""
        # Of no instruction an empty one, since there is always a batch.
        different, which = np.unique(words if len(words) else words.sum(0)[None], axis=0, return_inverse=True)
        rows = torch.from_numpy(different).to(self._device).split(1)
        # One at a time, as inputs are always as many at a time.
        return which.reshape(-1), [torch.cat([member.read(row) for row in rows]) for member in self._members]

    def _class_weights(self, labels: torch.Tensor, num_ratings: int, counted: torch.Tensor | None) -> torch.Tensor:
        if self._compares or self._settings.class_weights == "none":
            return torch.ones(num_ratings)
        if counted is None:
            return class_weights(level_counts(labels, num_ratings))
        return class_weights(torch.bincount(labels, weights=counted, minlength=num_ratings))

    def _standardise_by(self, segments: np.ndarray) -> None:
        if self._settings.input == "state":
            for member in self._members:
                member.standardise_by(torch.tensor(segments, device=self._device).flatten(0, 1))

    @torch.no_grad()
    def _set_range(self, segments: np.ndarray, labels: torch.Tensor, words: np.ndarray | None) -> None:
        """Settle the rewards' scale by the rated inputs. Ratings that are all equal say nothing, so then it is zero;
        preferences always say something."""
        outputs = self._segment_outputs(segments, words).flatten(1)
        highest = outputs.amax(dim=1) if self._compares or len(labels.unique()) > 1 else outputs.amin(dim=1)
        self._ensemble.set_range(outputs.amin(dim=1), highest)

    def _fit_epoch(
        self,
        segments: np.ndarray,
        told: "_Told",
        rng: np.random.Generator,
    ) -> dict[str, float]:
        """One pass over all ratings, in batches of its own for every member, so that members differ."""
        settings, labels, num_ratings = self._settings, told.labels, len(told.class_weights)
        # Which of a pair came first is chance, so there is nothing to balance.
        stratified = "off" if self._compares else settings.stratified
        batches = [rating_batches(labels.numpy(), settings.batch_size, stratified, rng) for _ in self._members]
        losses: list[float] = []
        right, seen = torch.zeros(num_ratings), torch.zeros(num_ratings)
        for indices_of_members in zip(*batches, strict=True):
            self._optimiser.zero_grad()
            for member, indices in zip(self._members, indices_of_members, strict=True):
                batch_labels = labels[torch.from_numpy(indices)]
                log_probabilities, loss = self._member_loss(member, segments, indices, told)
                # Members share no parameters, so each may go backwards as soon as it is ready.
                loss.backward()
                losses.append(float(loss.detach()))
                hits = log_probabilities.argmax(dim=1).cpu() == batch_labels
                right += level_counts(batch_labels[hits], num_ratings)
                seen += level_counts(batch_labels, num_ratings)
            self._optimiser.step()
        return {"loss": float(np.mean(losses)), **_accuracies(right, seen, level_counts(labels, num_ratings))}

    def _member_loss(
        self,
        member: torch.nn.Module,
        segments: np.ndarray,
        indices: np.ndarray,
        told: "_Told",
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities [B, n], and the mean loss, of ratings weighted by class and one by one, of one batch."""
        # An item that a balanced batch repeats goes through the network once.
        distinct, positions = np.unique(indices, return_inverse=True)
        items = torch.from_numpy(segments[distinct]).to(self._device)
        reads = []
        if told.words is not None:
            asked = asked_of(torch.from_numpy(told.words[distinct]).to(self._device))
            reads = [member.read(asked.distinct)[asked.which].repeat_interleave(items.shape[1], dim=0)]
        scores = member(items.flatten(0, 1), *reads).view(len(distinct), -1)
        labels, soft, counted = (
            None if tensor is None else tensor[torch.from_numpy(indices)].to(self._device)
            for tensor in (told.labels, told.soft, told.item_weights)
        )
        settings, weights = self._settings, told.class_weights
        if self._compares:
            log_probabilities = preference_log_probabilities(scores[torch.from_numpy(positions).to(self._device)])
            losses = preference_losses(
                log_probabilities, labels, settings.preference_loss, settings.label_smoothing, soft
            )
            mean = losses.mean() if counted is None else (counted * losses).sum() / counted.sum()
            return log_probabilities.detach(), mean
        rewards = scores.mean(dim=1)[torch.from_numpy(positions).to(self._device)]
        log_probabilities = level_log_probabilities(
            rewards, labels, len(weights), settings.sharpness, settings.boundaries
        )
        targets = smoothed_targets(labels, len(weights), settings.label_smoothing, soft)
        item_weights = weights.to(self._device)[labels]
        if counted is not None:
            item_weights = item_weights * counted
        losses = item_losses(log_probabilities, targets, settings.loss)
        return log_probabilities.detach(), (item_weights * losses).sum() / item_weights.sum()


@dataclass(frozen=True)
class _Told:
    """What is learned of N segments."""

    labels: torch.Tensor
    soft: torch.Tensor | None
    class_weights: torch.Tensor
    item_weights: torch.Tensor | None
    words: np.ndarray | None


def _filled_up(rows: np.ndarray, size: int) -> np.ndarray:
    """`rows`, and zeros up to `size` of them."""
    if len(rows) == size:
        return rows
    whole = np.zeros((size, *rows.shape[1:]), dtype=rows.dtype)
    whole[: len(rows)] = rows
    return whole


def _copies(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _accuracies(right: torch.Tensor, seen: torch.Tensor, counts: torch.Tensor) -> dict[str, float]:
    """Accuracy by level, and over all ratings with each counted once, however often batches repeated it.

    `right` and `seen` [n] are predictions made, by level; `counts` [n] are the ratings.
    """
    present = counts > 0
    by_level = right[present] / seen[present]
    overall = float((by_level * counts[present]).sum() / counts.sum())
    levels = present.nonzero().flatten().tolist()
    return {"accuracy": overall} | {
        f"accuracy_level_{level}": float(accuracy) for level, accuracy in zip(levels, by_level, strict=True)
    }
