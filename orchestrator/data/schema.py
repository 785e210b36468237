"""Columns of a trajectory data set, its version, and rows to and from `Trajectory`. docs/datasets.md explains each."""

from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from algorithms.settings import PositiveInt, Settings
from algorithms.trajectories import Trajectory

SCHEMA_VERSION = 1
"""Raised whenever a column changes its name, type or meaning. A data set of a newer version is refused."""

AUDIT, REWARD, SCORE = "audit_", "reward_", "score_"
"""Prefixes of the columns that a data set may have many of."""
SPARSE = "sparse"
"""Name of the labeller that every data set has: its rewards are the column `sparse_reward`."""
LABELLER_PATTERN = r"^[a-z][a-z0-9_]*$"
"""What a labeller may be called: its name becomes a column's."""

STATE_COLUMNS = ("frame", "symbolic")
"""Columns that the row after the last action has too; the others are null there."""


class ActionBounds(Settings):
    """The range of each entry of a continuous action, in the recording's units: what a policy's [-1, 1] stands for."""

    low: tuple[float, ...]
    """Lowest value of each entry."""
    high: tuple[float, ...]
    """Highest value; that of a constant entry is its lowest too."""
    sources: tuple[Literal["data", "recording", "given"], ...]
    """Where each entry's bounds are from: the set's actions, what the recording says of itself, or who set them."""

    @model_validator(mode="after")
    def _in_order(self) -> "ActionBounds":
        if not len(self.low) == len(self.high) == len(self.sources):
            raise ValueError(f"{len(self.low)} lowest, {len(self.high)} highest values, {len(self.sources)} sources")
        for low, high in zip(self.low, self.high, strict=True):
            if low > high:
                raise ValueError(f"low {low} is above high {high}")
        return self


class ActionSpace(Settings):
    """What an action is."""

    kind: Literal["discrete", "continuous"]
    """`discrete`: a number. `continuous`: a vector."""
    names: tuple[str, ...]
    """Of a discrete action by number; of each entry of a continuous one."""
    bounds: ActionBounds | None = None
    """Of continuous actions; null in sets that were made before bounds were noted."""

    @model_validator(mode="after")
    def _bounds_fit(self) -> "ActionSpace":
        if self.bounds is not None and self.kind == "discrete":
            raise ValueError("discrete actions have no bounds")
        if self.bounds is not None and len(self.bounds.low) != len(self.names):
            raise ValueError(f"bounds of {len(self.bounds.low)} entries, but there are {len(self.names)} names")
        return self

    @property
    def arrow(self) -> pa.DataType:
        """Type of the column `action`."""
        return pa.int32() if self.kind == "discrete" else pa.list_(pa.float32())


class Origin(Settings):
    """What a set was made from, so that its making never goes on with something else."""

    name: str = ""
    """Name of the source's folder; empty where settings alone make the set."""
    digest: str = ""
    """sha256 of what is read of the source (`importing.digest_of`); empty where settings alone make the set."""
    rule: PositiveInt
    """Raised whenever the same source and settings would give other episodes than before."""


class DatasetInfo(Settings):
    """What stands in `metadata.json` beside the parts."""

    schema_version: PositiveInt = SCHEMA_VERSION
    """Version of the columns."""
    name: Annotated[str, Field(min_length=1)]
    """Short name, for tables and figures."""
    source: str
    """Where the trajectories come from: `babyai`, `alfred`, `lerobot`, or yours."""
    actions: ActionSpace
    """What an action is."""
    frame_px: tuple[PositiveInt, PositiveInt] | None = None
    """Height and width of every frame; null where they differ."""
    symbolic_shape: tuple[PositiveInt, ...] | None = None
    """Shape of the uint8 array in `symbolic`; null where there is no such column."""
    audits: dict[str, Literal["bool", "int", "float"]] = Field(default_factory=dict)
    """Audit columns, by name without `audit_`, and their types."""
    has_action_objects: bool = False
    """Whether there is a column `action_object`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """What made the set: the generator's or the importer's settings."""
    origin: Origin | None = None
    """What the set was made from; null in sets that were made before this was noted, or by programs that do not."""
    num_episodes: Annotated[int, Field(ge=0)] = 0
    """Episodes in all parts."""
    num_transitions: Annotated[int, Field(ge=0)] = 0
    """Actions in all parts."""
    num_parts: Annotated[int, Field(ge=0)] = 0
    """Files that hold them."""
    complete: bool = False
    """False while the set is being written."""
    labels: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By labeller: its settings, the model that answered, and how many actions it labelled."""


BABYAI_RULE = 2
"""For `Origin.rule`. With 2 a sub-task may name what is in hand, and things are where they are now."""
ALFRED_RULE = 2
"""Likewise. With 2 pictures go by the list that they fit, ten of the end may follow, slices may share a sentence."""

_CHANGED_SINCE = {
    "babyai": (
        BABYAI_RULE,
        "chains that name what is in hand, which could not be completed then, are missing in it. Its episodes are read "
        "as they are. `likert run` judges by tasks of today's rules: compare its results with no earlier version's",
    ),
    "alfred": (
        ALFRED_RULE,
        "demonstrations were not compared with the number of their pictures then, and sentences that slices share not "
        "known: some may show other moments, or be told in another skill's words. Import it again for a set without",
    ),
}


def made_by_older_rules(info: DatasetInfo) -> str | None:
    """What is to be known of a set if today's rules would make another one; else None."""
    rule, changed = _CHANGED_SINCE.get(info.source, (0, ""))
    if (info.origin.rule if info.origin else 0) >= rule:
        return None
    return f"it was made by an older likert-rl ({info.source}, by other rules): {changed} (docs/datasets.md)"


_AUDIT_TYPES = {"bool": pa.bool_(), "int": pa.int32(), "float": pa.float32()}


def arrow_schema(info: DatasetInfo) -> pa.Schema:
    """Columns of a set without labels, in order."""
    fields = [
        pa.field("episode_id", pa.string(), nullable=False),
        pa.field("t", pa.int32(), nullable=False),
        pa.field("frame", pa.binary()),
        pa.field("instruction", pa.string()),
        pa.field("action", info.actions.arrow),
        pa.field("action_name", pa.string()),
        pa.field("sparse_reward", pa.float32()),
        pa.field("terminated", pa.bool_()),
        pa.field("truncated", pa.bool_()),
    ]
    if info.has_action_objects:
        fields.append(pa.field("action_object", pa.string()))
    if info.symbolic_shape is not None:
        fields.append(pa.field("symbolic", pa.binary()))
    fields += [pa.field(AUDIT + name, _AUDIT_TYPES[kind]) for name, kind in info.audits.items()]
    return pa.schema(fields)


def rows_of(trajectory: Trajectory, info: DatasetInfo) -> pa.Table:
    """T + 1 rows: one for each action, and one for the observation after the last.

    Raises ValueError if the trajectory does not fit the set.
    """
    length = len(trajectory)
    _check_lengths(trajectory, info)
    columns: dict[str, list[Any]] = {
        "episode_id": [trajectory.episode_id] * (length + 1),
        "t": list(range(length + 1)),
        "frame": list(trajectory.frames),
        "instruction": [trajectory.instruction] * (length + 1),
        "action": [*trajectory.actions.tolist(), None],
        "action_name": [*trajectory.action_names, None],
        "sparse_reward": [*trajectory.sparse_rewards.tolist(), None],
        "terminated": [*trajectory.terminated.tolist(), None],
        "truncated": [*trajectory.truncated.tolist(), None],
    }
    if info.has_action_objects:
        columns["action_object"] = [*trajectory.action_objects, None]
    if trajectory.symbolic is not None and info.symbolic_shape is not None:
        columns["symbolic"] = [state.tobytes() for state in np.ascontiguousarray(trajectory.symbolic)]
    for name in info.audits:
        columns[AUDIT + name] = [*trajectory.audits[name].tolist(), None]
    return pa.table(columns, schema=arrow_schema(info))


def trajectory_of(rows: pa.Table, info: DatasetInfo) -> Trajectory:
    """The trajectory of one episode's rows, which `check.structure_problems` has nothing against.

    Columns that were not read are left empty.
    """
    names = rows.column_names
    actions = rows.slice(0, rows.num_rows - 1)
    kind = np.int64 if info.actions.kind == "discrete" else np.float32

    def column(name: str, dtype: Any) -> np.ndarray:
        return np.array(actions[name].to_pylist(), dtype=dtype)

    def labels(prefix: str) -> dict[str, np.ndarray]:
        found = [name for name in names if name.startswith(prefix)]
        # Null becomes NaN.
        return {name.removeprefix(prefix): column(name, np.float32) for name in found}

    return Trajectory(
        episode_id=rows["episode_id"][0].as_py(),
        instruction=rows["instruction"][0].as_py(),
        actions=column("action", kind),
        action_names=tuple(actions["action_name"].to_pylist()),
        sparse_rewards=column("sparse_reward", np.float32),
        terminated=column("terminated", np.bool_),
        truncated=column("truncated", np.bool_),
        frames=tuple(rows["frame"].to_pylist()) if "frame" in names else (),
        symbolic=_symbolic(rows, info) if "symbolic" in names else None,
        action_objects=tuple(actions["action_object"].to_pylist()) if "action_object" in names else (),
        audits={name.removeprefix(AUDIT): actions[name].to_numpy() for name in names if name.startswith(AUDIT)},
        rewards=labels(REWARD),
        scores=labels(SCORE),
    )


def _symbolic(rows: pa.Table, info: DatasetInfo) -> np.ndarray:
    joined = b"".join(rows["symbolic"].to_pylist())
    return np.frombuffer(joined, dtype=np.uint8).reshape(rows.num_rows, *(info.symbolic_shape or ()))


def _check_lengths(trajectory: Trajectory, info: DatasetInfo) -> None:
    length = len(trajectory)
    found = {
        "frames": (len(trajectory.frames), length + 1),
        "action_names": (len(trajectory.action_names), length),
        "sparse_rewards": (len(trajectory.sparse_rewards), length),
        "terminated": (len(trajectory.terminated), length),
        "truncated": (len(trajectory.truncated), length),
    }
    if info.symbolic_shape is not None:
        shape = () if trajectory.symbolic is None else trajectory.symbolic.shape
        found["symbolic"] = (shape, (length + 1, *info.symbolic_shape))
    if info.has_action_objects:
        found["action_objects"] = (len(trajectory.action_objects), length)
    for name in info.audits:
        found[f"audit {name}"] = (len(trajectory.audits.get(name, ())), length)
    for name, (has, wants) in found.items():
        if has != wants:
            raise ValueError(f"episode {trajectory.episode_id}: {name} has {has}, but {length} actions want {wants}")
    if not length:
        raise ValueError(f"episode {trajectory.episode_id} has no action")
