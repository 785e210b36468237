"""From a sweep's file to its trials, to what they cost, and to one clear message where that fails."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import SettingsError
from orchestrator.kinds import kind_of, load_experiment
from orchestrator.online.preflight import ONLINE_TAKEN_OVER
from orchestrator.sweeps.estimate import estimate_sweep, local_concurrency
from orchestrator.sweeps.scheduler_rules import check_scheduler
from orchestrator.sweeps.search import load_sweep, with_values

REPOSITORY = Path(__file__).parents[2]
SWEEPS = REPOSITORY / "tune_configs" / "sweeps"
SEARCH = "search: {reward_model.loss: {grid: [mae, cross_entropy]}, seed: {grid: [0, 1, 2]}}\n"


@pytest.fixture
def sweep(tmp_path):
    """A function that loads a sweep with this `search` and these overrides."""
    base = "name: s\ntask: drawer_close\nreward_model: {image_px: 56}\nrater: {mode: answer_only}\n"

    def load(search=SEARCH, *overrides):
        (tmp_path / "sweep.yaml").write_text(f"{base}runs_folder: {tmp_path}/runs\n{search}")
        return load_sweep(tmp_path / "sweep.yaml", overrides)

    return load


def test_a_grid_is_every_combination_and_its_cells_differ_in_the_seed_alone(sweep, tmp_path):
    plan = sweep()
    assert [trial.name for trial in plan.trials] == [
        "loss-mae-seed0", "loss-cross_entropy-seed0",
        "loss-mae-seed1", "loss-cross_entropy-seed1",
        "loss-mae-seed2", "loss-cross_entropy-seed2",
    ]  # fmt: skip
    assert plan.cells == ["loss-mae", "loss-cross_entropy"]
    assert plan.folder == tmp_path / "runs" / "s"
    for trial in plan.trials:
        assert trial.experiment.run_folder == plan.folder / trial.name
        assert trial.experiment.reward_model.loss == trial.values["reward_model.loss"]
        assert trial.experiment.seed == trial.values["seed"]
        assert trial.experiment.ratings_folder == plan.trials[0].experiment.ratings_folder


def test_a_named_option_sets_several_fields_and_nothing_else(sweep):
    search = (
        "search: {kind: {grid: {full: {}, plain: {reward_model.loss: cross_entropy, reward_model.stratified: off}}}}\n"
    )
    full, plain = (trial.experiment for trial in sweep(search).trials)
    assert (full.reward_model.loss, full.reward_model.stratified) == ("mae", "balanced")
    assert (plain.reward_model.loss, plain.reward_model.stratified) == ("cross_entropy", "off")
    assert full.model_copy(update={"name": plain.name, "reward_model": plain.reward_model}) == plain


def test_a_task_and_fields_below_it_can_be_searched(sweep):
    plan = sweep("search: {task: {grid: [drawer_close, soccer]}, task.image_px: {grid: [56, 112]}}\n")
    seen = [(trial.experiment.task.env_id, trial.experiment.task.image_px) for trial in plan.trials]
    assert seen == [("drawer-close-v3", 56), ("drawer-close-v3", 112), ("soccer-v3", 56), ("soccer-v3", 112)]


def test_draws_are_made_up_front_by_seed_and_shared_by_the_seeds_of_a_cell(sweep):
    search = (
        "search: {policy.actor_learning_rate: {loguniform: [1e-4, 1e-2]}, policy.discount: {uniform: [0.9, 0.99]}, "
        "policy.batch_size: {integers: [64, 66]}, reward_model.sharpness: {choice: [10.0, 30.0]}, "
        "seed: {grid: [0, 1]}}\n"
    )
    plan = sweep(search, "sweep.num_samples=50")
    assert [trial.values for trial in plan.trials] == [
        trial.values for trial in sweep(search, "sweep.num_samples=50").trials
    ]
    other = sweep(search, "sweep.num_samples=50", "sweep.seed=1")
    assert [trial.values for trial in plan.trials] != [trial.values for trial in other.trials]
    assert len(plan.trials) == 100 and len(plan.cells) == 50
    for first, second in zip(plan.trials[:50], plan.trials[50:], strict=True):
        assert first.cell == second.cell
        assert first.values | {"seed": 1} == second.values
    rates = np.array([trial.values["policy.actor_learning_rate"] for trial in plan.trials])
    assert 1e-4 <= rates.min() and rates.max() <= 1e-2
    # Uniform in the logarithm: half of the draws are below the geometric middle.
    assert 0.25 < np.mean(rates < 1e-3) < 0.75
    assert {trial.values["policy.batch_size"] for trial in plan.trials} == {64, 65, 66}
    assert {trial.values["reward_model.sharpness"] for trial in plan.trials} == {10.0, 30.0}


def test_overrides_reach_the_experiment_the_search_and_the_sweep(sweep):
    plan = sweep(
        SEARCH, "search.seed.grid=[7]", "search.feedback.num_ratings.grid=[2,3]", "sweep.concurrency=3", "name=other",
        "total_env_steps=20000",
    )  # fmt: skip
    assert {trial.experiment.seed for trial in plan.trials} == {7}
    assert [trial.experiment.feedback.num_ratings for trial in plan.trials] == [2, 3, 2, 3]
    assert plan.settings.concurrency == 3 and plan.folder.name == "other"
    assert plan.trials[0].experiment.total_env_steps == 20_000


@pytest.mark.parametrize(
    ("search", "override", "message"),
    [
        ("", (), r"needs a block `search`.*likert run"),
        (SEARCH, ["search.seed=3"], r"search\.seed = 3: must say how, such as \{grid: \[3\]\}"),
        (SEARCH, ["search.seed={grid: [0], uniform: [0, 1]}"], "exactly one of grid, choice, .*here: grid, uniform"),
        (SEARCH, ["search.policy.tau={uniform: null}"], "exactly one of grid, choice, .*here: none"),
        (SEARCH, ["search.seed.gird=[0]"], "gird: there is no such setting; did you mean 'grid'"),
        (SEARCH, ["search.seed.grid=[0, 0]"], "holds a value twice"),
        (SEARCH, ["search.seed.grid=[]"], r"search\.seed"),
        (SEARCH, ["search.seed={integers: [0, 5]}"], "seeds are enumerated"),
        (SEARCH, ["search.policy.tau={loguniform: [0.1, 0.01]}"], "the first must be the lower one"),
        (SEARCH, ["search.policy.tau={loguniform: [0.0, 0.01]}"], "above 0"),
        (SEARCH, ["sweep.num_samples=2"], "nothing in `search` is drawn"),
        (SEARCH, ["sweep.concurency=2"], "did you mean 'concurrency'"),
        (SEARCH, ["sweep=3"], "block sweep:\n  must be a block of `key: value` lines, and is 3"),
        (SEARCH, ["sweep="], "block sweep:\n  must be a block of `key: value` lines, and is None"),
        (SEARCH, ["search.policy.tau={uniform: [-1.0e308, 1.0e308]}"], "too far to draw from"),
        (SEARCH, ["search.policy.tau={uniform: [0, 1]}", "sweep.num_samples=9000"], "and a sweep at most 10,000"),
        (SEARCH, ["search.name.grid=[a, b]"], "which the sweep itself gives"),
        (SEARCH, ["search.x={grid: {a: {reward_model.loss: mae}}}"], "another entry of `search` sets too"),
        (SEARCH, ["name=a/b"], "name = 'a/b'"),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_one_message(sweep, search, override, message):
    with pytest.raises(SettingsError, match=message):
        sweep(search, *override)


def test_every_experiment_is_validated_before_any_starts(sweep):
    with pytest.raises(SettingsError) as refused:
        sweep(SEARCH, "search.feedback.num_ratings.grid=[2, 9]")
    message = str(refused.value)
    assert "6 of the sweep's 12 experiments cannot be used." in message
    assert "reward_model.loss=mae, seed=0, feedback.num_ratings=9" in message
    assert "feedback.num_ratings = 9: must be one of 2, 3, 4, 5" in message
    assert message.endswith("(and 3 more)")


def test_a_trial_with_other_values_keeps_its_folder_and_is_validated(sweep):
    plan = sweep("search: {policy.discount: {uniform: [0.9, 0.99]}, seed: {grid: [4]}}\n")
    (trial,) = plan.trials
    changed = with_values(plan, trial, {"policy.discount": 0.5, "seed": 4})
    assert changed.experiment.run_folder == trial.experiment.run_folder
    assert changed.experiment.policy.discount == 0.5
    with pytest.raises(SettingsError, match=r"cannot go on with policy\.discount=1\.5"):
        with_values(plan, trial, {"policy.discount": 1.5, "seed": 4})


def test_the_published_sweeps_are_what_they_say():
    levels = load_sweep(SWEEPS / "levels_losses_seeds.yaml")
    assert len(levels.trials) == 60 and len(levels.cells) == 12
    smoothed = {trial.experiment.reward_model.label_smoothing for trial in levels.trials}
    assert smoothed == {0.0, 0.1}
    ablation = load_sweep(SWEEPS / "ablation.yaml")
    models = [trial.experiment.reward_model for trial in ablation.trials[:4]]
    assert [(model.loss, model.stratified) for model in models] == [
        ("mae", "proportional"), ("cross_entropy", "proportional"), ("mae", "off"), ("cross_entropy", "off"),
    ]  # fmt: skip
    assert {model.class_weights for model in models} == {"complement"}


def test_the_rg_vlm_sweep_is_three_rewards_by_five_seeds_and_the_matrix_adds_to_it():
    plan = load_sweep(SWEEPS / "rg_vlm.yaml")
    assert plan.cells == ["method-sparse", "method-rg_vlm", "method-rg_vlm_and_sparse"]
    assert [trial.experiment.seed for trial in plan.trials] == [seed for seed in range(5) for _ in plan.cells]
    rewards = [trial.experiment.data.reward for trial in plan.trials[:3]]
    assert [(one.labeller, one.sparse) for one in rewards] == [
        ("sparse", "none"), ("rg_vlm", "none"), ("rg_vlm", "sum"),
    ]  # fmt: skip
    alike = [trial.experiment.model_dump(exclude={"name", "seed", "runs_folder", "data"}) for trial in plan.trials]
    assert alike == alike[:1] * 15
    more = load_sweep(REPOSITORY / "tune_configs" / "rg_vlm" / "matrix.yaml")
    assert more.folder == plan.folder and more.cells[:3] == plan.cells and len(more.trials) == 8 * 5


def test_a_sweep_is_not_run_as_one_experiment():
    with pytest.raises(SettingsError, match=r"tiny\.yaml is a sweep.*likert sweep"):
        load_experiment(SWEEPS / "tiny.yaml")


def test_the_estimate_adds_up(sweep):
    plan = sweep(
        SEARCH, "total_env_steps=1000", "feedback.first_env_steps=200", "feedback.interval_env_steps=300",
        "feedback.per_session=36", "feedback.budget=100", "rollout.num_workers=2", "rater.num_gpus=0.5",
        "sweep.estimate.env_steps_per_s=10", "sweep.estimate.ratings_per_s=1", "sweep.estimate.gpu_hour_price=3",
        "sweep.estimate.cpu_hour_price=0",
    )  # fmt: skip
    # Sessions at 200, 500 and 800 ask 36, 36 and, within the budget, 28.
    alone = estimate_sweep(plan, concurrency=1)
    assert (alone.num_trials, alone.env_steps, alone.ratings) == (6, 6_000, 600)
    # A trial: 100 s of steps and 100 s of ratings.
    assert alone.hours == pytest.approx(6 * 200 / 3600)
    assert alone.gpu_hours == pytest.approx(0.5 * alone.hours)
    assert alone.cost == pytest.approx(3 * alone.gpu_hours)
    together = estimate_sweep(plan, concurrency=6)
    # Now they queue at the one engine: 600 ratings of a second.
    assert together.hours == pytest.approx(600 / 3600)
    assert together.cpu_hours == pytest.approx(6 * 200 / 3600 * (1 + 2 + 1) + together.hours)


def test_offline_experiments_are_swept_without_a_rater(tmp_path):
    (tmp_path / "sweep.yaml").write_text(
        f"kind: offline\nname: o\nruns_folder: {tmp_path}/runs\ntotal_updates: 6000\n"
        "data: {path: data/babyai, reward: {labeller: sparse}}\n"
        "search: {policy.beta: {grid: [1.0, 5.0]}, seed: {grid: [0, 1]}}\n"
    )
    plan = load_sweep(tmp_path / "sweep.yaml")
    assert [trial.name for trial in plan.trials][:2] == ["beta-1-seed0", "beta-5-seed0"]
    assert plan.trials[1].experiment.policy.beta == 5.0
    estimate = estimate_sweep(plan, concurrency=2)
    assert (estimate.updates, estimate.env_steps, estimate.ratings, estimate.gpu_hours) == (24_000, 0, 0, 0.0)
    assert estimate.hours == pytest.approx(24_000 / 2 / plan.settings.estimate.updates_per_s / 3600)
    kind = kind_of(plan.trials[0].experiment)
    assert kind.score(plan.trials[0].experiment) == "eval/randomised_proportion"
    assert kind.length(plan.trials[0].experiment) == 6000


def test_a_small_machine_runs_one_trial_at_once(sweep, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert local_concurrency(sweep()) == 1
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert local_concurrency(sweep()) == 6


def test_early_stopping_of_a_study_over_seeds_is_warned_of(sweep):
    assert check_scheduler(sweep()) == []
    (warning,) = check_scheduler(sweep(SEARCH, "sweep.scheduler=asha"))
    assert "luckier" in warning and "sweep.scheduler=none" in warning
    no_seeds = "search: {policy.tau: {loguniform: [0.001, 0.1]}}\n"
    assert check_scheduler(sweep(no_seeds, "sweep.scheduler=asha", "sweep.num_samples=4")) == []


@pytest.mark.parametrize(
    ("search", "overrides", "message"),
    [
        (SEARCH, [], "nothing in `search` is drawn"),
        ("search: {feedback.num_ratings: {choice: [2, 3]}}\n", [], r"feedback\.num_ratings cannot change when"),
        (
            "search: {policy.tau: {uniform: [0.01, 0.1]}}\n",
            ["sweep.pbt.interval_env_steps=100"],
            "nothing new to compare",
        ),
    ],
)
def test_population_based_training_is_refused_where_it_cannot_work(sweep, search, overrides, message):
    with pytest.raises(SettingsError, match=message):
        check_scheduler(sweep(search, "sweep.scheduler=pbt", *overrides))


def test_population_based_training_is_of_kinds_that_can_take_over(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "name: s\nkind: offline\ndata: {path: set}\nsearch: {policy.batch_size: {integers: [32, 64]}}\n"
    )
    plan = load_sweep(tmp_path / "s.yaml", ["sweep.scheduler=pbt", "sweep.num_samples=4"])
    with pytest.raises(SettingsError, match="only online experiments can take over one another"):
        check_scheduler(plan)


def test_what_population_based_training_may_change_are_settings(sweep):
    (trial,) = sweep("search: {seed: {grid: [0]}}\n").trials
    for name in ONLINE_TAKEN_OVER:
        block, _, field = name.partition(".")
        assert hasattr(getattr(trial.experiment, block), field)


def test_a_dry_run_counts_and_starts_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from orchestrator.cli.main import main; main()", "sweep", str(SWEEPS / "tiny.yaml"),
         "--dry-run", f"runs_folder={tmp_path / 'runs'}"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tiny: 4 trials in 2 cells, 2 at once" in done.stdout
    assert "12,000" in done.stdout and "640 at most" in done.stdout
    assert list(tmp_path.iterdir()) == []
