"""Settings of the RLlib algorithms: they know no algorithm, and build theirs wherever they come from."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from ray import cloudpickle
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from algorithms.policies import LanguageIQL, LanguageIQLConfig, RatedSAC, RatedSACConfig
from algorithms.policies.fed_config import FedConfig

PAIRS = [(RatedSACConfig, RatedSAC), (LanguageIQLConfig, LanguageIQL)]


@pytest.mark.parametrize(("config_class", "algorithm"), PAIRS)
def test_settings_build_the_algorithm_that_entered_itself(config_class, algorithm):
    config = config_class()
    assert config.algo_class is algorithm.get_default_config().algo_class is algorithm
    assert config.copy().algo_class is AlgorithmConfig.from_state(config.get_state()).algo_class is algorithm
    other = type("Other", (algorithm,), {})
    assert config_class(other).algo_class is other
    assert config_class().algo_class is algorithm


def test_an_algorithm_enters_itself_with_its_own_settings_only():
    class Toy(FedConfig):
        pass

    assert Toy().algo_class is None
    toy = Toy.builds(type("ToyAlgorithm", (RatedSAC,), {}))
    assert Toy().algo_class is toy
    assert FedConfig().algo_class is None and RatedSACConfig().algo_class is RatedSAC


def test_another_process_builds_from_a_pickle_alone(tmp_path):
    """A learner's or a trial's process imports what the pickle names, and nothing else of ours."""
    (tmp_path / "configs").write_bytes(cloudpickle.dumps([config_class().copy() for config_class, _ in PAIRS]))
    program = (
        "import pickle, sys\n"
        "for config in pickle.load(open(sys.argv[1], 'rb')): print(config.algo_class.__name__, config.tau)\n"
        "from algorithms.policies.sac_config import RatedSACConfig\n"
        "print(RatedSACConfig().algo_class.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, tmp_path / "configs"],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.stdout.splitlines() == ["RatedSAC 0.005", f"LanguageIQL {LanguageIQLConfig().tau}", "RatedSAC"]


@pytest.mark.parametrize(("config_class", "algorithm"), PAIRS)
def test_only_what_is_given_changes(config_class, algorithm):
    before = config_class()
    after = config_class().training(tau=0.25, gamma=0.5, learning_seed=0)
    assert isinstance(after, config_class)
    changed = {name for name, value in after.to_dict().items() if before.to_dict()[name] != value}
    assert changed == {"tau", "gamma", "learning_seed"}
    assert after.debugging(seed=7).seed_of_learning == 0  # 0 is a seed like any other.
    assert before.debugging(seed=7).seed_of_learning == 7


@pytest.mark.parametrize(("config_class", "algorithm"), PAIRS)
def test_two_learners_are_refused_by_name(config_class, algorithm):
    config = config_class().learners(num_learners=2)
    with pytest.raises(ValueError, match=f"num_learners 2: {algorithm.__name__} learns in one process; use 0"):
        config.validate()
    assert pickle.loads(cloudpickle.dumps(config)).num_learners == 2
