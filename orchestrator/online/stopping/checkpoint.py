"""What the loop keeps of its parts in a checkpoint, and puts back."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from algorithms.policies import RatedAlgorithm
from algorithms.state_entropy import StateEntropy
from orchestrator.online.frames.step_frames import StepFrames
from orchestrator.online.reward_training import RewardTraining
from orchestrator.online.rollouts import Rollouts
from orchestrator.online.sessions import FeedbackSessions
from orchestrator.online.stopping.progress import Progress
from orchestrator.storage.writing import read_arrays, write_arrays, write_atomic, write_json


@dataclass(frozen=True)
class LoopCheckpoint:
    """The parts of a run that have a state; with the rating store, all that the rest of it depends on."""

    rollouts: Rollouts
    frames: StepFrames
    policy: RatedAlgorithm
    learner: RewardTraining
    sessions: FeedbackSessions
    entropy: StateEntropy

    def writer(self, progress: Progress, updates_owed: float) -> Callable[[Path], None]:
        """What writes all as it is now into the folder of a checkpoint."""
        learner_state, worker_states = self.learner.state(), self.rollouts.state()

        def write(folder: Path) -> None:
            # RLlib takes a relative path for an address without a scheme.
            self.policy.save_to_path(folder / "policy")
            # Through memory, because torch tells of a full disk in words of its own.
            buffer = io.BytesIO()
            torch.save(learner_state, buffer)
            write_atomic(folder / "reward_model.pt", buffer.getvalue())
            self.frames.save(folder)
            write_arrays(folder / "labels.npz", {"observations": self.sessions.labels.observations})
            write_json(
                folder / "loop.json",
                {
                    "progress": asdict(progress),
                    "updates_owed": updates_owed,
                    "entropy": self.entropy.state(),
                    "sessions": self.sessions.state(),
                    "workers": worker_states,
                },
            )

        return write

    def restore(self, folder: Path) -> tuple[Progress, float]:
        """Put the parts back to a checkpoint, and return where the run stood and the policy updates that it owed."""
        # All is read before anything is changed: a damaged checkpoint leaves the parts as they are for an older one.
        state = json.loads((folder / "loop.json").read_text())
        observations = read_arrays(folder / "labels.npz")["observations"]
        learner_state = torch.load(folder / "reward_model.pt", weights_only=True)
        self.policy.restore_from_path(folder / "policy")
        self.frames.restore(folder)
        progress = state["progress"]
        if "best_success" in progress:
            # Written when success was always known.
            progress["best_score"] = progress.pop("best_success")
        progress.setdefault("began_older", "num_repeats" not in progress)
        self.entropy.set_state(state["entropy"])
        self.sessions.set_state(state["sessions"], observations)
        self.sessions.drop_lost()
        self.rollouts.set_state(state["workers"])
        # Those that nothing could be learned from are with the sessions alone.
        self.learner.restore(learner_state, len(self.sessions.labels) if progress["reward_version"] else 0)
        return Progress(**progress), state["updates_owed"]
