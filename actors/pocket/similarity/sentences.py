"""What the pocket CLIP learns to say of frames: sentences, and which of them are true of a frame."""

from dataclasses import dataclass

import numpy as np

from actors.pocket.frames.data import NUM_STAGES, TaskFrames
from actors.pocket.frames.words import TaskWords

DONE = NUM_STAGES - 1


@dataclass(frozen=True)
class TaskSentences:
    """Sentences about frames of one task."""

    goal: str
    """The task's instruction: true of a frame in which it is done."""
    scene: str
    """True of every frame of the task: `actors.rating.similarity.texts.scene_of`."""
    agent: str
    """True of every frame of any task with this agent."""
    words: TaskWords
    """On the hand and on the object; one of each is true."""

    @property
    def all(self) -> tuple[str, ...]:
        """Every one, in an order that `true_of` keeps."""
        return (self.goal, self.scene, self.agent, *self.words.hand, *self.words.object)

    def true_of(self, frames: TaskFrames) -> np.ndarray:
        """bool [N, sentences]: which of `all` are true of which frames."""
        number = len(frames)
        always = np.ones((number, 1), dtype=bool)
        hands = np.arange(len(self.words.hand)) == frames.hand_states[:, None]
        things = np.arange(len(self.words.object)) == frames.object_states[:, None]
        return np.hstack([frames.stages[:, None] == DONE, always, always, hands, things])


class Sentences:
    """Those of several tasks, each once."""

    def __init__(self, tasks: tuple[TaskSentences, ...]) -> None:
        self.tasks = tasks
        self.texts = tuple(dict.fromkeys(text for task in tasks for text in task.all))
        """Every sentence."""

    def true_of(self, task: int, frames: TaskFrames) -> np.ndarray:
        """bool [N, texts]: which of `texts` are true of frames of a task. One of another task's never is, unless both
        tasks have it."""
        own = self.tasks[task]
        found = np.zeros((len(frames), len(self.texts)), dtype=bool)
        for text, holds in zip(own.all, own.true_of(frames).T, strict=True):
            found[:, self.texts.index(text)] |= holds
        return found
