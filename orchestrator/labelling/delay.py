"""Whether the rewards that a labelling wrote pay for delay."""

from algorithms.delay import delay_correlation, discounted_return
from algorithms.offline_settings import IQLSettings
from orchestrator.data.datasets import TrajectoryDataset

DISCOUNT = IQLSettings().discount
"""What `likert run` learns with unless told otherwise."""


def delay_correlations(dataset: TrajectoryDataset, names: list[str]) -> dict[str, float | None]:
    """By column: how an episode's return follows its length, of those that came to their end. None: not defined."""
    returns: dict[str, list[float]] = {name: [] for name in names}
    lengths: list[int] = []
    for trajectory in dataset.episodes(frames=False, symbolic=False, on_problem=lambda _: None):
        # A part that could not be labelled lacks the column.
        if not trajectory.terminated[-1] or not set(names) <= trajectory.rewards.keys():
            continue
        lengths.append(len(trajectory))
        for name in names:
            returns[name].append(discounted_return(trajectory.rewards[name], DISCOUNT))
    return {f"reward_{name}": delay_correlation(values, lengths) for name, values in returns.items()}
