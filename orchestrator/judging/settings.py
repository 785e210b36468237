"""The settings of judging raters: a YAML file plus `key.path=value` overrides."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from actors.rating.settings import RaterSettings
from algorithms.label_settings import LabellerName
from algorithms.settings import Fraction, PositiveInt, Settings
from orchestrator.settings.loading import read_settings, validate
from orchestrator.storage.locations import Location

Negative = Literal["wrong_instruction", "truncated", "reversed"]
NEGATIVES: tuple[Negative, ...] = ("wrong_instruction", "truncated", "reversed")


class JudgeSettings(Settings):
    """Which trajectories are shown to which raters, and how."""

    kind: Literal["judging"] = "judging"
    """Tells the file from those of experiments."""
    data: Path
    """The data set. It is not changed."""
    raters: dict[LabellerName, RaterSettings]
    """Who is asked, by name, one after the other. `mode` says whether a rater analyses before it answers."""
    num_trajectories: PositiveInt = 500
    """Trajectories drawn among those that completed their instruction (published: 500)."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides which trajectories, and which wrong instructions."""
    num_frames: Annotated[int, Field(ge=2, le=64)] = 9
    """Frames shown of a trajectory at most, evenly spread, the first and the last among them."""
    negatives: tuple[Negative, ...] = NEGATIVES
    """What each trajectory is shown as besides, where the answer should be no; the paper has none. `wrong_instruction`:
    with another trajectory's. `truncated`: its beginning. `reversed`: its last frame first."""
    truncated_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    """Share of its actions that a truncated trajectory keeps."""
    ratings_folder: Location = Path("ratings")
    """Store of all answers; what is in it is not asked again. No trainer reads these."""
    tolerated_failure_share: Fraction = 0.2
    """Judging stops with a message once more than this share of a rater's questions fail."""
    out: Path = Path("report/judge")
    """Folder for tables and figure."""

    @model_validator(mode="after")
    def _has_raters(self) -> "JudgeSettings":
        if not self.raters:
            raise ValueError("raters is empty: name at least one, such as raters: {pocket: {model: pocket}}")
        if len(set(self.negatives)) < len(self.negatives):
            raise ValueError(f"negatives {list(self.negatives)} names one twice; leave it out")
        return self


def load_judging(path: Path, overrides: Sequence[str] = ()) -> JudgeSettings:
    """The settings of a judging. Raises SettingsError with field, value, rule and remedy."""
    return validate(JudgeSettings, read_settings(path, overrides), f"Settings of {path} cannot be used")
