"""What worlds have in common whose episodes are chains of sub-tasks, and whose frames are kept."""

import numpy as np

from algorithms.episodes import Scene


class KeptChainWorld:
    """The answers of `World` that do not depend on the simulator."""

    def solved_at_start(self) -> bool:
        """A sub-task is ended by an action."""
        return False

    def done(self) -> np.ndarray | None:
        """Success says all."""
        return None

    def frame_state(self) -> np.ndarray:
        """Nothing: frames are kept."""
        return np.zeros(0, dtype=np.float32)

    def scene(self) -> Scene:
        """Nothing."""
        return Scene({})
