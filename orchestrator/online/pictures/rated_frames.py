"""Examples of frames by rating, with the rater's words: a row for each level, from the sample in a run's folder."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from algorithms.images import decode_png, join_frames
from algorithms.progress import spread
from algorithms.ratings import level_in_words
from orchestrator.reports.figures import level_shades
from orchestrator.reports.tables import csv_table
from orchestrator.runs.layout import FRAMES_FOLDER
from orchestrator.runs.reading import RunData
from orchestrator.storage.locations import RemotePath

COLUMNS = 5
"""Frames shown of each level, spread over the run."""
_NAME = re.compile(r"step(?P<step>\d+)_level(?P<level>\d+)-[a-z-]+_(?P<number>\d+)\.png")
_INCHES = 1.9
"""Width of a frame."""
_LINE, _LINES = 30, 3
"""Characters of a line below it, and lines."""


@dataclass(frozen=True)
class RatedFrame:
    """A rated picture that a run has kept, and what was said of it."""

    path: Path | RemotePath
    """Of its first picture."""
    pictures: tuple[str, ...]
    """Names of all pictures that were shown, in their order, in the same folder."""
    env_step: int
    """Environment steps of the run when it was asked."""
    level: int
    """From 0, the worst."""
    probabilities: tuple[float, ...]
    """Of each level; empty where the rater told none, or the run is of a version that did not keep them."""
    instruction: str
    """What the rater was told is to be done; empty of older runs."""
    analysis: str
    """What the rater said before it rated; empty if nothing."""

    def image(self) -> Any:
        """uint8 [H, W, 3]; several pictures stand side by side, each under its number."""
        shown = [decode_png((self.path.parent / name).read_bytes()) for name in self.pictures]
        return shown[0] if len(shown) == 1 else join_frames(shown)


def chosen_frames(run: RunData) -> list[RatedFrame]:
    """Rated pictures in a run's folder: of each level at most so many as there are columns, from early to late."""
    folder = run.folder / FRAMES_FOLDER
    # Their names say enough to choose; only what is chosen is read, since a long run keeps thousands.
    named = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    by_level: dict[int, list[str]] = {}
    for name in sorted(named):
        if match := _NAME.fullmatch(name):
            by_level.setdefault(int(match["level"]) - 1, []).append(name)
    return [
        _read(named[names[place]], named)
        for _, names in sorted(by_level.items())
        for place in spread(len(names), COLUMNS)
    ]


def rated_frames_figure(frames: Sequence[RatedFrame], words: Sequence[str], title: str) -> Figure:
    """A grid: a row for each of the levels that are called by `words`, the best on top; one frame at least."""
    chosen = [[one for one in frames if one.level == level] for level in range(len(words))]
    columns = max(map(len, chosen))
    several = len({one.instruction for one in frames}) > 1
    images = {one.path: one.image() for one in frames}
    # Several pictures side by side have more room.
    shape = max(image.shape[1] / image.shape[0] for image in images.values())
    width = _INCHES * float(np.clip(shape, 1.0, 2.5)) ** 0.5
    line = round(_LINE * width / _INCHES)
    lines = 1 + max(_text(one, several, line).count("\n") for one in frames)
    height = width / min(image.shape[1] / image.shape[0] for image in images.values()) + 0.25 + 0.15 * lines
    figure = Figure(figsize=(0.5 + width * columns, 0.5 + height * len(words)), dpi=120, layout="constrained")
    figure.suptitle(f"{title}: frames by the rater's answer, early to late", fontsize=11, x=0.01, ha="left")
    grid = figure.subplots(len(words), columns, squeeze=False)
    for level, (row, shade) in enumerate(zip(grid[::-1], level_shades(len(words)), strict=True)):
        for axes in row:
            _bare(axes)
        row[0].set_ylabel(words[level], fontsize=11, fontweight="bold")
        if not chosen[level]:
            row[0].text(0.5, 0.5, "no frame\nwas rated so", ha="center", va="center", transform=row[0].transAxes)
        for axes, one in zip(row, chosen[level], strict=False):
            axes.imshow(images[one.path])
            for side in axes.spines.values():
                side.set(visible=True, color=shade, linewidth=3)
            said = level_in_words(words, one.level, one.probabilities)
            axes.set_title(f"{said}, step {one.env_step:,}", fontsize=8, pad=3)
            axes.set_xlabel(_text(one, several, line), fontsize=7)
    return figure


def frames_table(frames: Sequence[RatedFrame], words: Sequence[str]) -> str:
    """CSV of these frames."""
    return csv_table(
        [
            {
                "picture": one.path.name,
                "env_step": one.env_step,
                "level": one.level + 1,
                "word": words[one.level],
                "probability": one.probabilities[one.level] if one.probabilities else None,
                "instruction": one.instruction,
                "analysis": one.analysis,
            }
            for one in frames
        ]
    )


def _read(path: Path | RemotePath, named: Mapping[str, Path | RemotePath]) -> RatedFrame:
    """The rated picture at `path`, of a folder that holds these files by name."""
    stem, match = path.name.removesuffix(".png"), _NAME.fullmatch(path.name)
    assert match is not None
    told = json.loads(named[f"{stem}.json"].read_text(encoding="utf-8")) if f"{stem}.json" in named else {}
    words = named[f"{stem}.txt"].read_text(encoding="utf-8") if f"{stem}.txt" in named else ""
    return RatedFrame(
        path=path,
        pictures=tuple(one for one in told.get("pictures", [path.name]) if one in named),
        env_step=int(match["step"]),
        level=int(match["level"]) - 1,
        probabilities=tuple(told.get("probabilities", ())),
        instruction=told.get("instruction", ""),
        analysis=words.strip(),
    )


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _text(one: RatedFrame, with_instruction: bool, width: int) -> str:
    """What stands below a frame: what was to be done, where that differs, and how the rater's words begin."""
    told = [one.instruction, one.analysis] if with_instruction else [one.analysis]
    lines = [line for text in told for line in textwrap.wrap(text, width, max_lines=_LINES, placeholder=" …")]
    # A dollar sign would begin a formula.
    return "\n".join(lines).replace("$", r"\$")
