"""What the actors of an offline run ask of the cluster."""

from orchestrator.cluster.placement import POLICY_LEARNER, Demand, Resources
from orchestrator.offline.settings import OfflineExperiment

EVALUATOR = "evaluation worker"
EVALUATOR_DEMAND: Resources = {"CPU": 1.0}


def offline_demands(experiment: OfflineExperiment) -> list[Demand]:
    """Everything that an offline run asks of the cluster beside its driver."""
    gpus = experiment.policy.num_gpus
    return [
        Demand(EVALUATOR, experiment.evaluation.num_workers, EVALUATOR_DEMAND, "evaluation.num_workers"),
        *([Demand(POLICY_LEARNER, 1, {"CPU": 1.0, "GPU": gpus}, "policy.num_gpus")] if gpus else []),
    ]
