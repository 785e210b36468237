"""An array of an episode, whatever file it stands in, with a value for each step."""

from abc import ABC, abstractmethod

import numpy as np


class Leaf(ABC):
    """Values of one kind, step by step; nothing is read before it is asked for."""

    @abstractmethod
    def __len__(self) -> int:
        """Steps."""

    @abstractmethod
    def values(self) -> np.ndarray:
        """All of them. Raises ImportProblem."""

    @abstractmethod
    def texts(self) -> list[str]:
        """All of them as texts. Raises ImportProblem if they are none."""

    @abstractmethod
    def item(self, index: int) -> np.ndarray | bytes:
        """One of them; of pictures that were packed, the file. Raises ImportProblem."""
