"""What a policy of pictures sees: stacks of an episode's latest frames, and how a replay keeps each frame once."""

from collections import deque
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PixelShape:
    """What a policy of pictures sees, and how it looks."""

    px: int
    """Side of a frame in pixels."""
    frame_stack: int
    """Latest frames seen at once."""
    convolutions: tuple[tuple[int, int, int], ...]
    """Channels, kernel and stride of each layer of the encoder."""
    num_features: int
    """Numbers that actor and critic each make of what the encoder gives."""
    random_shift_px: int
    """Pictures are moved by up to as many pixels in learning; 0: not at all."""
    sees_state: bool
    """Whether the observation's numbers are seen besides."""

    @property
    def convolved_px(self) -> int:
        """Side of what the last convolution gives; below 1 if the frame is too small for them."""
        px = self.px
        for _, kernel, stride in self.convolutions:
            px = (px - kernel) // stride + 1 if px >= kernel else 0
        return px

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame, and so of a step in a replay."""
        return self.px * self.px * 3

    @property
    def window_bytes(self) -> int:
        """Bytes of a step's frames in a batch: its stack, and the frame after it."""
        return (self.frame_stack + 1) * self.frame_bytes


class FrameStack:
    """The latest frames of one episode under way, as the policy sees them."""

    def __init__(self, frame_stack: int) -> None:
        self._frames: deque[np.ndarray] = deque(maxlen=frame_stack)

    def push(self, frame: np.ndarray) -> None:
        """Add the next frame uint8 [px, px, 3], and forget the oldest. The first stands for those before it as well."""
        self._frames.extend([frame] * (1 if self._frames else self._frames.maxlen))

    def stacked(self) -> np.ndarray:
        """uint8 [px, px, 3 * frame_stack], the newest frame last."""
        return np.concatenate(self._frames, axis=-1)


class PixelFrames:
    """A ring of frames beside a replay's columns: the frame after each step's action, kept once.

    A step's own stack is found by going back step by step in its episode. What lies before an episode's oldest step
    held stands in its *lead*: the first frame alone, as long as no step has left; then as many of those that left as a
    stack can reach. So every step held has exactly the stack that was seen at the time.
    """

    def __init__(self, capacity: int, px: int, frame_stack: int) -> None:
        self.frame_stack = frame_stack
        self._capacity = capacity
        self._frames = np.zeros((capacity, px, px, 3), np.uint8)
        self._before = np.zeros(capacity, np.int64)
        """Global index of the step before each in its episode; -1 if it is the first of it that ever was held."""
        self._leads: dict[int, np.ndarray] = {}
        """By number of episode: uint8 [1 to frame_stack, px, px, 3]."""

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(px, px, 3)."""
        return self._frames.shape[1:]

    @property
    def bytes_per_step(self) -> int:
        """Bytes that a step takes."""
        return self._frames[0].nbytes + self._before.itemsize

    @property
    def lead_bytes(self) -> int:
        """Bytes that the leads take."""
        return sum(lead.nbytes for lead in self._leads.values())

    def add(self, indices: np.ndarray, pixels: np.ndarray, number: int, before: int | None) -> None:
        """Keep the frames uint8 [T + 1, px, px, 3] of the steps with these global indices [T], of episode `number`.

        `before` is the global index of the episode's newest step held; None if there is none.
        """
        if before is None:
            self._leads[number] = pixels[:1].copy()
        slots = indices % self._capacity
        self._frames[slots] = pixels[1:]
        self._before[slots] = np.concatenate([[-1 if before is None else before], indices[:-1]])

    def forget(self, indices: np.ndarray, number: int, is_last: bool) -> None:
        """The steps with these rising global indices leave, the oldest of episode `number`; `is_last`: all it had."""
        if is_last:
            del self._leads[number]
            return
        leaving = self._frames[indices[-self.frame_stack :] % self._capacity]
        self._leads[number] = np.concatenate([self._leads[number], leaving])[-self.frame_stack :]

    def windows(self, indices: np.ndarray, numbers: np.ndarray, oldest: int) -> np.ndarray:
        """uint8 [N, frame_stack + 1, px, px, 3]: each step's stack, and behind it the frame after its action.

        So all but the last frame are what was seen before the action, and all but the first what was seen after it.
        `indices` [N] are global, `numbers` [N] of their episodes, `oldest` the global index of the oldest step held.
        """
        sources = np.empty((len(indices), self.frame_stack + 1), np.int64)
        current = np.asarray(indices, np.int64)
        for place in range(self.frame_stack, -1, -1):
            sources[:, place] = current
            # Below zero is the distance from the oldest step held, into the lead.
            before = self._before[current % self._capacity]
            current = np.where(current < 0, current - 1, np.where(before >= oldest, before, -1))
        windows = self._frames[sources % self._capacity]
        for row, place in np.argwhere(sources < 0):
            lead = self._leads[int(numbers[row])]
            windows[row, place] = lead[max(len(lead) + sources[row, place], 0)]
        return windows

    def state(self, indices: np.ndarray, numbers: list[int]) -> dict[str, np.ndarray]:
        """Plain arrays of the steps with these global indices and of the episodes with these numbers."""
        slots = indices % self._capacity
        leads = [self._leads[number] for number in numbers]
        return {
            "frame": self._frames[slots],
            "before": self._before[slots],
            "lead": np.concatenate([self._frames[:0], *leads]),
            "lead_length": np.array([len(lead) for lead in leads], np.int64),
        }

    def set_state(self, state: dict[str, np.ndarray], indices: np.ndarray, numbers: list[int]) -> None:
        """Put back what `state` returned. Raises ValueError if frames have another size."""
        if state["frame"].shape[1:] != self.frame_shape:
            raise ValueError(f"the stored frames are {state['frame'].shape[1:]}, this replay's {self.frame_shape}")
        slots = indices % self._capacity
        self._frames[slots] = state["frame"]
        self._before[slots] = state["before"]
        ends = np.cumsum(state["lead_length"])
        starts = ends - state["lead_length"]
        self._leads = {
            number: state["lead"][start:end].copy() for number, start, end in zip(numbers, starts, ends, strict=True)
        }
