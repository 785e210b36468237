"""Where a run stands."""

from dataclasses import dataclass


@dataclass
class Progress:
    """Where a run stands; all of it goes into a checkpoint."""

    next_evaluation: int
    next_checkpoint: int
    env_steps: int = 0
    rounds: int = 0
    reward_version: int = 0
    """Version of the reward model; 0 until the first session."""
    reward_shift: float = 0.0
    reward_deviation: float = 1.0
    """Scale of the learned reward; the identity unless `reward_model.reward_scale` is `standardised`."""
    observations_scaled: bool = False
    evaluated_at: int = -1
    """Environment steps at the latest evaluation."""
    best_score: float | None = None
    """Of the evaluations so far: success, or where that is unknown the world's own return."""
    num_asked: int = 0
    num_failed: int = 0
    num_from_store: int = 0
    num_shared: int = 0
    """Questions that another run asked at the same moment, and which the model answered once for both."""
    num_repeats: int = 0
    """Segments that were not rated, because the run has had the same pictures rated before."""
    starving: bool = False
    """Whether there are ratings, all of one level: nothing is learned from them yet."""
    began_older: bool = False
    """Whether it began when pictures could be rated twice."""
