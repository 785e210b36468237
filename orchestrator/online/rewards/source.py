"""Where rewards come from, as the online loop knows it: one interface, whoever rates, counts or learns behind it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.episodes import EpisodeChunk
from algorithms.replay import ColumnarReplay
from orchestrator.online.rollouts import Collected
from orchestrator.online.stopping.progress import Progress
from orchestrator.runs.folder import RunFolder

UNKNOWN = -1
"""Version of rewards that nobody has given yet: zero, or the state-entropy bonus."""


@dataclass(frozen=True)
class NewRewards:
    """What steps of the replay are worth from now on."""

    indices: np.ndarray
    """int64 [N]: global indices of the steps."""
    rewards: np.ndarray
    """float32 [N]."""
    version: int
    are_first: bool
    """Whether no reward was known before: critics learned from exploration alone."""


@dataclass(frozen=True)
class StillUnknown:
    """Something was asked, and nothing can be learned from it yet: exploring goes on, from new bonuses."""


class RewardSource(ABC):
    """Gives each new step its reward, and may rewrite those of earlier ones.

    A run is a function of its settings, so a source must be one of what it is handed and of what `writer` writes.
    """

    folder: RunFolder
    """What the run writes and shows; known once `begin` was called."""

    def begin(self, folder: RunFolder) -> None:
        """The run begins, or goes on."""
        self.folder = folder

    @abstractmethod
    def known(self, progress: Progress) -> bool:
        """Whether there is a reward to learn from; until then the policy may explore."""

    @abstractmethod
    def version(self, progress: Progress) -> int:
        """Of the rewards that `of_new` gives now."""

    @abstractmethod
    def of_new(
        self, observations: np.ndarray, part: Collected, first_index: int, progress: Progress
    ) -> np.ndarray | None:
        """Rewards float32 [N] of a worker's new steps, the first of which will have `first_index`; None if unknown.

        `observations` [N, observation] float32 were seen after the steps. Called once for each worker's share of a
        round, before its steps go into the replay.
        """

    def keep(self, first_index: int, chunk: EpisodeChunk, oldest_index: int) -> None:
        """A chunk went into the replay, which has forgotten all before `oldest_index`."""
        return None

    def advance(self, replay: ColumnarReplay, progress: Progress, stands: bool) -> NewRewards | StillUnknown | None:
        """Ask and learn what is due after a round, at whose end all environments may stand between two episodes.

        Raises RatingsFailing if a rater fails; then the run can go on from here.
        """
        return None

    @property
    def waits(self) -> bool:
        """Whether something was asked whose answer is still to come: no checkpoint is written meanwhile."""
        return False

    def finish(self, replay: ColumnarReplay, progress: Progress) -> NewRewards | StillUnknown | None:
        """The run's last steps are taken: wait for what is under way. As `advance`."""
        return None

    def leave(self) -> None:
        """Keep in the run's folder what was learned."""
        return None

    def writer(self) -> Callable[[Path], Mapping[str, Any]]:
        """What writes all as it is now into the folder of a checkpoint, and returns what else is to be kept as JSON."""
        return lambda folder: {}

    def read(self, folder: Path, state: Mapping[str, Any], progress: Progress) -> Callable[[], None]:
        """Read what `writer` wrote, and return what puts it back. `state` holds what it returned, among others."""
        return lambda: None
