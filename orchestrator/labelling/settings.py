"""The settings of one labelling: a YAML file plus `key.path=value` overrides."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from actors.rating.labellers.settings import LabellerSettings, RgVlmLabeller
from actors.rating.settings import RaterSettings
from algorithms.label_settings import LabellerName, RewardSettings, WindowSettings
from algorithms.scores import ScoringMode
from algorithms.settings import Fraction, PositiveInt, Settings
from orchestrator.settings.loading import read_settings, validate
from orchestrator.storage.locations import Location

NotNegative = Annotated[float, Field(ge=0.0)]


OF_ALL = {"kind", "data", "name", "labeller"}
OF_RATER = {"rewards", "rater", "ratings_folder", "tolerated_failure_share", "price"}
USED_BY = {
    "clip": OF_ALL | {"rewards"},
    "blip2": OF_ALL | {"rewards"},
    "video": OF_ALL | {"rewards"},
    "roboclip": OF_ALL | {"rewards"},
    "gvl": OF_ALL | OF_RATER,
    "topreward": OF_ALL | OF_RATER,
    "likert": OF_ALL | OF_RATER,
    "random": OF_ALL,
    "truth": OF_ALL | {"rewards"},
}
"""Fields that a labeller looks at; RG-VLM looks at all."""


class PriceSettings(Settings):
    """What asking costs, for the estimate and the count while it runs; in any currency."""

    per_million_prompt_tokens: NotNegative = 0.0
    """Price of reading."""
    per_million_completion_tokens: NotNegative = 0.0
    """Price of writing."""
    per_hour: NotNegative = 0.0
    """Price of the machines, for each hour that labelling takes."""


class LabelSettings(Settings):
    """Which trajectories are labelled, what is asked about them, of whom, and which columns the answers become."""

    kind: Literal["labelling"] = "labelling"
    """Tells the file from those of experiments."""
    data: Path
    """The data set; the columns are added to its parts."""
    labeller: LabellerSettings = RgVlmLabeller()
    """What labels: RG-VLM, or one that it is compared with. For another than RG-VLM, `name` and the one entry of
    `rewards` are its kind where they are left out, and fields that it does not use are refused."""
    name: LabellerName = "rg_vlm"
    """The scores become the column `score_<name>`."""
    mode: ScoringMode = "two_turn"
    """`two_turn`: analyse, then score in the same conversation (published). `single_turn`: score at once. `logits`: for
    each action one forward pass, which gives the probability of every score; the score is their mean."""
    window: WindowSettings = WindowSettings()
    """What one question shows."""
    rewards: dict[LabellerName, RewardSettings] = Field(default_factory=lambda: {"rg_vlm": RewardSettings()})
    """Columns `reward_<name>` made of the scores; a policy learns from one of them."""
    rater: RaterSettings = RaterSettings()
    """Who is asked."""
    ratings_folder: Location = Path("ratings")
    """Store of all answers, a folder or an address such as `s3://bucket/ratings`; labellings may share it."""
    tolerated_failure_share: Fraction = 0.2
    """Labelling stops with a message once more than this share of its questions fail."""
    num_readers: PositiveInt = 1
    """Processes that read trajectories and draw pictures, on one processor each."""
    price: PriceSettings = PriceSettings()
    """What asking costs."""

    @model_validator(mode="before")
    @classmethod
    def _fit_the_labeller(cls, given: Any) -> Any:
        labeller = given.get("labeller") if isinstance(given, dict) else None
        kind = labeller.get("kind") if isinstance(labeller, Mapping) else getattr(labeller, "kind", None)
        # A kind that does not exist is for pydantic to complain about.
        if not isinstance(kind, str) or kind not in USED_BY:
            return given
        unused = [name for name in cls.model_fields if name in given and name not in USED_BY[kind]]
        if unused:
            raise ValueError(
                f"{unused[0]} means nothing to labeller.kind {kind!r}: leave it out; a file of its own is best, "
                f"such as tune_configs/rg_vlm/labellers/{kind}.yaml"
            )
        name = given.get("name", kind)
        raw = {name: {"normalisation": "raw"}} if kind == "random" else {name: {}}
        return {"name": name, "rewards": raw} | given

    @model_validator(mode="after")
    def _has_columns(self) -> "LabelSettings":
        if not self.rewards:
            raise ValueError("rewards is empty: name at least one column, such as rewards: {rg_vlm: {}}")
        if "sparse" in self.rewards or self.name == "sparse":
            raise ValueError("'sparse' names the reward that every data set has; choose another name")
        return self

    def digest(self, model: str, revision: str, prompt_version: str) -> str:
        """Stands for all that decides what the columns hold, the weights that answer included."""
        facts = {
            "mode": self.mode,
            "window": self.window.model_dump(mode="json"),
            "rewards": {name: reward.model_dump(mode="json") for name, reward in self.rewards.items()},
            "sampling": vars(self.rater.sampling),
            "model": [model, revision],
            "prompt": prompt_version,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def load_labelling(path: Path, overrides: Sequence[str] = ()) -> LabelSettings:
    """The settings of a labelling. Raises SettingsError with field, value, rule and remedy."""
    return validate(LabelSettings, read_settings(path, overrides), f"Settings of {path} cannot be used")
