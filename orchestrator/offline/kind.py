"""RG-VLM as a kind of experiment: a policy from labelled data."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.offline.settings import OfflineExperiment
from orchestrator.runs.kind import Kind, Work
from orchestrator.runs.layout import CHAINS_SCORE_NAME, HELD_OUT_SCORE_NAME, chain_metric, held_out_metric

if TYPE_CHECKING:
    from orchestrator.cluster.placement import Demand
    from orchestrator.runs.plan import Assumed, Plan
    from orchestrator.runs.policies.exporting import ExportedPolicy
    from orchestrator.runs.reading import RunData
    from orchestrator.runs.tracking import ParentRun
    from orchestrator.screen.run_progress import RunProgress
    from orchestrator.storage.locations import RemotePath


class OfflineKind(Kind):
    """IQL learns from a labelled data set, and is judged by chains of sub-tasks or by held-out episodes. Steps are
    gradient steps."""

    name = "offline"
    settings = OfflineExperiment
    unit = "updates"
    changeable = (
        "total_updates",
        "runs_folder",
        "checkpoint",
        "tracking",
        "evaluation.num_workers",
        "evaluation.thor.build",
        "evaluation.thor.timeout_s",
        "policy.num_gpus",
    )
    # A trial may take no longer than its process takes to start.
    reuses_process = True

    def check_machine(self, experiments: Sequence[OfflineExperiment]) -> None:
        """Every run's data and labels."""
        from orchestrator.offline.preflight import check_offline

        for experiment in experiments:
            check_offline(experiment)

    def run(self, experiment: OfflineExperiment, progress: "RunProgress", parent: "ParentRun | None" = None) -> None:
        """Raises SettingsError if the cluster or the data does not fit."""
        # Here, since it brings torch and RLlib.
        from orchestrator.offline.launch import run_offline

        run_offline(experiment, progress, parent)

    def demands(self, experiment: OfflineExperiment) -> "list[Demand]":
        """Evaluation workers, and a learner with a GPU."""
        from orchestrator.offline.demands import offline_demands

        return offline_demands(experiment)

    def length(self, experiment: OfflineExperiment) -> int:
        """Gradient steps."""
        return experiment.total_updates

    def work(self, experiment: OfflineExperiment) -> Work:
        """Gradient steps alone; evaluation is not counted."""
        return Work(updates=experiment.total_updates)

    def plan(self, experiment: OfflineExperiment, assumed: "Assumed") -> "Plan":
        """By a moment of learning; nobody rates."""
        from orchestrator.offline.plan import plan_offline

        return plan_offline(experiment)

    def policy(self, run: "Path | RemotePath", experiment: OfflineExperiment) -> "ExportedPolicy":
        """The final policy; of a run that is not at its end, that of the newest checkpoint."""
        from orchestrator.runs.policies.exporting import ExportedPolicy, newest_weights
        from orchestrator.runs.policies.language import player_weights, read_about

        about = read_about(run)
        weights, where = newest_weights(run)
        return ExportedPolicy(
            player_weights(weights, about["actions"]), {**about, "run": {"name": run.name, "weights": where}}
        )

    def score(self, experiment: OfflineExperiment) -> str:
        """Proportion of sub-tasks completed, from the last of the experiment's starts; without a simulator, how well
        its actions agree with those of held-out episodes."""
        if experiment.chains is None:
            return held_out_metric("agreement")
        return chain_metric(experiment.chains.starts[-1], "proportion")

    def score_name(self, experiment: OfflineExperiment) -> str:
        """As a run's progress calls it."""
        return HELD_OUT_SCORE_NAME if experiment.chains is None else CHAINS_SCORE_NAME

    def report(self, runs: "Sequence[RunData]", out: Path) -> list[Path]:
        """`chains.md`, `chains.csv`, `chains.png`; of runs without a simulator `held_out.md` and so on."""
        from orchestrator.offline.held_out.report import write_held_out_report
        from orchestrator.offline.report import write_offline_report

        judged_by_chains = [run for run in runs if run.experiment.chains is not None]
        others = [run for run in runs if run.experiment.chains is None]
        paths = write_offline_report(judged_by_chains, out) if judged_by_chains else []
        return paths + (write_held_out_report(others, out) if others else [])
