"""What the loop keeps of its parts in a checkpoint, and puts back."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from algorithms.policies import RatedAlgorithm
from algorithms.state_entropy import StateEntropy
from orchestrator.online.rewards.source import RewardSource
from orchestrator.online.rollouts import Rollouts
from orchestrator.online.stopping.progress import Progress
from orchestrator.storage.writing import write_json


@dataclass(frozen=True)
class LoopCheckpoint:
    """The parts of a run that have a state; with the rating store, all that the rest of it depends on."""

    rollouts: Rollouts
    policy: RatedAlgorithm
    reward: RewardSource
    entropy: StateEntropy

    def writer(self, progress: Progress, updates_owed: float) -> Callable[[Path], None]:
        """What writes all as it is now into the folder of a checkpoint."""
        write_reward, worker_states = self.reward.writer(), self.rollouts.state()

        def write(folder: Path) -> None:
            # RLlib takes a relative path for an address without a scheme.
            self.policy.save_to_path(folder / "policy")
            of_reward = write_reward(folder)
            write_json(
                folder / "loop.json",
                {
                    "progress": asdict(progress),
                    "updates_owed": updates_owed,
                    "entropy": self.entropy.state(),
                    "workers": worker_states,
                    **of_reward,
                },
            )

        return write

    def restore(self, folder: Path) -> tuple[Progress, float]:
        """Put the parts back to a checkpoint, and return where the run stood and the policy updates that it owed."""
        # All is read before anything is changed: a damaged checkpoint leaves the parts as they are for an older one.
        state = json.loads((folder / "loop.json").read_text())
        told = state["progress"]
        if "best_success" in told:
            # Written when success was always known.
            told["best_score"] = told.pop("best_success")
        told.setdefault("began_older", "num_repeats" not in told)
        progress = Progress(**told)
        put_reward_back = self.reward.read(folder, state, progress)
        self.policy.restore_from_path(folder / "policy")
        self.entropy.set_state(state["entropy"])
        self.rollouts.set_state(state["workers"])
        put_reward_back()
        return progress, state["updates_owed"]
