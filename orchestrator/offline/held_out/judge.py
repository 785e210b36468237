"""Judging a policy by held-out episodes: its actions beside the recorded ones, its values, and what it is worth."""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from algorithms.action_scale import ActionScale
from algorithms.fitted_q import FittedQPlan
from algorithms.held_out_metrics import (
    Estimate,
    auroc,
    balanced_share,
    constant_action,
    discounted_return,
    marginal_log_prob,
    mean_over_groups,
)
from algorithms.policies import LanguageIQL
from algorithms.progress import value_order_correlation
from algorithms.transitions import EpochSampler, Transitions
from orchestrator.offline.data import OfflineData
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.runs.layout import HELD_OUT_SCORE_NAME, held_out_metric

ROWS_AT_ONCE = 256
"""Transitions that are judged together."""
BATCHES_AT_ONCE = 16
"""Batches of fitted-Q evaluation that are handed over together."""
LONGEST_ORDER = 500
"""Values of an episode that are ranked, at most, at even distances: ranking takes memory of their square."""
CONSTANT = "constant"
"""Control: always the same action, the one closest to those learned from."""


class HeldOutJudge:
    """The episodes that were held out, and what is asked of a policy about them.

    Actions are compared in episodes that succeeded: those of others are no model. Values are looked at in all. Fitted-Q
    evaluation is fitted to the transitions learned from, since a critic needs all the data there is, and read off at
    the first states of the held-out episodes, which neither policy nor critic has seen.
    """

    score = held_out_metric("agreement")
    measure = HELD_OUT_SCORE_NAME

    def __init__(self, experiment: OfflineExperiment, data: OfflineData, action_names: Sequence[str]) -> None:
        """`action_names` are those of the entries of continuous actions."""
        assert experiment.held_out is not None and data.held_out is not None
        self._settings = experiment.held_out
        self._policy_settings = experiment.policy
        self._seed = experiment.seed
        self._learned, self._sparse = data.transitions, data.sparse
        self._episodes = data.held_out
        self._shape = data.shape
        self._scale = data.scale
        self._names = tuple(action_names)

    def metrics(self, policy: LanguageIQL, *, control: str | None = None, last: bool = False) -> dict[str, float]:
        """See `orchestrator.offline.judging.Judge`. What is not defined is not among them."""
        found = self._predictions(policy)
        values = self._of_actions(found["likeliest"], found["log_prob"])
        if "value" in found:
            values |= self._of_values(found["value"])
        metrics = {held_out_metric(name, control): value for name, value in values.items()}
        if control is not None:
            # Without this nobody can tell whether a number is good.
            metrics |= {held_out_metric(name, CONSTANT): value for name, value in self._of_constant().items()}
        elif self._settings.fitted_q is not None and (last or self._settings.fitted_q.when == "always"):
            metrics |= {held_out_metric(name): value for name, value in self._worth(policy).items()}
        return metrics

    # ---------------------------------------------------------------------------------------------- actions, values

    def _predictions(self, policy: LanguageIQL) -> dict[str, np.ndarray]:
        transitions = self._episodes.transitions
        parts = [policy.predict(self._columns(transitions, rows)) for rows in _runs(len(transitions))]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _of_actions(self, likeliest: np.ndarray, log_prob: np.ndarray) -> dict[str, float]:
        rows = self._episodes.of_success
        recorded, likeliest = self._episodes.transitions.actions[rows], likeliest[rows]
        found = {"log_prob": float(np.mean(log_prob[rows], dtype=np.float64))}
        if self._shape.num_actions:
            return found | _shares(likeliest, recorded)
        assert self._scale is not None
        return found | action_errors(likeliest, recorded, self._scale, self._names)

    def _of_constant(self) -> dict[str, float]:
        learned, recorded = self._learned.actions, self._episodes.transitions.actions
        log_prob = marginal_log_prob(learned, recorded, self._shape.num_actions, self._shape.num_objects)
        always = np.broadcast_to(constant_action(learned), recorded.shape)
        return self._of_actions(always, log_prob)

    def _of_values(self, value: np.ndarray) -> dict[str, float]:
        """Of V [N]: where episodes begin, and before their last actions."""
        episodes = self._episodes
        starts, succeeded = episodes.starts, episodes.succeeded
        at = {"start": value[starts], "end": value[starts + episodes.lengths - 1]}
        found: dict[str, float] = {}
        for place, values in at.items():
            for kind, which in (("success", succeeded), ("failure", ~succeeded)):
                if which.any():
                    found[f"value_{place}_{kind}"] = float(np.mean(values[which], dtype=np.float64))
            if (told := auroc(values[succeeded], values[~succeeded])) is not None:
                found[f"value_{place}_auroc"] = told
        orders = [
            order
            for start, length, done in zip(starts, episodes.lengths, succeeded, strict=True)
            if done and (order := value_order_correlation(_thinned(value[start : start + length]))) is not None
        ]
        return found | ({"value_order": float(np.mean(orders))} if orders else {})

    # ---------------------------------------------------------------------------------------------- fitted Q

    def _worth(self, policy: LanguageIQL) -> dict[str, float]:
        assert self._settings.fitted_q is not None
        learned, judged = [self._learned.rewards], [self._episodes.transitions.rewards]
        names = ["worth"]
        if not np.array_equal(self._learned.rewards, self._sparse):
            learned, judged = [*learned, self._sparse], [*judged, self._episodes.sparse]
            names.append("worth_sparse")
        rewards = np.stack(learned, axis=1)
        discount = self._policy_settings.discount
        least, most = np.nanmin(rewards, axis=0), np.nanmax(rewards, axis=0)
        plan = FittedQPlan(
            discount=discount,
            lowest=tuple(map(float, np.minimum(least, least / (1.0 - discount)))),
            highest=tuple(map(float, np.maximum(most, most / (1.0 - discount)))),
            num_updates=self._settings.fitted_q.updates,
            seed=self._seed,
        )
        starts = self._episodes.starts
        values = policy.fitted_q(
            plan,
            self._batches(rewards, plan.num_updates),
            (self._columns(self._episodes.transitions, starts[rows]) for rows in _runs(len(starts))),
        )
        found: dict[str, float] = {}
        for number, name in enumerate(names):
            found |= _with_interval(name, mean_over_groups(values[:, number], self._episodes.recording))
            returns = [
                discounted_return(judged[number][start : start + length], discount)
                for start, length in zip(starts, self._episodes.lengths, strict=True)
            ]
            known = ~np.isnan(returns)
            if known.any():
                of_recorded = mean_over_groups(np.array(returns)[known], self._episodes.recording[known])
                found |= _with_interval(f"{CONSTANT_RETURN}{name.removeprefix('worth')}", of_recorded)
        return found

    def _batches(self, rewards: np.ndarray, num_updates: int) -> Iterator[list[Mapping[str, np.ndarray]]]:
        size = self._policy_settings.batch_size
        sampler = EpochSampler(len(self._learned), self._seed)
        done = 0
        while done < num_updates:
            some = []
            for _ in range(min(BATCHES_AT_ONCE, num_updates - done)):
                rows = sampler.take(size)
                batch = self._columns(self._learned, rows)
                known = ~np.isnan(rewards[rows])
                batch["reward"] = np.where(known, rewards[rows], 0.0).astype(np.float32)
                batch["reward_known"] = known.astype(np.float32)
                some.append(batch)
            done += len(some)
            yield some

    def _columns(self, transitions: Transitions, rows: np.ndarray) -> dict[str, np.ndarray]:
        return transitions.batch(rows, self._policy_settings.network.history)


CONSTANT_RETURN = "return"
"""The recorded episodes' own discounted return, beside what the policy is estimated to be worth."""


def action_errors(
    likeliest: np.ndarray, recorded: np.ndarray, scale: ActionScale, names: Sequence[str]
) -> dict[str, float]:
    """Mean absolute errors of actions [N, V] in [-1, 1]: of each entry in the recording's units and as a share of its
    range, `action_error` as the mean of the shares, and `agreement`, which is 1 less that.

    Constant entries, which no policy has, do not count.
    """
    errors = np.abs(scale.unscale(likeliest).astype(np.float64) - scale.unscale(recorded)).mean(axis=0)
    width = np.array(scale.high) - np.array(scale.low)
    varies = width > 0.0
    shares = errors[varies] / width[varies]
    mean = float(shares.mean()) if varies.any() else 0.0
    found = {"action_error": mean, "agreement": 1.0 - min(mean, 1.0)}
    told = [metric_name(name) for name, one in zip(names, varies, strict=True) if one]
    found |= {f"error/{name}": float(error) for name, error in zip(told, errors[varies], strict=True)}
    return found | {f"error_share/{name}": float(share) for name, share in zip(told, shares, strict=True)}


def metric_name(entry: str) -> str:
    """An entry's name as part of a metric's, which MLflow allows."""
    return re.sub(r"[^\w.\- ]", "_", entry, flags=re.ASCII) or "_"


def _shares(likeliest: np.ndarray, recorded: np.ndarray) -> dict[str, float]:
    """Of discrete actions [N], or pairs of action and object [N, 2], of which the object counts only where there is
    one: the share that is right, its mean over the actions that occur, and that of objects alone."""
    if recorded.ndim == 1:
        right, actions, found = likeliest == recorded, recorded, {}
    else:
        about, same = recorded[:, 1] > 0, likeliest == recorded
        right, actions = same[:, 0] & (same[:, 1] | ~about), recorded[:, 0]
        found = {"object_accuracy": float(same[about, 1].mean())} if about.any() else {}
    balanced = balanced_share(right, actions)
    return found | {"accuracy": float(right.mean()), "balanced_accuracy": balanced, "agreement": balanced}


def _with_interval(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _runs(number: int) -> Iterator[np.ndarray]:
    for first in range(0, number, ROWS_AT_ONCE):
        yield np.arange(first, min(first + ROWS_AT_ONCE, number))


def _thinned(values: np.ndarray) -> np.ndarray:
    if len(values) <= LONGEST_ORDER:
        return values
    return values[np.linspace(0, len(values) - 1, LONGEST_ORDER).round().astype(int)]
