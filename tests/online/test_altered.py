"""Studies of the rater: true stages in its place, and mistakes in its answers, through the whole loop."""

import numpy as np
import pytest
from pydantic import ValidationError

from algorithms.ratings import Rating, RatingFailure
from orchestrator.kinds import read_run
from orchestrator.online.asking.altered import altered
from orchestrator.online.settings import OnlineExperiment
from orchestrator.pocket.frames import packaged_task
from orchestrator.ratings.store import RatingStore
from tests.fakes.toy_run import ToyRun, toy_experiment

pytestmark = pytest.mark.usefixtures("actors")


def with_mistakes(folder, share, **changes):
    tree = toy_experiment(folder).model_dump() | {"total_env_steps": 800} | changes
    tree["feedback"] |= {"mistakes": {"share": share}, "labels": "soft"}
    return OnlineExperiment.model_validate(tree)


def test_what_learns_has_the_mistakes_and_the_store_has_not(tmp_path, actors):
    right = ToyRun(with_mistakes(tmp_path, 0.0, name="right")).run()
    wrong = ToyRun(with_mistakes(tmp_path, 0.5, name="wrong")).run()
    assert right.num_asked > 0
    for run, share in ((right, 0.0), (wrong, 0.5)):
        stored = RatingStore(tmp_path / "ratings").load(run.labels.keys)
        differs = np.array([one.rating.rating for one in stored]) != run.labels.ratings
        assert np.mean(differs) == pytest.approx(share, abs=0.15)
        assert (run.labels.probabilities.argmax(axis=1) == run.labels.ratings).all()
    audited = [read_run(run.experiment.run_folder).series("reward/success_accuracy").values for run in (right, wrong)]
    assert audited[1].mean() < audited[0].mean() - 0.1


def test_a_run_with_mistakes_goes_on_as_if_it_had_not_been_stopped(tmp_path, actors):
    whole = ToyRun(with_mistakes(tmp_path / "whole", 0.3)).run()
    first = with_mistakes(tmp_path / "parts", 0.3, total_env_steps=400)
    ToyRun(first).run()
    resumed = ToyRun(first.model_copy(update={"total_env_steps": 800})).run(resume=True)
    assert resumed.labels.keys == whole.labels.keys
    assert resumed.labels.ratings.tolist() == whole.labels.ratings.tolist()
    assert resumed.labels.probabilities.tolist() == whole.labels.probabilities.tolist()


def drawer(control="true_stage", **changes):
    feedback = {"num_ratings": 5, "control": control} | changes.pop("feedback", {})
    task = packaged_task("drawer_open").model_dump()
    return OnlineExperiment.model_validate({"name": "drawer", "task": task, "feedback": feedback, **changes})


def pulled(*metres: float) -> np.ndarray:
    """Observations [N, 1, 39] of drawers so far from being open, which starts at 19 cm."""
    rows = np.zeros((len(metres), 1, 39))
    rows[:, 0, 5] = metres
    return rows


def test_true_stages_count_in_place_of_the_rater():
    said = Rating("00" * 32, 1, (0.1, 0.6, 0.1, 0.1, 0.1), "closed", 0, 0, 0.0)
    failed = RatingFailure("11" * 32, "timeout", "", 1)
    told = altered(drawer(), [said, failed, said, said], pulled(0.19, 0.19, 0.095, 0.0), np.zeros((4, 1)))
    assert [one.rating for one in told if isinstance(one, Rating)] == [0, 2, 4]
    assert told[1] is failed and told[0].analysis == "closed" and told[0].probabilities == ()


def test_of_a_run_without_a_study_nothing_is_altered():
    said = Rating("00" * 32, 1, (), "", 0, 0, 0.0)
    assert altered(drawer("none"), [said], pulled(0.0), np.zeros((1, 1))) == [said]


def test_true_stages_are_told_to_be_privileged():
    assert drawer().is_told_truth and not drawer().is_privileged and not drawer("shuffled").is_told_truth
    assert not drawer(reward={"source": "similarity"}).is_told_truth


def test_stages_that_nobody_knows_and_sources_that_have_none_are_refused(tmp_path):
    tree = toy_experiment(tmp_path).model_dump()
    tree["feedback"] |= {"control": "true_stage"}
    with pytest.raises(ValidationError, match=r"'true_stage': the stages of task 'toy_reach' are not known"):
        OnlineExperiment.model_validate(tree)
    with pytest.raises(ValidationError, match=r"'true_stage' is of reward.source 'ratings', and it is 'preferences'"):
        drawer(reward={"source": "preferences"})
    with pytest.raises(ValidationError, match=r"feedback.mistakes.share 0.1 is of reward.source 'ratings' and"):
        drawer("none", reward={"source": "scores"}, feedback={"budget": 1_000_000, "mistakes": {"share": 0.1}})
