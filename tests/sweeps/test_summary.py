"""What a sweep makes of its trials' folders: cells, table, figure; and how far schedulers and budgets remember."""

import csv
import io
import itertools
import time
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from orchestrator.errors import SettingsError
from orchestrator.reports.intervals import bootstrap_interval, interquartile_mean
from orchestrator.runs.checkpoints import Checkpoints
from orchestrator.settings.loading import settings_as_yaml
from orchestrator.storage.writing import write_json_lines, write_text
from orchestrator.sweeps.raters import share_raters
from orchestrator.sweeps.search import load_sweep
from orchestrator.sweeps.summary import cells_of, score_name, write_summary
from orchestrator.sweeps.sweep_folder import SweepFolder
from orchestrator.sweeps.table import SweepTable, TrialState
from orchestrator.sweeps.trial import TrialProgress
from orchestrator.sweeps.trial_folder import TrialRecord, read_record, write_record
from orchestrator.sweeps.watcher import BudgetReached, Watcher

SEARCH = "search: {reward_model.loss: {grid: [mae, cross_entropy]}, seed: {grid: [0, 1, 2, 3]}}\n"


@pytest.fixture
def sweep(tmp_path):
    """A function that loads a sweep with these overrides."""
    (tmp_path / "sweep.yaml").write_text(
        f"name: s\ntask: drawer_close\nreward_model: {{image_px: 56}}\nruns_folder: {tmp_path}/runs\n{SEARCH}"
    )
    return lambda *overrides: load_sweep(tmp_path / "sweep.yaml", overrides)


def write_trial(plan, name, successes, outcome="finished", asked=100, metric="eval/success"):
    """A trial's folder as a run would leave it: evaluations of these successes, every 1,000 steps."""
    trial = plan.trial(name)
    folder = trial.experiment.run_folder
    rows = [
        {"env_step": 1000 * (index + 1), "time": 0.0, metric: success, "rating/asked": asked}
        for index, success in enumerate(successes)
    ]
    write_text(folder / "settings.yaml", settings_as_yaml(trial.experiment))
    write_json_lines(folder / "metrics.jsonl", rows)
    write_record(folder, TrialRecord(outcome=outcome, asked_model=asked))


def test_the_interquartile_mean_is_that_of_the_middle_half():
    # Of eight, two go at each end; of three, none.
    assert interquartile_mean(np.array([[0, 0, 3, 4, 5, 6, 9, 100.0]])) == pytest.approx(4.5)
    assert interquartile_mean(np.array([[0, 1, 5.0]])) == pytest.approx(2.0)
    one = bootstrap_interval([np.array([0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 9.0])], statistic=interquartile_mean)
    assert one.mean == 0.5 and one.low < 0.5 <= one.high < 9.0


def test_a_cell_is_summed_up_over_its_seeds(sweep):
    plan = sweep()
    for seed, last in enumerate([0.0, 0.2, 0.4, 1.0]):
        # The first evaluation is not among the last three.
        write_trial(plan, f"loss-mae-seed{seed}", [1.0, last, last, last])
    write_trial(plan, "loss-cross_entropy-seed0", [0.5], outcome="unfinished", asked=50)
    write_trial(plan, "loss-cross_entropy-seed1", [0.1], outcome="stopped")
    mae, cross_entropy = cells_of(plan, SweepFolder(plan))
    assert (mae.name, mae.num_seeds, mae.num_evaluated, mae.num_finished) == ("loss-mae", 4, 4, 4)
    assert mae.values == {"reward_model.loss": "mae"}
    # Of four, one goes at each end.
    assert mae.score.mean == pytest.approx(0.3)
    assert mae.score.low < 0.3 < mae.score.high
    assert mae.scores == pytest.approx([0.0, 0.2, 0.4, 1.0])
    assert (cross_entropy.num_evaluated, cross_entropy.num_finished, cross_entropy.num_stopped) == (2, 0, 1)
    assert cross_entropy.ratings == 75


def test_table_csv_and_figure_are_written(sweep):
    plan, notes = sweep(), []
    for seed in range(4):
        write_trial(plan, f"loss-mae-seed{seed}", [0.5])
    write_trial(plan, "loss-cross_entropy-seed0", [0.25], outcome="unfinished")
    metrics = write_summary(plan, SweepFolder(plan), notes.append)
    assert metrics == {"cell/loss-mae/success": 0.5, "cell/loss-cross_entropy/success": 0.25}
    text = (plan.folder / "summary.md").read_text()
    assert "| mae | 4 | 0.50 [0.50, 0.50] | 0.50 | 0.50 | 100 |" in text
    assert "| cross_entropy | 1* | 0.25 [0.25, 0.25] |" in text
    assert "one good setting" not in text and text in notes
    rows = list(csv.DictReader(io.StringIO((plan.folder / "summary.csv").read_text())))
    assert [(row["reward_model.loss"], row["seeds"], row["success_iqm"]) for row in rows] == [
        ("mae", "4", "0.5"), ("cross_entropy", "4", "0.25"),
    ]  # fmt: skip
    assert (plan.folder / "summary.png").stat().st_size > 5_000
    searched = sweep("sweep.scheduler=asha")
    write_summary(searched, SweepFolder(searched), notes.append)
    assert "one good setting" in (plan.folder / "summary.md").read_text()


@pytest.mark.parametrize(
    ("judged", "score", "name", "column"),
    [
        ("", "eval/randomised_proportion", "sub-tasks completed", "randomised_proportion_iqm"),
        ("evaluation: {environment: none}\n", "held_out/agreement", "agreement with held-out actions", "agreement_iqm"),
    ],
)
def test_a_score_that_is_no_success_is_not_called_one(tmp_path, judged, score, name, column):
    (tmp_path / "sweep.yaml").write_text(
        f"kind: offline\nname: o\nruns_folder: {tmp_path}/runs\ndata: {{path: set, reward: {{labeller: sparse}}}}\n"
        f"{judged}search: {{seed: {{grid: [0]}}}}\n"
    )
    plan = load_sweep(tmp_path / "sweep.yaml")
    write_trial(plan, plan.trials[0].name, [0.25], metric=score)
    metrics = write_summary(plan, SweepFolder(plan), lambda text: None)
    assert list(metrics.values()) == [0.25] and "success" not in "".join(metrics)
    text = (plan.folder / "summary.md").read_text()
    assert f"| {name}, IQM |" in text and f"is the metric {score}, " in text and "uccess" not in text
    assert float(next(csv.DictReader(io.StringIO((plan.folder / "summary.csv").read_text())))[column]) == 0.25
    table = SweepTable("o", {"one": TrialState(10)}, io.StringIO(), score=score_name(plan))
    console = Console(file=io.StringIO(), width=140)
    console.print(table._render())
    assert name in console.file.getvalue() and "success" not in console.file.getvalue()


def test_without_an_evaluation_there_is_no_summary(sweep):
    plan = sweep()
    assert write_summary(plan, SweepFolder(plan), print) == {}
    assert not (plan.folder / "summary.md").exists()


def test_a_folder_with_a_sweep_is_used_again_only_to_go_on(sweep):
    plan = sweep()
    folder = SweepFolder(plan)
    with pytest.raises(SettingsError, match=r"there is no sweep in .* yet"):
        folder.check(resume=True)
    folder.check(resume=False)
    folder.write_plan()
    with pytest.raises(SettingsError, match=r"holds a sweep already\. Add --resume"):
        folder.check(resume=False)
    folder.check(resume=True)
    # More seeds may join; none may leave.
    SweepFolder(sweep("search.seed.grid=[0, 1, 2, 3, 4]")).check(resume=True)
    with pytest.raises(SettingsError, match="has 2 trials that these settings do not have, such as loss-mae-seed3"):
        SweepFolder(sweep("search.seed.grid=[0, 1, 2]")).check(resume=True)


def test_trials_that_ran_with_other_settings_are_not_mixed_in(sweep):
    write_trial(sweep(), "loss-mae-seed0", [0.5])
    assert len(SweepFolder(sweep()).trials()) == 8
    assert len(SweepFolder(sweep("rater.max_in_flight=7", "sweep.concurrency=2")).trials()) == 8
    with pytest.raises(SettingsError, match=r"policy\.tau was 0\.005 and is 0\.5"):
        SweepFolder(sweep("policy.tau=0.5")).trials()


def test_trials_that_ask_alike_share_a_server_and_a_name_that_is_given_stands(sweep):
    plan, own = share_raters(sweep("search.rater.temperature.grid=[0.0, 0.5]"))
    assert [rater.server for rater in own] == ["s", "s-2"]
    assert {trial.experiment.rater.server for trial in plan.trials if trial.values["rater.temperature"] == 0.5} == {
        "s-2"
    }
    plan, own = share_raters(sweep("rater.server=mine"))
    assert own == [] and {trial.experiment.rater.server for trial in plan.trials} == {"mine"}


def test_a_rung_counts_what_was_reached_before_the_sweep_was_stopped(sweep):
    from ray.tune.schedulers import TrialScheduler

    from orchestrator.sweeps.schedulers import make_scheduler

    plan = sweep(
        "sweep.scheduler=asha", "sweep.asha.grace_env_steps=1000", "sweep.asha.reduction_factor=2",
        "total_env_steps=8000", "feedback.first_env_steps=500",
    )  # fmt: skip
    for seed in range(4):
        write_trial(plan, f"loss-mae-seed{seed}", [0.8, 0.9])
    scheduler = make_scheduler(plan, SweepFolder(plan).history)
    for seed in range(4):
        scheduler.recall(f"loss-mae-seed{seed}")

    def report(name, env_steps, success):
        trial = SimpleNamespace(trial_id=name, custom_trial_name=name)
        scheduler.on_trial_add(None, trial)
        return scheduler.on_trial_result(None, trial, {"judged_at": env_steps, "success": success})

    assert report("loss-cross_entropy-seed0", 1000, 0.1) == TrialScheduler.STOP
    assert report("loss-cross_entropy-seed1", 1000, 0.9) == TrialScheduler.CONTINUE
    assert report("loss-cross_entropy-seed2", 2000, 0.2) == TrialScheduler.STOP
    # Before the first evaluation there is nothing to compare.
    trial = SimpleNamespace(trial_id="loss-cross_entropy-seed3", custom_trial_name="loss-cross_entropy-seed3")
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, {"env_steps": 1000, "phase": "acting"}) == TrialScheduler.CONTINUE


def test_population_based_training_stays_within_the_search(sweep):
    from orchestrator.sweeps.schedulers import make_scheduler

    plan = sweep("search.policy.discount={uniform: [0.9, 0.99]}", "search.policy.batch_size={integers: [64, 70]}")
    pbt = plan.settings.model_copy(update={"scheduler": "pbt"})
    scheduler = make_scheduler(SimpleNamespace(search=plan.search, settings=pbt, trials=plan.trials), lambda _: [])
    for seed in range(50):
        np.random.seed(seed)
        config = {"start": {"trial": "x", "values": {"policy.discount": 0.98, "policy.batch_size": 69}}}
        clone = SimpleNamespace(config=config)
        new, _ = scheduler._get_new_config(clone, clone)
        values = new["start"]["values"]
        assert 0.9 <= values["policy.discount"] <= 0.99
        assert 64 <= values["policy.batch_size"] <= 70 and isinstance(values["policy.batch_size"], int)
        assert new["start"]["trial"] == "x"


@pytest.fixture
def watcher(sweep):
    """A function that makes a watcher of a sweep with these overrides."""

    def make(*overrides):
        plan = sweep(*overrides)
        states = {trial.name: TrialState(total_env_steps=1000) for trial in plan.trials}
        return Watcher(plan, SweepFolder(plan), SweepTable("s", states, io.StringIO()))

    return make


def trial_of_tune(name):
    return SimpleNamespace(custom_trial_name=name, error_file=None)


def test_a_trial_reports_what_is_new_and_at_which_step_it_was_judged(sweep):
    progress, reports = TrialProgress("trial", 1_000), []
    with progress.reported(reports.append, 0.01):
        progress.update(phase="acting", env_steps=100, asked=40, answered=38, failed=2, from_store=10, shared=5)
        while not reports or reports[-1]["env_steps"] < 100:
            time.sleep(0.01)
        progress.update(phase="evaluation", env_steps=200)
        progress.update(success=0.5)
        progress.update(phase="acting", env_steps=300)
        while reports[-1]["env_steps"] < 300:
            time.sleep(0.01)
    # Of 40 answered or failed, 10 were in the store, and 5 another trial asked too.
    assert reports[-1] == {
        "env_steps": 300, "phase": "acting", "asked": 40, "shared": 15, "asked_model": 25, "success": 0.5,
        "judged_at": 200,
    }  # fmt: skip
    assert all(("success" in report) == ("judged_at" in report) for report in reports)
    assert all(new != old for old, new in itertools.pairwise(reports))


def test_what_the_scheduler_stops_is_done_and_what_says_so_itself_is_finished(sweep, watcher):
    plan, watched = sweep(), watcher()
    one, other = plan.trials[:2]
    write_record(one.experiment.run_folder, TrialRecord(outcome="finished", asked_model=7))
    watched.on_trial_result(0, [], trial_of_tune(other.name), {"env_steps": 10, "asked": 5, "asked_model": 3})
    for trial in (one, other):
        watched.on_trial_complete(0, [], trial_of_tune(trial.name))
    assert read_record(one.experiment.run_folder).outcome == "finished"
    assert read_record(other.experiment.run_folder) == TrialRecord(outcome="stopped", asked_model=3)


@pytest.mark.parametrize(
    ("budget", "message"),
    [("ratings=10", r"ratings = 10 .* was asked 12"), ("trials=1", "trials = 1"), ("hours=1e-9", "hours = 1e-09")],
)
def test_a_budget_that_is_used_up_stops_the_sweep(watcher, budget, message):
    watched = watcher(f"sweep.budget.{budget}")
    if not budget.startswith("hours"):
        watched.on_step_end(0, [])
    watched.on_trial_result(0, [], trial_of_tune("loss-mae-seed0"), {"env_steps": 10, "asked": 20, "asked_model": 12})
    watched.on_trial_complete(0, [], trial_of_tune("loss-mae-seed0"))
    with pytest.raises(BudgetReached, match=message):
        watched.on_step_end(1, [])


def test_time_counts_over_all_launches(watcher):
    first = watcher("sweep.budget.hours=1")
    first.on_step_end(0, [])
    first._folder.keep_elapsed(3601.0)
    with pytest.raises(BudgetReached):
        watcher("sweep.budget.hours=1").on_step_end(0, [])


def test_off_a_terminal_a_line_says_what_is_new():
    stream = io.StringIO()
    with SweepTable("s", {"a": TrialState(1000), "b": TrialState(1000)}, stream) as table:
        table.update("a", status="running", phase="starting")
        table.update("a", phase="acting", env_steps=100)
        table.update("a", env_steps=500, success=0.5, asked=40, shared=30, asked_model=10)
        table.update("a", env_steps=510)
        assert table.summary().startswith("s: 1 running, 1 waiting; 40 ratings, 10 of them by the model")
        table.update("a", status="finished")
    assert stream.getvalue().splitlines() == [
        "a | starting",
        "a | acting | 500/1,000 | 50% | 40 asked, 30 shared | 0:00",
        "a | finished | 510/1,000 | 50% | 40 asked, 30 shared",
    ]


def test_on_a_terminal_trials_at_work_come_first():
    states = {f"t{number:02}": TrialState(1000, status="finished") for number in range(30)}
    table = SweepTable("s", states | {"last": TrialState(1000)}, io.StringIO())
    table.update("last", status="running", phase="rating", env_steps=10)
    console = Console(file=io.StringIO(), width=100)
    console.print(table._render())
    lines = console.file.getvalue().splitlines()
    rows = [line for line in lines if line.startswith("│")]
    assert "last" in rows[0] and len(rows) == 24
    assert "and 7 more" in lines[-1]


def test_a_run_takes_over_the_newest_checkpoint_of_another(tmp_path):
    def save(checkpoints, env_steps, text):
        checkpoints.save(env_steps, lambda folder: (folder / "state").write_text(text))

    better, worse = Checkpoints(tmp_path / "better", 2), Checkpoints(tmp_path / "worse", 2)
    assert worse.take_over(tmp_path / "better") is None
    save(better, 100, "better at 100")
    save(better, 200, "better at 200")
    save(worse, 200, "worse at 200")
    save(worse, 300, "worse at 300")
    taken = worse.take_over(tmp_path / "better")
    # What lies beyond is gone: the run goes on from what it took over.
    assert worse.newest_first() == [taken]
    assert (taken / "state").read_text() == "better at 200"
    assert (better.newest_first()[0] / "state").read_text() == "better at 200"
