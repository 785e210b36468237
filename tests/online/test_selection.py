"""Runs that choose what they ask about: what is chosen, what it counts, and that a resumed run chooses the same."""

import numpy as np
import pytest
from pydantic import ValidationError

from algorithms.settings import SelectionSettings
from orchestrator.kinds import read_run
from orchestrator.online.asking.choosing import Seen, choose
from orchestrator.online.settings import OnlineExperiment
from tests.fakes.toy_run import ToyRun, toy_experiment

pytestmark = pytest.mark.usefixtures("actors")


def selecting(folder, strategy, source="ratings", **changes):
    tree = toy_experiment(folder).model_dump()
    tree["feedback"] |= {"per_session": 10, "selection": {"strategy": strategy, "candidates": 4, "uniform_share": 0.3}}
    tree["reward_model"]["max_epochs"] = 5
    tree["reward"]["source"] = source
    tree["rater"] = {"mode": "answer_only", "model": "pocket_pairs" if source == "preferences" else "pocket"}
    return OnlineExperiment.model_validate(tree | {"total_env_steps": 600} | changes)


@pytest.mark.parametrize(
    ("strategy", "source"),
    [
        ("disagreement", "ratings"),
        pytest.param("doubt", "preferences", marks=pytest.mark.slow),
        pytest.param("disagreement", "preferences", marks=pytest.mark.slow),
        pytest.param("novelty", "ratings", marks=pytest.mark.slow),
        pytest.param("doubt", "ratings", marks=pytest.mark.slow),
    ],
)
def test_what_is_picked_is_worth_more_and_a_resumed_run_picks_the_same(tmp_path, strategy, source):
    experiment = selecting(tmp_path, strategy, source)
    whole = ToyRun(experiment).run()
    shown = read_run(experiment.run_folder)
    picked, drawn = (shown.series(f"selection/{strategy}_{which}").values for which in ("picked", "candidates"))
    # Two sessions; in the first only novelty could be told, and that from nothing.
    assert len(picked) == 1 and (picked > drawn).all()
    assert shown.series("selection/picked").values.tolist() == [7.0] * (2 if strategy == "novelty" else 1)
    assert whole.num_asked == 20
    if source == "ratings":
        weights = whole.labels.weights.reshape(2, 10)
        assert weights.sum(axis=1) == pytest.approx(10) and set(weights[-1, :7]) == {np.float32(0.25)}
    part = experiment.model_copy(update={"name": "part", "ratings_folder": tmp_path / "others"})
    ToyRun(part.model_copy(update={"total_env_steps": 400})).run()
    resumed = ToyRun(part).run(resume=True)
    assert resumed.fingerprint() == whole.fingerprint()
    np.testing.assert_array_equal(resumed.labels.weights, whole.labels.weights)


def test_what_is_novel_under_another_instruction_is_new():
    states = np.array([0.0, 0.1, 1.0, 0.0])[:, None, None]
    candidates = Seen(states, ["push", "push", "push", "pull"])
    rated = Seen(np.array([[[0.0]], [[0.95]]]), ["push", "push"])
    settings = SelectionSettings(strategy="novelty", uniform_share=0.25)
    choice = choose(settings, 3, candidates, rated, None, np.random.default_rng(0))
    assert choice.places.tolist()[:2] == [3, 1]
    assert choice.metrics == {"selection/picked": 2.0, "selection/at_random": 1.0}
    assert choice.weights.tolist() == pytest.approx([0.75, 0.75, 1.5])
    assert choose(settings, 9, candidates, rated, None, np.random.default_rng(0)).places.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"reward_model": {"input": "state", "num_members": 1}},
            "the reward model's members.*num_members is 1",
        ),
        ({"reward": {"source": "scores"}}, "asks about every reward.every_agent_steps"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path, changes, told):
    with pytest.raises(ValidationError, match=told):
        selecting(tmp_path, "disagreement", **changes)
