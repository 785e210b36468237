"""The real loop on a toy task, with a rater that is a function; `test_surviving.py` has real Ray actors at once."""

import numpy as np
import pytest

from orchestrator.errors import RatingsFailing
from orchestrator.kinds import read_run
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.store import RatingStore
from tests.fakes.toy_run import ToyRun, toy_experiment

pytestmark = pytest.mark.usefixtures("actors")


@pytest.fixture
def experiment(tmp_path):
    return toy_experiment(tmp_path)


@pytest.fixture(scope="module")
def whole(actors, tmp_path_factory):
    """A run that nothing happened to, for all that compare with one."""
    return ToyRun(toy_experiment(tmp_path_factory.mktemp("whole"))).run()


def test_the_loop_solves_a_toy_task_from_ratings_and_a_rerun_asks_nothing(whole):
    first, experiment = whole, whole.experiment
    assert first.success() == 1.0
    # Sessions at 200, 400, ... 1,000: the last point, at the end of the run, would teach nobody.
    assert len(first.labels) == 5 * 40
    # Equal frames, of a dot at the wall, are asked once: others were asked in their place.
    assert first.num_asked == len(set(first.labels.keys)) == len(first.labels)
    repeats = read_run(experiment.run_folder).series("rating/repeats").values
    assert repeats[-1] == first.loop.progress.num_repeats > 0
    assert len(RatingStore(experiment.ratings_folder)) == first.num_asked
    rows = read_run(experiment.run_folder).rows
    assert len(rows) == len({(row["env_step"], *row) for row in rows}), "a number was logged twice"

    again = ToyRun(experiment.model_copy(update={"name": "again"})).run()
    assert again.num_asked == 0
    assert again.fingerprint() == first.fingerprint()


def test_what_another_run_put_into_the_store_changes_nothing(whole, tmp_path):
    store = {"ratings_folder": tmp_path / "ratings", "runs_folder": tmp_path / "runs"}
    other = ToyRun(whole.experiment.model_copy(update=store | {"seed": 1, "name": "other"})).run()
    after = ToyRun(whole.experiment.model_copy(update=store)).run()
    assert after.fingerprint() == whole.fingerprint()
    shared = set(other.labels.keys) & set(after.labels.keys)
    assert after.num_asked == len(after.labels) - len(shared)


@pytest.mark.slow
def test_as_published_equal_pictures_cost_twice(experiment):
    feedback = experiment.feedback.model_copy(update={"ask_again": True})
    run = ToyRun(experiment.model_copy(update={"feedback": feedback})).run()
    assert len(run.labels) == 5 * 40
    assert run.num_asked == len(set(run.labels.keys)) < len(run.labels)
    assert run.loop.progress.num_repeats == 0


@pytest.mark.slow
def test_shuffled_ratings_do_not_solve_it(experiment):
    shuffled = experiment.feedback.model_copy(update={"control": "shuffled"})
    run = ToyRun(experiment.model_copy(update={"feedback": shuffled})).run()
    replay = run.loop.policy.replay
    correlation = np.corrcoef(replay.learned_rewards(replay.indices), replay.stored_next_observations()[:, 0])[0, 1]
    assert abs(correlation) < 0.9 or run.success() < 1.0


def test_a_resumed_run_equals_one_that_was_not_stopped(experiment, whole):
    stopped = ToyRun(experiment.model_copy(update={"total_env_steps": 800})).run()
    resumed = ToyRun(experiment).run(resume=True)
    assert resumed.fingerprint() == whole.fingerprint()
    assert resumed.num_asked == len(set(resumed.labels.keys)) - len(set(stopped.labels.keys))


def test_a_broken_rater_stops_the_run_writes_no_rating_and_the_run_goes_on_when_it_is_well(experiment):
    experiment = experiment.model_copy(update={"total_env_steps": 600})
    broken = ToyRun(experiment, broken=True)
    with pytest.raises(RatingsFailing, match=r"40 of 40 questions .* \(unparsable\).*tolerated_failure_share"):
        broken.run()
    store = RatingStore(experiment.ratings_folder)
    assert len(store) == 0
    assert sum(store.counts().failures.values()) == 40

    mended = ToyRun(experiment).run(resume=True)
    assert len(mended.labels) == 2 * 40
    replay = mended.loop.policy.replay
    assert set(replay.reward_versions(replay.indices)) == {2}
    assert mended.num_asked == len(set(mended.labels.keys))


def seeing_frames(experiment, total_env_steps, frame_cache_gb):
    settings = experiment.reward_model.model_dump() | {
        "input": "frame",
        "network": "small",
        "image_px": 28,
        "max_epochs": 2,
        "frame_cache_gb": frame_cache_gb,
    }
    return OnlineExperiment.model_validate(
        experiment.model_dump() | {"reward_model": settings, "total_env_steps": total_env_steps, "name": "frames"}
    )


@pytest.mark.slow
def test_frames_that_the_cache_forgot_are_drawn_again(experiment):
    run = ToyRun(seeing_frames(experiment, total_env_steps=480, frame_cache_gb=0.0)).run()
    replay = run.loop.policy.replay
    # Every step held was relabelled by the newest model, or scored by it when it came.
    assert set(replay.reward_versions(replay.indices)) == {2}
    assert np.isfinite(replay.learned_rewards(replay.indices)).all()


@pytest.mark.slow
def test_after_a_resume_lost_frames_are_drawn_once_and_kept(experiment, monkeypatch):
    ToyRun(seeing_frames(experiment, total_env_steps=400, frame_cache_gb=1.0)).run()
    resumed = ToyRun(seeing_frames(experiment, total_env_steps=800, frame_cache_gb=1.0))
    rollouts, drawn = resumed.loop.rollouts, []
    draw = rollouts.render_reduced
    monkeypatch.setattr(rollouts, "render_reduced", lambda segments: drawn.append(len(segments)) or draw(segments))
    resumed.run(resume=True)
    relabelled = [count for count in drawn if count > experiment.feedback.per_session]
    assert relabelled == [400]
    # What was drawn again and what was not are scaled together, to the last bit as if nothing had happened.
    whole = experiment.model_copy(update={"name": "whole", "ratings_folder": experiment.ratings_folder / "whole"})
    assert (
        resumed.fingerprint()
        == ToyRun(seeing_frames(whole, total_env_steps=800, frame_cache_gb=1.0)).run().fingerprint()
    )


def test_late_ratings_are_learned_from_within_the_lag(experiment):
    late = experiment.feedback.model_copy(update={"max_rating_lag": 2})
    run = ToyRun(experiment.model_copy(update={"feedback": late, "total_env_steps": 600})).run()
    assert len(run.labels) == 2 * 40
    replay = run.loop.policy.replay
    assert set(replay.reward_versions(replay.indices)) == {2}
