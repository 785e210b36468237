"""What the rest of the house asks of a kind of experiment. `orchestrator.kinds` has the list of them.

Nothing here is heavy to import: the settings of a file are checked before torch, Ray or a simulator is loaded.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from actors.rating.settings import RaterSettings
from actors.rating.similarity.settings import SimilaritySettings
from actors.worlds.settings import TaskSettings
from algorithms.ratings import RatingRequest
from orchestrator.errors import SettingsError
from orchestrator.runs.layout import EVAL_RETURN, EVAL_SUCCESS
from orchestrator.runs.same_run import check_same_run
from orchestrator.settings.experiment import Experiment
from orchestrator.storage.locations import RemotePath

if TYPE_CHECKING:
    from orchestrator.cluster.placement import Demand
    from orchestrator.runs.plan import Assumed, Plan
    from orchestrator.runs.policies.exporting import ExportedPolicy
    from orchestrator.runs.reading import RunData
    from orchestrator.runs.tracking import ParentRun
    from orchestrator.screen.run_progress import RunProgress


@dataclass(frozen=True)
class Work:
    """What a run does, at most."""

    env_steps: int = 0
    updates: int = 0
    """Gradient steps of an offline run; those of an online run go with its environment steps."""
    ratings: int = 0
    """Questions asked; those whose answers are in the store, or that another run asks too, cost nothing."""


@dataclass(frozen=True)
class ScaleTrial:
    """How much is asked to choose a scale."""

    trajectories: int = 5
    frames: int = 20
    """Of each trajectory."""
    repeats: int = 1
    """Rounds of questions; more than one only for a rater that does not answer by its likeliest word."""
    recorded: Path | None = None
    """A data set whose episodes are asked about, in place of ones that somebody acts."""


@dataclass(frozen=True)
class Along:
    """Trajectories that succeed, along which rewards are drawn."""

    who: Literal["expert", "best"]
    """Who acts: the world's expert, or where it has none the best policy; or the best policy in any case."""
    trajectories: int = 10


class Kind(ABC):
    """A kind of experiment. Methods take experiments of its own settings class; heavy imports stand inside them."""

    settings: ClassVar[type[Experiment]]
    """Its settings class. What the class has as `kind` is the kind's name."""
    name: ClassVar[str]
    """What the field `kind` of a settings file says."""
    unit: ClassVar[str] = "env steps"
    """What its steps are, for people."""
    changeable: ClassVar[Sequence[str]] = ("runs_folder", "checkpoint", "tracking")
    """Settings, or blocks of them, that a resumed run may change: they change no result that is there already."""
    taken_over: ClassVar[Sequence[str]] = ()
    """Fields that may have other values when a run goes on from another one's checkpoint, as population-based training
    has it; none: its runs cannot."""
    example: ClassVar[Mapping[str, Any]] = {}
    """Settings of a small one, but for its name: what is looked at where no file is given."""
    reuses_process: ClassVar[bool] = False
    """Whether a process may run one trial of a sweep after another, which saves starting it; else its end frees all
    that it held."""

    def settled(self, experiment: Any) -> Any:
        """The experiment with what others decide of its settings: a likert server how its weights are run.

        Raises SettingsError if they do not agree.
        """
        return experiment

    # ------------------------------------------------------------------------------------------------ checks

    def check(self, experiment: Any) -> None:
        """Raise SettingsError, with the remedy, if this experiment cannot be run, or not in its folder."""
        self.check_machine([experiment])
        self.check_same_run(experiment)

    def check_same_run(self, experiment: Any) -> None:
        """Raise SettingsError if its folder holds a run with other settings."""
        check_same_run(experiment, self.changeable)

    @abstractmethod
    def check_machine(self, experiments: Sequence[Any]) -> None:
        """Raise SettingsError, with the remedy, if this machine cannot run all of these, which share their folders."""

    def check_disk(self, experiments: Sequence[Any]) -> None:
        """Raise SettingsError if a disk has less room than all of these may fill; where that is known."""
        return None

    # ------------------------------------------------------------------------------------------------ running

    @abstractmethod
    def run(self, experiment: Any, progress: "RunProgress", parent: "ParentRun | None" = None) -> None:
        """Run to the end, from the newest checkpoint in the run's folder, in this process; Ray is connected.

        With `parent` it is a trial of a sweep, and MLflow shows it below the sweep.
        """

    @abstractmethod
    def demands(self, experiment: Any) -> "list[Demand]":
        """What it asks of the cluster beside its own process."""

    @abstractmethod
    def length(self, experiment: Any) -> int:
        """Steps to its end, as its progress and its metrics count them."""

    @abstractmethod
    def work(self, experiment: Any) -> Work:
        """What it does."""

    def plan(self, experiment: Any, assumed: "Assumed") -> "Plan":
        """About how long it will take, from a calibration of seconds, and what it asks.

        Ray is connected, and nothing is written. A kind that does not tell says only where its actors go.
        """
        from orchestrator.runs.plan import Plan

        return Plan()

    def intervals(self, experiment: Any) -> dict[str, int]:
        """Steps between its checkpoints and between its evaluations, by setting; where its runs are `taken_over`."""
        return {}

    # ------------------------------------------------------------------------------------------------ what it uses

    def folders(self, experiment: Any) -> dict[str, Path | RemotePath]:
        """Folders that it writes to, by setting."""
        return {"runs_folder": experiment.runs_folder}

    def rater(self, experiment: Any) -> RaterSettings | None:
        """Who rates while it runs; None where nobody does."""
        return None

    def compares_by(self, experiment: Any) -> SimilaritySettings | None:
        """The model that compares frames with sentences while it runs; None where none does."""
        return None

    def drawn(self, experiment: Any) -> tuple[TaskSettings, int] | None:
        """The task whose frames it draws, and environments that one process draws in turn; None where it draws none."""
        return None

    def asks_of_frames(self, experiment: Any) -> Callable[..., RatingRequest] | None:
        """What words the request about frames, PNG files in time order, and if given the instruction of their episode,
        to its rater; None where nobody is asked about frames."""
        return None

    def seen_px(self, experiment: Any) -> int | None:
        """Side of the frames that a reward model sees; None where none sees any."""
        return None

    def choose_scale(self, experiment: Any, acting: "RunData | None", wanted: ScaleTrial, out: Path) -> None:
        """Try the rater on every scale along trajectories, and write into `out` which to take. `acting` is a run whose
        best policy acts. Raises SettingsError where ratings have no scale to choose."""
        raise SettingsError(f"an experiment of the kind {self.name!r} has no scale of ratings to choose")

    # ------------------------------------------------------------------------------------------------ what it reached

    def policy(self, run: Path | RemotePath, experiment: Any) -> "ExportedPolicy":
        """The policy of the run in this folder, as `player.py` plays it. Raises SettingsError if it has none yet."""
        raise SettingsError(f"{run}: runs of the kind {self.name!r} cannot be exported")

    @abstractmethod
    def score(self, experiment: Any) -> str:
        """The metric by which runs are compared; higher is better. It is in [0, 1] but for returns."""

    def score_name(self, experiment: Any) -> str:
        """What `score` is called where people read it."""
        score = self.score(experiment)
        return {EVAL_SUCCESS: "success", EVAL_RETURN: "return"}.get(score, score)

    @abstractmethod
    def report(self, runs: "Sequence[RunData]", out: Path) -> list[Path]:
        """Write tables and figures of runs of this kind into `out`, and each run's own figures into its folder.

        Returns the paths. Raises SettingsError if no run has been evaluated.
        """

    def along(self, runs: "Sequence[RunData]", wanted: Along, out: Path) -> list[Path]:
        """Draw what these runs pay along trajectories that succeed, beside true progress, into `out` and their folders.

        Returns the paths; none where a kind's rewards are not of a world that can be acted in. Raises SettingsError if
        nobody can act, or no run says what it pays.
        """
        return []
