"""What the actors of an online run ask of the cluster."""

from orchestrator.cluster.gpus import POLICY_SHARE, REWARD_LEARNER_SHARE, SIMILARITY_SHARE, gpus_by_kind
from orchestrator.cluster.packing import Demand, GpuWish, Resources
from orchestrator.cluster.placement import POLICY_LEARNER, RATING_REPLICA, raters_demand, resources_of, settle_for_run
from orchestrator.online.settings import OnlineExperiment

WORKER = "rollout worker"
LEARNER = "reward learner"
SIMILARITY = "similarity model"


def worker_demand(experiment: OnlineExperiment) -> Resources:
    """Ray resources of one rollout worker."""
    settings = experiment.rollout
    return resources_of(settings.num_cpus, settings.num_gpus, settings.accelerator_type, settings.resources)


def learner_demand(experiment: OnlineExperiment) -> Resources:
    """Ray resources of the reward-model learner."""
    settings = experiment.reward_model
    return resources_of(1.0, settings.num_gpus, settings.accelerator_type, settings.resources)


def similarity_demand(experiment: OnlineExperiment) -> Resources:
    """Ray resources of the model that compares pictures with sentences."""
    settings = experiment.similarity
    return resources_of(1.0, settings.num_gpus, settings.accelerator_type, settings.resources)


def policy_demand(experiment: OnlineExperiment) -> Resources:
    """Ray resources of the policy's learner where it is an actor of its own, as it is with a GPU."""
    settings = experiment.policy
    return resources_of(1.0, settings.num_gpus, settings.accelerator_type, settings.resources)


def online_demands(experiment: OnlineExperiment) -> list[Demand]:
    """Everything that a run asks of the cluster beside its driver. A shared rating server has a place of its own."""
    workers = "rollout.num_workers, rollout.num_cpus, rollout.num_gpus, rollout.accelerator_type or rollout.resources"
    block = "{0}.num_gpus, {0}.accelerator_type or {0}.resources"
    learner = GpuWish(REWARD_LEARNER_SHARE) if experiment.reward_model.num_gpus is None else None
    similarity = GpuWish(SIMILARITY_SHARE) if experiment.similarity.num_gpus is None else None
    policy = GpuWish(POLICY_SHARE, only_with_gpu=True) if experiment.policy.num_gpus is None else None
    own_rater = experiment.asks_rater and not experiment.rater.server
    demands = [
        *([raters_demand(experiment.rater)] if own_rater else []),
        *(
            [Demand(LEARNER, 1, learner_demand(experiment), block.format("reward_model"), learner)]
            if experiment.learns_reward
            else []
        ),
        *(
            [Demand(SIMILARITY, 1, similarity_demand(experiment), block.format("similarity"), similarity)]
            if experiment.by_similarity
            else []
        ),
        Demand(WORKER, experiment.rollout.num_workers, worker_demand(experiment), workers),
    ]
    if experiment.policy.num_gpus != 0.0:
        demands.append(Demand(POLICY_LEARNER, 1, policy_demand(experiment), block.format("policy"), policy))
    return demands


def placed(experiment: OnlineExperiment) -> OnlineExperiment:
    """`experiment` with every number of GPUs that its settings leave to the cluster. Ray is connected, unless there is
    nothing to find out. Raises SettingsError as `settle_for_run`."""
    gpus = gpus_by_kind(settle_for_run(online_demands(experiment)))
    blocks = {"rater": RATING_REPLICA, "reward_model": LEARNER, "similarity": SIMILARITY, "policy": POLICY_LEARNER}
    found = {}
    for name, kind in blocks.items():
        block = getattr(experiment, name)
        if block.num_gpus is None and not (name == "rater" and block.server):
            found[name] = block.model_copy(update={"num_gpus": gpus.get(kind, 0.0)})
    return experiment.model_copy(update=found)
