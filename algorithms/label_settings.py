"""Settings of labelling recorded trajectories: what a question shows, and how answers become rewards.

The paper (RG-VLM, Lee et al. 2025) fixes the window of 8 actions, its stride and the scale from 0 to 10, and leaves
the rest open; each default says why it is what it is.
"""

from typing import Annotated, Literal

from pydantic import Field

from algorithms.settings import PositiveInt, Settings

LabellerName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
"""Ends the names of columns: `reward_rg_vlm`."""
SparseJoin = Literal["none", "sum", "replace", "max", "clip"]
"""How a sparse reward joins a dense one; see `RewardSettings.sparse`."""


class WindowSettings(Settings):
    """What one question shows of a trajectory."""

    num_actions: Annotated[int, Field(gt=0, le=99)] = 8
    """w: actions in a window; windows do not overlap (published: 8)."""
    last_frame: bool = True
    """Show w + 1 frames, the one after the last action included, as Algorithm 1 has it. False shows the w frames before
    each action, as section III can be read."""
    layout: Literal["grid", "row"] = "grid"
    """Frames row by row in a square grid, 3 x 3 for 9, or all in one row. Unstated in the paper; a square suits vision
    towers best."""
    frame_px: PositiveInt | None = None
    """Height of each frame in the picture; its width follows. Absent: as recorded."""
    short_window: Literal["short", "shifted", "padded"] = "short"
    """What becomes of fewer than w actions at the end. `short` asks about those only, so no frame is made up. `shifted`
    begins earlier, overlaps, and keeps the new scores only. `padded` repeats the last frame and drops the scores of
    what is not there."""


class RewardSettings(Settings):
    """How scores become one column of rewards."""

    normalisation: Literal["unit", "raw", "min_max", "budget"] = "unit"
    """`unit`: score / 10, so that rewards are in [0, 1] as in section II-A; other labellers' scores are divided by the
    top of their scale. `raw`: as they are. `min_max`: each
    trajectory's lowest score becomes 0, its highest 1; all equal become 0. `budget`: each trajectory's rewards sum to
    1, so that longer is not better; all zero stay zero."""
    dense_weight: Annotated[float, Field(gt=0.0)] = 1.0
    """Factor on the normalised scores."""
    sparse: SparseJoin = "none"
    """How the sparse reward of the last action joins: not at all; added (Sparse + RG-VLM); in place of the dense one
    where it is not 0; the larger of both; or added and cut at 1."""
