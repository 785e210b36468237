"""The published baselines beside ERL-VLM: what stands in their files."""

from pathlib import Path

import pytest

from orchestrator.kinds import kind_of, load_experiment

FOLDER = Path(__file__).parents[2] / "tune_configs" / "erl_vlm"


@pytest.mark.parametrize(
    ("task", "words", "learning_rate", "max_epochs"),
    [
        ("drawer_open", "open the drawer", 3e-4, 10),
        ("soccer", "move the soccer ball into the goal", 1e-4, 5),
        ("sweep_into", "minimize the distance between the green cube and the hole", 3e-4, 10),
    ],
)
def test_preferences_are_asked_as_published_in_the_world_of_the_ratings(task, words, learning_rate, max_epochs):
    ratings = load_experiment(FOLDER / f"{task}.yaml")
    preferences = load_experiment(FOLDER / "baselines" / f"{task}_preferences.yaml")
    assert preferences.reward.source == "preferences" and kind_of(preferences).work(preferences).ratings == 9_920
    assert preferences.task.instruction == words
    assert preferences.task.model_copy(update={"instruction": ratings.task.instruction}) == ratings.task
    model = preferences.reward_model
    assert (model.learning_rate, model.max_epochs, model.min_epochs, model.batch_size) == (
        learning_rate, max_epochs, 1, 64,
    )  # fmt: skip
    assert (preferences.policy, preferences.evaluation) == (ratings.policy, ratings.evaluation)


@pytest.mark.parametrize("task", ["drawer_open", "soccer", "sweep_into"])
def test_similarity_is_paid_as_published_in_the_world_of_the_ratings(task):
    ratings = load_experiment(FOLDER / f"{task}.yaml")
    clip = load_experiment(FOLDER / "baselines" / f"{task}_clip.yaml")
    roboclip = load_experiment(FOLDER / "baselines" / f"{task}_roboclip.yaml")
    for one in (clip, roboclip):
        assert one.by_similarity and kind_of(one).work(one).ratings == 0 and one.task == ratings.task
        assert one.policy.model_copy(update={"unsupervised_env_steps": 9_000}) == ratings.policy
        assert one.evaluation == ratings.evaluation
    asked = clip.similarity
    assert (asked.alpha, asked.scale, asked.shift, clip.reward.every_agent_steps) == (0.0, 2.0, -1.0, 1)
    assert roboclip.similarity.num_frames == 32 and roboclip.similarity.s3d_weights is not None
