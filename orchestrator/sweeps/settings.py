"""What a sweep's file holds beside the experiment: the blocks `search` and `sweep`."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from algorithms.settings import Fraction, PositiveFloat, PositiveInt, Settings
from orchestrator.runs.plan import RATINGS_PER_S

Options = Annotated[tuple[Any, ...], Field(min_length=1)]
NamedOptions = Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


class SearchEntry(Settings):
    """What values one field takes, or one name that stands for several fields. Exactly one of these is given."""

    grid: Options | NamedOptions | None = None
    """Every one of these values. Named options set several fields together: {mae: {reward_model.loss: mae}}."""
    choice: Options | NamedOptions | None = None
    """One of these values, drawn."""
    uniform: tuple[float, float] | None = None
    """A number between these two, drawn."""
    loguniform: tuple[PositiveFloat, PositiveFloat] | None = None
    """A number between these two, drawn so that its logarithm is uniform."""
    integers: tuple[int, int] | None = None
    """A whole number from the first to the last of these two, both included, drawn."""

    @model_validator(mode="after")
    def _is_one(self) -> "SearchEntry":
        given = sorted(name for name in SearchEntry.model_fields if getattr(self, name) is not None)
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of {', '.join(SearchEntry.model_fields)}; here: {', '.join(given) or 'none'}"
            )
        bounds = self.uniform or self.loguniform or self.integers
        if bounds and bounds[0] >= bounds[1]:
            raise ValueError(f"{given[0]} goes from {bounds[0]:g} to {bounds[1]:g}; the first must be the lower one")
        if bounds and not math.isfinite(bounds[1] - bounds[0]):
            raise ValueError(f"{given[0]} goes from {bounds[0]:g} to {bounds[1]:g}, which is too far to draw from")
        options = self.grid or self.choice or ()
        if len({repr(option) for option in options}) < len(options):
            raise ValueError(f"{given[0]} holds a value twice; remove one")
        return self

    @property
    def drawn(self) -> bool:
        """Whether its values are drawn rather than enumerated."""
        return self.grid is None


class BudgetSettings(Settings):
    """Where a sweep stops before its trials are done; `likert sweep --resume` goes on with a larger budget."""

    hours: PositiveFloat | None = None
    """Time of all launches of the sweep together."""
    ratings: PositiveInt | None = None
    """Questions put to the model; those answered from the store are free."""
    trials: PositiveInt | None = None
    """Trials that come to their end."""


class AshaSettings(Settings):
    """Asynchronous successive halving (Li et al. 2020): trials that are behind stop early."""

    grace_env_steps: PositiveInt = 10_000
    """Environment steps that every trial gets."""
    reduction_factor: Annotated[float, Field(gt=1.0)] = 3.0
    """At each rung, the best one in so many goes on; rungs lie this factor apart."""


class PbtSettings(Settings):
    """Population-based training (Jaderberg et al. 2017): trials that are behind take over better ones, changed."""

    interval_env_steps: PositiveInt = 20_000
    """Environment steps between comparisons; no less than between checkpoints, which are what is taken over."""
    quantile: Annotated[float, Field(gt=0.0, le=0.5)] = 0.25
    """Share of the trials that is replaced, and that is taken over."""
    resample_probability: Fraction = 0.25
    """How often a value is drawn anew; else it is multiplied by 0.8 or 1.2, or moves to a neighbouring option."""


class EstimateSettings(Settings):
    """Assumptions of `--dry-run`. Measure a short run of yours and set them."""

    env_steps_per_s: PositiveFloat = 60.0
    """Environment steps a second of one trial, its policy updates included and its ratings not."""
    updates_per_s: PositiveFloat = 30.0
    """Gradient steps a second of one offline trial."""
    ratings_per_s: PositiveFloat = RATINGS_PER_S
    """Ratings a second of one replica of the rating server."""
    gpus_per_replica: Annotated[float, Field(ge=0.0)] = 1.0
    """GPUs of a replica whose settings leave `rater.num_gpus` to the cluster; an endpoint has none."""
    gpu_hour_price: Annotated[float, Field(ge=0.0)] = 2.0
    """Price of an hour of one GPU, in whatever currency."""
    cpu_hour_price: Annotated[float, Field(ge=0.0)] = 0.04
    """Price of an hour of one processor."""


class SweepSettings(Settings):
    """How a sweep is run."""

    concurrency: PositiveInt | None = None
    """Trials at once; absent: as many as the processors and GPUs of the cluster hold."""
    num_samples: PositiveInt = 1
    """Draws of the searched fields that are drawn; each meets every point of the grid."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of these draws."""
    scheduler: Literal["none", "asha", "pbt"] = "none"
    """`none`: every trial runs to its end, as a study needs. `asha` and `pbt` look for one good setting."""
    asha: AshaSettings = AshaSettings()
    pbt: PbtSettings = PbtSettings()
    budget: BudgetSettings = BudgetSettings()
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often a trial that fails, or whose process dies, is started again from its last checkpoint."""
    estimate: EstimateSettings = EstimateSettings()
