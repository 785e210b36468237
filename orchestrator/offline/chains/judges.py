"""The workers that judge a policy by chains of sub-tasks, and what their results come to."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray

from actors.chain_evaluation import TrialResult
from algorithms.policies import LanguageIQL
from orchestrator.offline.chains.chain_tasks import ChainTasks
from orchestrator.offline.data import Encode
from orchestrator.offline.evaluation_settings import Start
from orchestrator.runs.layout import CHAINS_SCORE_NAME, chain_metric


class ChainJudges:
    """The evaluation workers: hands each its share of the trials. A `Judge`."""

    measure = CHAINS_SCORE_NAME

    def __init__(
        self,
        workers: Sequence[Any],
        tasks: ChainTasks,
        encode: Encode,
        sample_seed: int | None,
        starts: Sequence[Start],
    ) -> None:
        self._workers = workers
        self._tasks = tasks
        self._encoded = dict(zip(tasks.texts, encode(tasks.texts), strict=True))
        self._sample_seed = sample_seed
        self.starts = starts

    @property
    def score(self) -> str:
        """One number is shown, and sweeps compare by it: that of the last start."""
        return chain_metric(self.starts[-1], "proportion")

    def metrics(self, policy: LanguageIQL, *, control: str | None = None, last: bool = False) -> dict[str, float]:
        """See `Judge`. What judges here asks nothing more of a policy that is finished."""
        weights = policy.actor_weights()
        found: dict[str, float] = {}
        for start in self.starts:
            found |= chain_metrics(self.judge(weights, start), start, control)
        return found

    def judge(self, weights: Mapping[str, np.ndarray], start: Start) -> list[TrialResult]:
        """Results of all tasks from one kind of start."""
        trials = self._tasks.trials_from(start)
        shared = ray.put((dict(weights), self._encoded))
        count = len(self._workers)
        parts = ray.get(
            [
                worker.run_shared.remote(shared, trials[number::count], self._sample_seed)
                for number, worker in enumerate(self._workers)
            ]
        )
        results: list[Any] = [None] * len(trials)
        for number, part in enumerate(parts):
            results[number::count] = part
        return results


def chain_metrics(results: Sequence[TrialResult], start: str, control: str | None = None) -> dict[str, float]:
    """The proportion of sub-tasks completed, the share of chains completed, and the proportion by chain length."""
    by_length: dict[int, list[float]] = defaultdict(list)
    for result in results:
        by_length[result.num_subtasks].append(result.proportion)
    values = {
        "proportion": float(np.mean([result.proportion for result in results])),
        "success": float(np.mean([result.proportion == 1.0 for result in results])),
        **{f"proportion_of_{length}": float(np.mean(ones)) for length, ones in sorted(by_length.items())},
    }
    return {chain_metric(start, name, control): value for name, value in values.items()}
