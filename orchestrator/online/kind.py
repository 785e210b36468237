"""ERL-VLM as a kind of experiment: the online loop."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from actors.rating.settings import RaterSettings
from actors.rating.similarity.settings import SimilaritySettings
from actors.worlds.settings import TaskSettings
from algorithms.feedback import FeedbackSchedule
from algorithms.ratings import RatingRequest
from orchestrator.online import preflight
from orchestrator.online.settings import OnlineExperiment
from orchestrator.runs.kind import Along, Kind, ScaleTrial, Work
from orchestrator.runs.layout import EVAL_RETURN, EVAL_SUCCESS, WORLD_FILE
from orchestrator.settings.served import as_served
from orchestrator.storage.locations import RemotePath

if TYPE_CHECKING:
    from orchestrator.cluster.placement import Demand
    from orchestrator.runs.plan import Assumed, Plan
    from orchestrator.runs.policies.exporting import ExportedPolicy
    from orchestrator.runs.reading import RunData
    from orchestrator.runs.tracking import ParentRun
    from orchestrator.screen.run_progress import RunProgress


class OnlineKind(Kind):
    """An agent acts, a rater rates, a reward model and a policy learn. Steps are environment steps."""

    name = "online"
    settings = OnlineExperiment
    changeable = preflight.ONLINE_CHANGEABLE
    taken_over = preflight.ONLINE_TAKEN_OVER
    # The pocket rater and a packaged task, folders of the default names.
    example: ClassVar = {"task": "drawer_close", "reward_model": {"network": "small", "image_px": 56}}

    def settled(self, experiment: OnlineExperiment) -> OnlineExperiment:
        """The block `rater`, by the server that it names."""
        if not experiment.asks_rater:
            return experiment
        return experiment.model_copy(update={"rater": as_served(experiment.rater)})

    def check_machine(self, experiments: Sequence[OnlineExperiment]) -> None:
        """Every model, OpenGL, and the disk for all runs together."""
        preflight.check_online(experiments)

    def check_disk(self, experiments: Sequence[OnlineExperiment]) -> None:
        """Checkpoints and pictures."""
        preflight.check_disk(experiments)

    def run(self, experiment: OnlineExperiment, progress: "RunProgress", parent: "ParentRun | None" = None) -> None:
        """Raises SettingsError if the cluster or the model does not fit, and RatingsFailing if the rater fails."""
        from orchestrator.online.asking.rater import ratings_of
        from orchestrator.online.demands import placed

        # What it is made with; what it is called by, and leaves behind, are the settings as they were given.
        here = placed(experiment)
        with ratings_of(here) as ratings:
            # Not before: this brings torch and RLlib, which takes seconds, and meanwhile the rater's model loads.
            from orchestrator.online.launch import run_online

            run_online(experiment, here, ratings, progress, parent)

    def demands(self, experiment: OnlineExperiment) -> "list[Demand]":
        """Rollout workers, learners, and engines unless they are shared."""
        from orchestrator.online.demands import online_demands

        return online_demands(experiment)

    def length(self, experiment: OnlineExperiment) -> int:
        """Environment steps."""
        return experiment.total_env_steps

    def work(self, experiment: OnlineExperiment) -> Work:
        """Ratings by the experiment's own schedule."""
        if not experiment.learns_reward:
            return Work(env_steps=experiment.total_env_steps, ratings=experiment.num_scored)
        schedule = FeedbackSchedule(experiment.feedback, experiment.total_env_steps)
        last = experiment.total_env_steps - 1
        if schedule.due(last):
            schedule.begin(last)
        return Work(env_steps=experiment.total_env_steps, ratings=schedule.num_asked)

    def plan(self, experiment: OnlineExperiment, assumed: "Assumed") -> "Plan":
        """By a calibration of seconds."""
        from orchestrator.online.plan import plan_online

        return plan_online(experiment, assumed)

    def intervals(self, experiment: OnlineExperiment) -> dict[str, int]:
        """Environment steps."""
        return {
            "checkpoint.interval_env_steps": experiment.checkpoint.interval_env_steps,
            "evaluation.interval_env_steps": experiment.evaluation.interval_env_steps,
        }

    def folders(self, experiment: OnlineExperiment) -> dict[str, Path | RemotePath]:
        """Runs and ratings."""
        return {**super().folders(experiment), "ratings_folder": experiment.ratings_folder}

    def rater(self, experiment: OnlineExperiment) -> RaterSettings | None:
        """Its block `rater`; None where the reward comes from elsewhere."""
        return experiment.rater if experiment.asks_rater else None

    def compares_by(self, experiment: OnlineExperiment) -> SimilaritySettings | None:
        """Its block `similarity`; None where the reward comes from elsewhere."""
        return experiment.similarity if experiment.by_similarity else None

    def drawn(self, experiment: OnlineExperiment) -> tuple[TaskSettings, int]:
        """Its block `task`, and the environments of a rollout worker."""
        return experiment.task, experiment.rollout.envs_per_worker

    def asks_of_frames(self, experiment: OnlineExperiment) -> Callable[..., RatingRequest] | None:
        """About a segment that shows some of the frames, evenly spread, or about the first and the last; of a single
        frame, the last."""
        if not experiment.asks_rater:
            return None
        from orchestrator.online.questions import QuestionMaker

        maker = QuestionMaker(experiment)
        num_frames = experiment.num_shown

        def ask(frames: Sequence[bytes], instruction: str = "") -> RatingRequest:
            last = len(frames) - 1
            places = (
                [round(last * place / (num_frames - 1)) for place in range(num_frames)] if num_frames > 1 else [last]
            )
            return maker.question([frames[place] for place in places], 0, False, instruction).request

        return ask

    def choose_scale(
        self, experiment: OnlineExperiment, acting: "RunData | None", wanted: ScaleTrial, out: Path
    ) -> None:
        """About single frames."""
        from orchestrator.online.consistency.command import consistency

        consistency(experiment, acting, wanted, out)

    def seen_px(self, experiment: OnlineExperiment) -> int | None:
        """By its block `reward_model`."""
        return experiment.reward_px

    def policy(self, run: "Path | RemotePath", experiment: OnlineExperiment) -> "ExportedPolicy":
        """The policy of the best evaluation so far."""
        from orchestrator.runs.policies.simulated import best_policy

        path = run / WORLD_FILE
        world = json.loads(path.read_text()) if path.exists() else {}
        return best_policy(run, experiment.task, world)

    def score(self, experiment: OnlineExperiment) -> str:
        """Share of evaluation episodes with success; where that is unknown, the environment's own return."""
        return EVAL_SUCCESS if experiment.task.knows_success else EVAL_RETURN

    def report(self, runs: "Sequence[RunData]", out: Path) -> list[Path]:
        """`results.md`, `results.csv`, `success.png`."""
        from orchestrator.online.report import write_online_report

        return write_online_report(runs, out)

    def along(self, runs: "Sequence[RunData]", wanted: Along, out: Path) -> list[Path]:
        """`reward_along.png` and `.csv`, `rank_correlation.md` and `.csv`."""
        # Here, since it brings torch, Ray and simulators.
        from orchestrator.online.pictures.along_report import write_along

        return write_along(runs, wanted, out)
