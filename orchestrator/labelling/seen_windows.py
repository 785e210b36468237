"""The windows of a data set, counted, and some of them drawn as the questions they will be: no picture is decoded."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from algorithms.images import encode_png, png_size
from algorithms.label_settings import WindowSettings
from algorithms.scores import ScoreRequest, ScoringMode
from algorithms.windows import PADDING_ACTION, frame_note, picture_size, windows_of
from orchestrator.data.check import PartError, broken_frame, structure_problems
from orchestrator.data.datasets import TrajectoryDataset

NUM_DRAWN = 64
"""Windows drawn from a set; their mean number of tokens is within a few per cent of that of all."""
PARTS_LOOKED_AT = 4
"""Where frames differ in size, those of so many parts are looked at."""


@dataclass(frozen=True)
class WindowsSeen:
    """What was seen of some parts."""

    counts: Counter[int]
    """Windows by the number of actions that get a score of them."""
    drawn: list[ScoreRequest]
    """Questions about windows drawn at random, or about all if there are few. Their pictures are blank, and of the
    right size."""
    longest: list[ScoreRequest]
    """The question with the most words; none of no windows."""


def see_windows(
    dataset: TrajectoryDataset, parts: Iterable[str], window: WindowSettings, mode: ScoringMode
) -> WindowsSeen:
    """Look through `parts`. Equal sets give equal draws. Parts and episodes that cannot be read are left out."""
    parts = list(parts)
    counts: Counter[int] = Counter()
    drawn: list[_Told] = []
    longest: _Told | None = None
    rng = np.random.default_rng(0)
    for told in _told_windows(dataset, parts, window):
        place = counts.total()
        counts[told.num_actions] += 1
        # Each window has the same chance to be among those drawn at the end.
        if place >= NUM_DRAWN:
            place = int(rng.integers(place + 1))
        if place < NUM_DRAWN:
            drawn[place : place + 1] = [told]
        if longest is None or told.length > longest.length:
            longest = told
    if longest is None:
        return WindowsSeen(counts, [], [])
    picture = encode_png(np.zeros((*picture_size(*_frame_size(dataset, parts), window), 3), dtype=np.uint8))
    return WindowsSeen(counts, [one.request(picture, mode) for one in drawn], [longest.request(picture, mode)])


@dataclass(frozen=True)
class _Told:
    """The words about a window."""

    instruction: str
    actions: tuple[str, ...]
    note: str
    num_actions: int
    """Actions that get a score of it."""

    @property
    def length(self) -> int:
        return len(self.instruction.encode()) + sum(len(name.encode()) for name in self.actions)

    def request(self, picture: bytes, mode: ScoringMode) -> ScoreRequest:
        return ScoreRequest((picture,), self.instruction, self.actions, mode, self.note)


def _told_windows(dataset: TrajectoryDataset, parts: list[str], window: WindowSettings) -> Iterator[_Told]:
    for part in parts:
        try:
            for first_row, rows in dataset.episode_rows(part, frames=False, symbolic=False):
                if structure_problems(part, first_row, rows, dataset.info):
                    continue
                instruction, names = rows["instruction"][0].as_py(), rows["action_name"].to_pylist()
                for one in windows_of(rows.num_rows - 1, window):
                    actions = tuple(PADDING_ACTION if index is None else names[index] for index in one.actions)
                    note = frame_note(len(one.frames), window)
                    yield _Told(instruction, actions, note, len(one.kept))
        except PartError:
            continue


def _frame_size(dataset: TrajectoryDataset, parts: list[str]) -> tuple[int, int]:
    """Height and width of the set's frames; where they differ, those of the largest that is seen."""
    if dataset.info.frame_px is not None:
        height, width = dataset.info.frame_px
        return height, width
    sizes = [(1, 1)]
    for part in parts[:PARTS_LOOKED_AT]:
        try:
            for _, rows in dataset.episode_rows(part, symbolic=False):
                first = rows["frame"][0].as_py() if "frame" in rows.column_names else None
                if first is not None and broken_frame(first, dataset.info) is None:
                    sizes.append(png_size(first))
        except PartError:
            continue
    return max(sizes, key=lambda size: size[0] * size[1])
