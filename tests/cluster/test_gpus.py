"""Who gets what of the GPUs there are where the settings leave it to the cluster: on lists of nodes, and in a cluster
of which Ray tells."""

import types

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from actors.rating.engine.arguments import engine_arguments
from actors.rating.settings import RaterSettings
from orchestrator.cluster import actors, placement
from orchestrator.cluster.gpus import gpus_by_kind, on_processors, share_gpus
from orchestrator.cluster.packing import Demand, unplaced
from orchestrator.cluster.placement import bundles_of, check_placement, nodes_of, placed_rater, raters_demand, settle
from orchestrator.errors import SettingsError
from orchestrator.offline.demands import offline_demands
from orchestrator.offline.demands import placed as placed_offline
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.online.demands import online_demands, placed
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.shared_server import with_place
from tests.fakes.fuzz import A_HUNDRED

TASK = {"name": "reach", "env_id": "reach-v3", "instruction": "reach the ball", "focus": "the ball"}
ONE = [{"CPU": 8.0, "GPU": 1.0}]
TWO = [{"CPU": 8.0, "GPU": 2.0}]


def experiment(**settings):
    return OnlineExperiment.model_validate({"name": "placed", "task": TASK, **settings})


def shares(nodes, addable=(), **settings):
    """What the rater, the reward learner and the policy get; None for what is no actor."""
    found = gpus_by_kind(share_gpus(online_demands(experiment(**settings)), nodes, addable))
    return tuple(found.get(kind) for kind in ("rating replica", "reward learner", "policy learner"))


@pytest.mark.parametrize(
    ("nodes", "settings", "expected"),
    [
        ([{"CPU": 8.0}], {}, (0.0, 0.0, None)),
        (ONE, {}, (0.85, 0.1, 0.05)),
        (TWO, {}, (1.0, 0.1, 0.05)),
        # The second GPU is of another machine.
        (ONE * 2, {}, (1.0, 0.1, 0.05)),
        # What the settings say stands, and the others share what is left.
        (ONE, {"rater": {"num_gpus": 0.5}}, (0.5, 0.1, 0.05)),
        (ONE, {"rater": {"num_gpus": 1.0}}, (1.0, 0.0, None)),
        (ONE, {"rater": {"gpu_memory_fraction": 0.45}}, (0.5, 0.1, 0.05)),
        (ONE, {"rater": {"gpu_memory_fraction": 0.9}}, (1.0, 0.0, None)),
        (ONE, {"reward_model": {"num_gpus": 0.3}}, (0.65, 0.3, 0.05)),
        (ONE, {"reward_model": {"num_gpus": 0.0}, "policy": {"num_gpus": 0.0}}, (1.0, 0.0, None)),
        (ONE, {"reward_model": {"num_gpus": 0.0}}, (0.95, 0.0, 0.05)),
        # An engine over two GPUs keeps both; over two of three it leaves one.
        (TWO, {"rater": {"tensor_parallel_size": 2}}, (2.0, 0.0, None)),
        ([{"CPU": 8.0, "GPU": 3.0}], {"rater": {"tensor_parallel_size": 2}}, (2.0, 0.1, 0.05)),
        # Two engines share both their GPUs with the learners, which need only one.
        (TWO, {"rater": {"num_replicas": 2}}, (0.85, 0.1, 0.05)),
        # Whom others serve: no engine of ours.
        (ONE, {"rater": {"endpoint": "http://host:8000/v1"}}, (0.0, 0.1, 0.05)),
        (ONE, {"rater": {"server": "shared"}}, (None, 0.1, 0.05)),
        # Frames are drawn on a GPU, too.
        (ONE, {"rollout": {"num_gpus": 0.2}}, (0.65, 0.1, 0.05)),
    ],
)
def test_gpus_are_shared(nodes, settings, expected):
    assert shares(nodes, **settings) == expected


def test_kinds_of_gpus_are_kept_apart():
    """The engine wants an L4, of which there is one; what learns takes the other."""
    nodes = [{"CPU": 8.0, "GPU": 1.0, f"accelerator_type:{kind}": 1.0} for kind in ("L4", "A100")]
    assert shares(nodes, rater={"accelerator_type": "L4"}) == (1.0, 0.1, 0.05)
    assert shares(nodes[:1], rater={"accelerator_type": "L4"}) == (0.85, 0.1, 0.05)


def test_nodes_that_an_autoscaler_may_add_count_but_no_more_are_asked_than_needed():
    head, gpu_node = {"CPU": 4.0}, {"CPU": 8.0, "GPU": 1.0}
    assert shares([head], [gpu_node] * 3) == (0.85, 0.1, 0.05)
    assert shares([head, gpu_node], [gpu_node] * 3) == (0.85, 0.1, 0.05)
    # A second one is better than learning on processors, where the engine leaves nothing.
    assert shares([head], [{"CPU": 8.0, "GPU": 2.0}] * 2, rater={"tensor_parallel_size": 2}) == (2.0, 0.1, 0.05)
    # Simulators wait for nodes of their own, which is no reason to ask for another GPU.
    simulators = {"CPU": 8.0, "env": 8.0}
    settings = {"rollout": {"num_workers": 4, "resources": {"env": 1.0}}}
    assert shares([head, gpu_node], [gpu_node] * 3 + [simulators], **settings) == (0.85, 0.1, 0.05)


def test_trials_of_a_sweep_share_too():
    """Each trial brings a reward learner and a policy; the engine is the sweep's."""

    def trials(number, nodes):
        demands = online_demands(experiment(rater={"server": "sweep"}))
        many = [Demand(one.kind, number * one.count, one.resources, "", one.wish) for one in demands]
        found = share_gpus([raters_demand(RaterSettings()), *many], nodes)
        assert not unplaced(found, nodes)
        return tuple(
            gpus_by_kind(found).get(kind, 0.0) for kind in ("rating replica", "reward learner", "policy learner")
        )

    one, two = [{"CPU": 64.0, "GPU": 1.0}], [{"CPU": 64.0, "GPU": 2.0}]
    assert trials(1, one) == (0.85, 0.1, 0.05)
    assert trials(3, one) == (0.55, 0.1, 0.05)
    # However many there are, the engine keeps the most of a half.
    assert trials(8, one) == pytest.approx((0.4, 0.05, 0.025), abs=2e-3)
    assert trials(6, two) == (1.0, 0.1, 0.05)
    assert trials(12, two) == pytest.approx((1.0, 0.0555, 0.0277), abs=1e-3)


def test_ten_thousandths_that_are_rounded_down_leave_no_room_out():
    assert shares(ONE, policy={"num_gpus": 0.3333}) == (0.5667, 0.1, 0.3333)


def test_memory_follows_the_share():
    """On one GPU engine and learners together must not want more memory than there is."""

    def fraction(**settings):
        return engine_arguments(RaterSettings(**settings), "model", None, on_cpu=False)["gpu_memory_utilization"]

    assert fraction() == 0.9
    assert fraction(num_gpus=1.0) == 0.9
    assert fraction(num_gpus=0.85) == 0.765
    assert fraction(num_gpus=2.0, tensor_parallel_size=2) == 0.9
    # Two engines on one GPU.
    assert 2 * fraction(num_gpus=0.5) <= 0.9
    # What the settings say stands.
    assert fraction(num_gpus=0.5, gpu_memory_fraction=0.3) == 0.3


@pytest.mark.parametrize("block", ["rater", "reward_model", "policy", "rollout"])
def test_a_fraction_is_of_one_gpu(block):
    experiment(**{block: {"num_gpus": 2.0}})
    with pytest.raises(ValueError, match=rf"{block}(\.sac)?\.num_gpus\n.*1.5 GPUs can not be had"):
        experiment(**{block: {"num_gpus": 1.5}})


def test_a_share_is_found_on_one_gpu():
    """Two GPUs with 0.4 free each have no room for 0.6."""

    def left(demands, gpus):
        demands = [Demand(f"kind {place}", 1, {"GPU": share}, "") for place, share in enumerate(demands)]
        return unplaced(demands, [{"GPU": gpus}]).total()

    assert left([0.6, 0.6, 0.6], 2.0) == 1
    assert left([0.6, 0.4, 0.6, 0.4], 2.0) == 0
    assert left([1.0, 0.5], 1.5) == 0
    assert left([2.0], 1.9) == 1


def test_offline_policies_learn_on_a_gpu_too():
    tree = {"kind": "offline", "name": "chains", "data": {"path": "data"}}
    given = OfflineExperiment.model_validate(tree)
    assert gpus_by_kind(share_gpus(offline_demands(given), ONE)) == {"evaluation worker": 0.0, "policy learner": 0.1}
    assert [one.kind for one in on_processors(offline_demands(given))] == ["evaluation worker"]
    explicit = given.model_copy(update={"policy": given.policy.model_copy(update={"num_gpus": 0.0})})
    assert placed_offline(explicit) is explicit


NUM_GPUS = st.none() | st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5, 0.85, 1.0, 2.0])


@A_HUNDRED
@given(
    raters=st.fixed_dictionaries(
        {"num_gpus": NUM_GPUS, "num_replicas": st.integers(1, 4), "tensor_parallel_size": st.integers(1, 3)},
        optional={"gpu_memory_fraction": st.sampled_from([0.1, 0.45, 0.9, 1.0])},
    ),
    learner=NUM_GPUS,
    policy=NUM_GPUS,
    nodes=st.lists(st.integers(0, 4), max_size=4),
    addable=st.lists(st.integers(0, 4), max_size=3),
    trials=st.integers(1, 5),
)
def test_what_fits_is_placed_and_what_is_shared_is_never_too_much(raters, learner, policy, nodes, addable, trials):
    settings = experiment(rater=raters, reward_model={"num_gpus": learner}, policy={"num_gpus": policy})
    rater, *others = online_demands(settings)
    demands = [rater, *(Demand(o.kind, trials * o.count, o.resources, o.remedy, o.wish) for o in others)]
    nodes, addable = ([{"CPU": 64.0, "GPU": float(gpus)} for gpus in some] for some in (nodes, addable))
    found = share_gpus(demands, nodes, addable)
    assert not any(one.wish for one in found)
    # What the settings say stands.
    said = {one.kind: one.num_gpus for one in demands if one.wish is None}
    assert said.items() <= gpus_by_kind(found).items()
    # Learners on processors fit wherever anything does, so nothing is refused that has a place.
    least = [one.with_gpus(one.wish.num_gpus if one is rater else 0.0) if one.wish else one for one in demands]
    least = [one for one in least if one.kind != "policy learner" or one.num_gpus]
    if any(nodes + addable) and not unplaced(least, nodes + addable):
        assert not unplaced(found, nodes + addable)
    for one in found:
        assert 0.0 <= one.num_gpus <= 1.0 or one.num_gpus == int(one.num_gpus)


# ------------------------------------------------------------------------------------------------ in a cluster


class Cluster:
    """What Ray tells of a cluster."""

    def __init__(self, *nodes):
        self.nodes, self.free, self.addable, self.group = list(nodes), list(nodes), [], None
        self.torch_sees = True


@pytest.fixture
def one_gpu(monkeypatch):
    cluster = Cluster({"CPU": 4.0, "GPU": 1.0})
    here = {"NodeID": "n", "NodeManagerAddress": "10.0.0.1", "Alive": True}
    monkeypatch.setattr(ray, "nodes", lambda: [here | {"Resources": node} for node in cluster.nodes])
    monkeypatch.setattr(placement, "free_resources", lambda: cluster.free)
    monkeypatch.setattr(placement, "autoscaler_node_types", lambda: cluster.addable)
    monkeypatch.setattr(placement, "_own_group", lambda: cluster.group)
    monkeypatch.setattr(placement, "SETTLE_S", 0.1)
    context = types.SimpleNamespace(get_node_id=lambda: "n", get_assigned_resources=lambda: {"CPU": 0.5})
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(placement, "torch_sees_a_gpu", lambda: cluster.torch_sees)
    return cluster


def test_gpus_are_counted_once_ray_is_there(one_gpu):
    found = placed(experiment())
    assert (found.rater.num_gpus, found.reward_model.num_gpus, found.policy.num_gpus) == (0.85, 0.1, 0.05)
    # Two engines have no room, and that is said at once.
    replicas = experiment(rater={"num_replicas": 2})
    with pytest.raises(SettingsError) as refused:
        check_placement(online_demands(replicas))
    assert str(refused.value) == (
        "1 of 2 rating replicas cannot be placed: each needs 1 CPU, 1 GPU. The cluster has (4 CPU, 1 GPU). Add nodes, "
        "or change rater.num_replicas, rater.num_cpus, rater.num_gpus, rater.accelerator_type or rater.resources"
    )
    # An autoscaler adds what is missing, and each engine reserves what it will find there.
    one_gpu.addable = [({"CPU": 4.0, "GPU": 1.0}, 1)]
    check_placement(online_demands(replicas))
    assert placed(replicas).rater.num_gpus == 0.85
    assert placed_rater(RaterSettings(num_replicas=2)).num_gpus == 1.0
    # A server that runs share leaves them something, whoever starts it.
    assert with_place(RaterSettings(num_replicas=2, server="shared")).num_gpus == 0.85
    # Scaled from zero, without a GPU so far.
    one_gpu.nodes = one_gpu.free = [{"CPU": 4.0}]
    assert placed(experiment()).rater.num_gpus == 0.85
    (rater, learner, worker, policy) = nodes_of(settle(online_demands(experiment())))
    assert dict(rater[1]) == {"a node to be added (4 CPU, 1 GPU)": 1} == dict(learner[1]) == dict(policy[1])
    assert dict(worker[1]) == {"this machine (4 CPU, 0 GPU)": 1}


def test_what_others_hold_is_not_shared(one_gpu):
    one_gpu.free = [{"CPU": 4.0}]
    served = placed(experiment(rater={"server": "shared"}))
    assert (served.rater.num_gpus, served.reward_model.num_gpus, served.policy.num_gpus) == (None, 0.0, 0.0)
    # An engine is not put onto a processor for that.
    with pytest.raises(SettingsError, match=r"1 of 1 rating replica .*others leave free \(4 CPU, 0 GPU\)"):
        check_placement(online_demands(experiment()))
    one_gpu.free = [{"CPU": 4.0, "GPU": 0.5}]
    half = experiment(rater={"num_gpus": 0.3})
    assert placed(half).reward_model.num_gpus == 0.1
    with pytest.raises(SettingsError, match=r"1 of 1 rating replica"):
        check_placement(online_demands(experiment()))


def test_what_learns_goes_on_without_a_gpu_that_torch_can_not_use(one_gpu, caplog):
    one_gpu.torch_sees = False
    found = placed(experiment())
    assert (found.rater.num_gpus, found.reward_model.num_gpus, found.policy.num_gpus) == (0.85, 0.0, 0.0)
    assert "torch sees no GPU where the policy learner would be" in caplog.text
    # A number in the settings is not second-guessed: the learner itself says that there is none.
    assert placed(experiment(reward_model={"num_gpus": 0.2})).reward_model.num_gpus == 0.2
    with pytest.raises(SettingsError, match=r"policy.num_gpus = 0.2: torch sees no GPU .* set it to 0"):
        placed(experiment(policy={"num_gpus": 0.2}))
    offline = OfflineExperiment.model_validate({"kind": "offline", "name": "chains", "data": {"path": "data"}})
    assert placed_offline(offline).policy.num_gpus == 0.0


def test_a_trial_takes_what_was_reserved_for_it(one_gpu):
    settings = experiment(rater={"server": "sweep"}, rollout={"num_workers": 2, "num_cpus": 0.5})
    demands = online_demands(settings)
    bundles = bundles_of({"CPU": 0.5}, settle(demands))
    worker = {"CPU": 0.5}
    assert bundles == [{"CPU": 0.5}, {"CPU": 1.0, "GPU": 0.1}, worker, worker, {"CPU": 1.0, "GPU": 0.05}]
    without = bundles_of({"CPU": 0.5}, on_processors(demands))
    # Whatever the cluster has, and whoever takes it meanwhile.
    one_gpu.free = []
    for reserved, expected in ((bundles, (0.1, 0.05)), (without, (0.0, 0.0))):
        one_gpu.group = types.SimpleNamespace(bundle_specs=reserved)
        check_placement(demands)
        found = placed(settings)
        assert (found.reward_model.num_gpus, found.policy.num_gpus) == expected


def test_a_ray_of_our_own_counts_no_gpus_if_torch_is_built_for_processors(monkeypatch):
    asked = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: asked.append(options))
    monkeypatch.setattr(actors, "check_placement", lambda _: None)
    for version in ("2.13.0+cpu", "2.13.0+cu130", "2.13.0"):
        monkeypatch.setattr(actors, "version", lambda _, version=version: version)
        actors.connect([])
    assert [options.get("num_gpus") for options in asked] == [0, None, None]
