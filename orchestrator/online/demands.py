"""What the actors of an online run ask of the cluster."""

from orchestrator.cluster.placement import POLICY_LEARNER, Demand, Resources, raters_demand, resources_of
from orchestrator.online.settings import OnlineExperiment

WORKER = "rollout worker"
LEARNER = "reward learner"


def worker_demand(experiment: OnlineExperiment) -> Resources:
    """Ray resources of one rollout worker."""
    settings = experiment.rollout
    return resources_of(settings.num_cpus, settings.num_gpus, settings.accelerator_type, settings.resources)


def learner_demand(experiment: OnlineExperiment) -> Resources:
    """Ray resources of the reward-model learner."""
    settings = experiment.reward_model
    return resources_of(1.0, settings.num_gpus, settings.accelerator_type, settings.resources)


def policy_demand(experiment: OnlineExperiment) -> Resources:
    """Ray resources of the policy's learner where it is an actor of its own, as it is with a GPU."""
    settings = experiment.policy
    if not settings.num_gpus:
        return {}
    return resources_of(1.0, settings.num_gpus, settings.accelerator_type, settings.resources)


def online_demands(experiment: OnlineExperiment) -> list[Demand]:
    """Everything that a run asks of the cluster beside its driver. A shared rating server has a place of its own."""
    workers = "rollout.num_workers, rollout.num_cpus, rollout.num_gpus, rollout.accelerator_type or rollout.resources"
    block = "{0}.num_gpus, {0}.accelerator_type or {0}.resources"
    policy = policy_demand(experiment)
    return [
        *([] if experiment.rater.server else [raters_demand(experiment.rater)]),
        Demand(LEARNER, 1, learner_demand(experiment), block.format("reward_model")),
        *([Demand(POLICY_LEARNER, 1, policy, block.format("policy"))] if policy else []),
        Demand(WORKER, experiment.rollout.num_workers, worker_demand(experiment), workers),
    ]
