"""What fits into a cluster and what is said of what does not; the packing needs no Ray."""

import pytest
import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from orchestrator.cluster import actors as cluster
from orchestrator.cluster.gpus import on_processors
from orchestrator.cluster.packing import Demand, unplaced
from orchestrator.cluster.placement import bundles_of, check_placement, in_bundle
from orchestrator.errors import SettingsError
from orchestrator.online.demands import online_demands
from orchestrator.online.settings import OnlineExperiment

TASK = {"name": "reach", "env_id": "reach-v3", "instruction": "reach the ball", "focus": "the ball"}


def demand(kind, count, **resources):
    return Demand(kind, count, {name.replace("_", ":"): amount for name, amount in resources.items()}, "its settings")


def experiment(**settings):
    return OnlineExperiment.model_validate({"name": "placed", "task": TASK, **settings})


@pytest.mark.parametrize(
    ("demands", "nodes", "left"),
    [
        ([demand("worker", 2, CPU=1.0)], [{"CPU": 2.0}], {}),
        ([demand("worker", 3, CPU=1.0)], [{"CPU": 2.0}], {"worker": 1}),
        # Enough in all, but on no single node.
        ([demand("rater", 1, GPU=2.0)], [{"GPU": 1.0}, {"GPU": 1.0}], {"rater": 1}),
        ([demand("rater", 1, GPU=0.5), demand("learner", 1, GPU=0.5)], [{"GPU": 1.0}], {}),
        ([demand("rater", 2, GPU=0.6)], [{"GPU": 1.0}], {"rater": 1}),
        ([demand("worker", 1, CPU=1.0, env=1.0)], [{"CPU": 8.0}], {"worker": 1}),
        ([demand("rater", 1, GPU=1.0, accelerator_type=0.001)], [{"GPU": 1.0, "accelerator:type": 1.0}], {}),
        ([demand("worker", 2, CPU=1.0)], [], {"worker": 2}),
        # Workers, named first, must not take the processors of the only node where the rater can be.
        (
            [demand("worker", 2, CPU=1.0), demand("rater", 1, CPU=1.0, GPU=1.0)],
            [{"CPU": 1.0, "GPU": 1.0}, {"CPU": 2.0}],
            {},
        ),
        # Ten tenths fill a GPU, whatever floats make of it.
        ([demand("worker", 10, GPU=0.1)], [{"GPU": 1.0}], {}),
    ],
)
def test_what_finds_no_room(demands, nodes, left):
    assert unplaced(demands, nodes) == left


def test_defaults_ask_for_three_processors_and_no_gpu():
    """A Ray of our own promises them also where there are two."""
    demands = on_processors(online_demands(experiment()))
    assert [(one.kind, one.count, one.resources) for one in demands] == [
        ("rating replica", 1, {"CPU": 1.0}),
        ("reward learner", 1, {"CPU": 1.0}),
        ("rollout worker", 1, {"CPU": 1.0}),
    ]


def test_every_kind_of_actor_is_placed_by_its_settings():
    place = {"num_gpus": 0.25, "accelerator_type": "L4", "resources": {"fast": 1.0}}
    settings = experiment(
        rater=place, reward_model=place, policy=place, rollout={"num_workers": 4, "resources": {"env": 1.0}}
    )
    there = {"CPU": 1.0, "GPU": 0.25, "accelerator_type:L4": 0.001, "fast": 1.0}
    assert {one.kind: (one.count, one.resources) for one in online_demands(settings)} == {
        "rating replica": (1, there),
        "reward learner": (1, there),
        "policy learner": (1, there),
        "rollout worker": (4, {"CPU": 1.0, "env": 1.0}),
    }


def test_a_shared_rating_server_is_no_part_of_a_run():
    assert "rating replica" not in {one.kind for one in online_demands(experiment(rater={"server": "shared"}))}


def test_a_policy_without_a_gpu_can_not_be_sent_anywhere():
    with pytest.raises(ValueError, match="Set num_gpus"):
        experiment(policy={"accelerator_type": "A100"})


@pytest.fixture(scope="module")
def small_cluster():
    ray.init(
        address="local",
        num_cpus=2,
        resources={"env": 1},
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


@ray.remote
class Holder:
    def ready(self):
        return True


def test_what_is_missing_is_said_at_once(small_cluster, monkeypatch):
    check_placement([demand("rollout worker", 1, CPU=1.0, env=1.0)])
    with pytest.raises(SettingsError) as refused:
        check_placement([demand("rating replica", 2, CPU=1.0, GPU=1.0)])
    assert str(refused.value) == (
        "2 of 2 rating replicas cannot be placed: each needs 1 CPU, 1 GPU; no node has GPU. The cluster has "
        "(2 CPU, 0 GPU). Add nodes, or change its settings"
    )
    monkeypatch.setattr("orchestrator.cluster.placement.SETTLE_S", 1.5)
    holder = Holder.options(num_cpus=1, resources={"env": 1}).remote()
    ray.get(holder.ready.remote())
    with pytest.raises(SettingsError, match=r"Of the cluster, others leave free \(1 CPU, 0 env\)"):
        check_placement([demand("rollout worker", 1, CPU=1.0, env=1.0)])
    # What ends within moments is not in the way.
    ray.kill(holder)
    check_placement([demand("rollout worker", 1, CPU=1.0, env=1.0)])


def test_inside_a_trial_its_own_bundles_count(small_cluster):
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    @ray.remote(num_cpus=1)
    def check(number):
        check_placement([Demand("rollout worker", number, {"CPU": 0.5}, "its settings")])

    group = placement_group([{"CPU": 1.0}, {"CPU": 0.5}])
    inside = check.options(
        scheduling_strategy=PlacementGroupSchedulingStrategy(group, 0, placement_group_capture_child_tasks=True)
    )
    try:
        ray.get(inside.remote(1))
        with pytest.raises(SettingsError, match=r"1 of 2 rollout workers .* The trial's placement group has"):
            ray.get(inside.remote(2))
    finally:
        remove_placement_group(group)


def test_a_trial_has_a_bundle_for_itself_and_one_for_each_actor():
    place = {"num_gpus": 0.5, "accelerator_type": "L4"}
    settings = experiment(
        rater={"server": "shared"}, policy=place, rollout={"num_workers": 2, "num_cpus": 0.5, "resources": {"env": 1.0}}
    )
    assert bundles_of({"CPU": 1.0}, on_processors(online_demands(settings))) == [
        {"CPU": 1.0},
        {"CPU": 1.0},
        {"CPU": 0.5, "env": 1.0},
        {"CPU": 0.5, "env": 1.0},
        {"CPU": 1.0, "GPU": 0.5, "accelerator_type:L4": 0.001},
    ]


def test_in_its_trial_every_actor_has_its_own_bundle(small_cluster):
    settings = experiment(rater={"server": "shared"}, rollout={"num_workers": 2, "num_cpus": 0.4})
    demands = on_processors(online_demands(settings))
    assert in_bundle(demands, "reward learner") == {}
    bundles = bundles_of({"CPU": 0.1}, demands)

    @ray.remote(num_cpus=0.1)
    def indices():
        kinds = [("reward learner", 0), ("rollout worker", 0), ("rollout worker", 1)]
        options = [in_bundle(demands, kind, number)["scheduling_strategy"] for kind, number in kinds]
        return [option.placement_group_bundle_index for option in options]

    group = ray.util.placement_group(bundles)
    here = PlacementGroupSchedulingStrategy(group, 0, placement_group_capture_child_tasks=True)
    found = ray.get(indices.options(scheduling_strategy=here).remote(), timeout=120)
    assert found == [1, 2, 3]
    assert [bundles[index]["CPU"] for index in found] == [1.0, 0.4, 0.4]
    ray.util.remove_placement_group(group)


def test_a_ray_of_our_own_unless_an_address_is_given(monkeypatch):
    asked = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: asked.append(options))
    monkeypatch.setattr(cluster, "check_placement", lambda _: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cluster.connect([Demand("rollout worker", 3, {"CPU": 1, "env": 1}, "rollout.num_workers")])
    # One that another user has started on this machine is not joined.
    assert asked[0]["address"] == "local" and asked[0]["num_cpus"] >= 4 and asked[0]["resources"] == {"env": 3}
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    joined = []
    monkeypatch.setattr(cluster, "check_cluster", joined.append)
    cluster.connect([])
    assert not {"address", "num_cpus", "resources"} & asked[1].keys() and joined == ["10.0.0.1:6379"]


@pytest.mark.parametrize("failures", [2, 3])
def test_a_ray_of_our_own_whose_agents_are_slow_is_started_again(monkeypatch, failures):
    attempts = []

    def slow_init(**_):
        attempts.append(None)
        if len(attempts) <= failures:
            raise Exception("The current node timed out during startup. This could happen because some of the raylet")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", slow_init)
    monkeypatch.setattr(cluster, "check_placement", lambda _: None)
    if failures == 2:
        cluster.connect([])
    else:
        with pytest.raises(SettingsError, match="did not start on this machine in 3 attempts"):
            cluster.connect([])
    assert len(attempts) == 3


def test_what_else_keeps_ray_from_starting_is_told_at_once(monkeypatch):
    attempts = []

    def failing_init(**_):
        attempts.append(None)
        raise ConnectionError("could not find any running Ray instance")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", failing_init)
    with pytest.raises(ConnectionError):
        cluster.connect([])
    assert len(attempts) == 1
