"""Settings of rollout workers."""

from typing import Annotated

from pydantic import Field

from actors.worlds.world import WorldSpec
from algorithms.settings import NumGpus, PositiveFloat, PositiveInt, Settings


class RolloutSettings(Settings):
    """How experience is collected."""

    num_workers: PositiveInt = 1
    """Rollout actors."""
    envs_per_worker: PositiveInt = 1
    """Environments in each actor."""
    chunk_agent_steps: PositiveInt = 50
    """Agent steps of each environment between two hand-overs of policy weights; divides the episode's length where all
    episodes have one."""
    period_agent_steps: PositiveInt | None = None
    """Where lengths of episodes differ: agent steps of each environment in a period, after which it goes on to the end
    of its episode and waits. Between two periods there are sessions, evaluations and checkpoints. Absent: as many as
    the longest episode has. Where all episodes have one length, a period is one of them."""
    frames_memory_gb: Annotated[float, Field(ge=0.0)] = 1.0
    """Memory of the run's process for frames that the world cannot draw again; the newest, losslessly compressed."""
    frames_disk_gb: PositiveFloat = 50.0
    """Room in the run's folder for all of those. Beyond it the oldest go: they are not rated, and keep the reward that
    they have."""
    lost_timeout_s: PositiveFloat = 3600.0
    """Time for which a run waits for nodes that can hold its lost actors, saying so; then it stops, to be resumed."""
    num_cpus: PositiveFloat = 1.0
    """Processors that Ray reserves for an actor."""
    num_gpus: NumGpus = 0.0
    """GPUs (or a fraction of one) that Ray reserves for an actor, to draw frames with."""
    accelerator_type: str | None = None
    """Kind of GPU that an actor needs, as Ray names it."""
    resources: dict[str, float] = Field(default_factory=dict)
    """Custom Ray resources that an actor needs, such as {env: 1}, to place it on certain nodes."""

    def period_of(self, spec: WorldSpec) -> int:
        """Agent steps of a period of such a world."""
        return spec.longest_agent_steps if spec.fixed_length else self.period_agent_steps or spec.longest_agent_steps
