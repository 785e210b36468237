"""What the actors of an offline run ask of the cluster."""

from orchestrator.cluster.gpus import OFFLINE_POLICY_SHARE, gpus_by_kind
from orchestrator.cluster.packing import Demand, GpuWish, Resources
from orchestrator.cluster.placement import POLICY_LEARNER, resources_of, settle_for_run
from orchestrator.offline.settings import OfflineExperiment

EVALUATOR = "evaluation worker"
EVALUATOR_DEMAND: Resources = {"CPU": 1.0}


def offline_demands(experiment: OfflineExperiment) -> list[Demand]:
    """Everything that an offline run asks of the cluster beside its driver."""
    gpus = experiment.policy.num_gpus
    wish = GpuWish(OFFLINE_POLICY_SHARE, only_with_gpu=True) if gpus is None else None
    # Without a simulator the policy's learner judges.
    evaluators = (
        [Demand(EVALUATOR, experiment.chains.num_workers, EVALUATOR_DEMAND, "evaluation.num_workers")]
        if experiment.chains is not None
        else []
    )
    if gpus == 0.0:
        return evaluators
    return [*evaluators, Demand(POLICY_LEARNER, 1, resources_of(1.0, gpus, None, {}), "policy.num_gpus", wish)]


def placed(experiment: OfflineExperiment) -> OfflineExperiment:
    """`experiment` with the number of GPUs that its settings leave to the cluster. Ray is connected, unless there is
    nothing to find out.

    Raises SettingsError as `settle_for_run`.
    """
    gpus = gpus_by_kind(settle_for_run(offline_demands(experiment)))
    if experiment.policy.num_gpus is not None:
        return experiment
    policy = experiment.policy.model_copy(update={"num_gpus": gpus.get(POLICY_LEARNER, 0.0)})
    return experiment.model_copy(update={"policy": policy})
