"""What was made before the modules moved to their rooms is read, and gone on with: runs, ratings, data, sweeps.

`tests/made_before/README.md` says what is there and how it was made.
"""

import csv
import http.server
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from actors.rating.asking import request_key
from algorithms.ratings import RaterIdentity
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.kinds import load_experiment
from orchestrator.labelling.settings import load_labelling
from orchestrator.labelling.window_stream import request_of, window_rows
from orchestrator.online.questions import QuestionMaker
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.score_store import ScoreStore
from orchestrator.ratings.store import RatingStore
from orchestrator.storage.writing import read_json_lines
from orchestrator.sweeps.trial_folder import read_record
from tests.fakes.actors_here import HERE_OR_BY_RAY, actors_here
from tests.online.test_run_for_real import Endpoint, last_checkpoint

MADE = Path(__file__).parent / "made_before"
TOLD_SINCE = ("eval/done", "eval/done_last_step", "rating/repeats")
"""Metrics that the old code did not write."""


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A copy of all that was made, in the folder that its relative paths begin at."""
    shutil.copytree(MADE, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=HERE_OR_BY_RAY)
def actors(request, monkeypatch):
    """Where a run's actors live."""
    if request.param == "here":
        actors_here(monkeypatch)


@pytest.fixture
def endpoint(monkeypatch):
    """The address of a rater that finds every frame bad, so that no engine has to start."""
    monkeypatch.setattr(Endpoint, "mood", "well")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def likert(*arguments):
    """What the command prints."""
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def rows_of(path):
    """A metrics file without what differs from machine to machine."""
    return [
        {name: value for name, value in row.items() if not name.startswith("time")} for row in read_json_lines(path)
    ]


def by_step(rows):
    """Metrics by name and step: some that were written in a row each are written in one now."""
    return {(name, row["env_step"]): value for row in rows for name, value in row.items() if name != "env_step"}


def assert_went_on_as_before(run, kept, judged_otherwise=()):
    """`kept` rows of the run's metrics are as they were; the others as the old code has written them, going on, but for
    the values of those that begin with `judged_otherwise`."""
    now = rows_of(run / "metrics.jsonl")
    assert now[:kept] == rows_of(MADE / run.relative_to(Path.cwd()) / "metrics.jsonl")[:kept]
    expected = by_step(rows_of(MADE / "went_on" / f"{run.name}.jsonl"))
    told = {which: value for which, value in by_step(now[kept:]).items() if which[0] not in TOLD_SINCE}
    assert told.keys() == expected.keys()
    for which, value in told.items():
        if not which[0].startswith(tuple(judged_otherwise)):
            assert value == pytest.approx(expected[which], rel=1e-2, abs=1e-3), which


def arrays(path):
    with np.load(path) as file:
        return dict(file)


# ------------------------------------------------------------------------------------------------ reports


@pytest.mark.parametrize(("run", "table"), [("online-seed0", "results.csv"), ("offline-seed0", "chains.csv")])
def test_a_report_has_the_numbers_that_it_had(old, run, table):
    likert("report", old / "runs" / run, "--out", old / "out")
    with (old / "out" / table).open() as now, (old / "report" / table).open() as before:
        rows, expected = list(csv.DictReader(now)), list(csv.DictReader(before))
    assert [{name: row[name] for name in old_row} for row, old_row in zip(rows, expected, strict=True)] == expected


# ------------------------------------------------------------------------------------------------ runs that go on


def test_an_online_run_goes_on_as_the_old_code_would(old, actors, endpoint):
    run = old / "runs/online-seed0"
    before = last_checkpoint(run)
    shown = likert(
        "run", "runs/online-seed0/settings.yaml", "total_env_steps=320", "feedback.budget=18",
        f"rater.endpoint={endpoint}",
    )  # fmt: skip
    assert "going on from runs/online-seed0/checkpoints/env-steps-0000000240" in shown
    kept = len(rows_of(MADE / "runs/online-seed0/metrics.jsonl"))
    assert_went_on_as_before(run, kept)
    assert "an older likert-rl began this run: from here on no picture" in " ".join(shown.split())
    evaluated = [row for row in rows_of(run / "metrics.jsonl")[kept:] if "eval/success" in row]
    assert evaluated and all({"eval/done", "eval/done_last_step"} < set(row) for row in evaluated)
    after = last_checkpoint(run)
    # Twelve ratings that it had, and a session that the larger budget allows.
    assert (after["keys"][:12], len(after["keys"])) == (before["keys"], 18)
    assert after["ratings"] == [*before["ratings"], *[1] * 6]
    seen, seen_before = (checkpoint["replay"]["column.observation"] for checkpoint in (after, before))
    assert len(seen) == 160
    np.testing.assert_array_equal(seen[: len(seen_before)], seen_before)
    assert set(before["keys"]) < {row["key"] for row in RatingStore(old / "ratings").rows(["key"])}


def test_an_offline_run_goes_on_as_the_old_code_would(old, actors):
    run = old / "runs/offline-seed0"
    weights = arrays(run / "policy.npz")
    shown = likert("run", "runs/offline-seed0/settings.yaml", "total_updates=32", f"runs_folder={old / 'runs'}")
    assert "going on from" in shown and "env-steps-0000000024" in shown
    assert "it was made by an older likert-rl (babyai, by other rules)" in " ".join(shown.split())
    assert "an older likert-rl began this run and judged it by other tasks" in " ".join(shown.split())
    assert_went_on_as_before(run, kept=len(rows_of(MADE / "runs/offline-seed0/metrics.jsonl")))
    now = arrays(run / "policy.npz")
    assert now.keys() == weights.keys()
    assert any(not np.array_equal(now[name], weights[name]) for name in weights)


# ------------------------------------------------------------------------------------------------ ratings


def test_a_rating_store_is_read_and_a_question_has_the_key_that_it_had(old):
    shown = likert("ratings", "ratings")
    assert "12 ratings, 12 pictures, 6 failed questions" in shown
    assert "Very Bad 1, Bad 11, Average 0, Good 0, Very Good 0" in shown
    assert "timeout" in likert("ratings", "ratings", "--failures")
    store = RatingStore(old / "ratings")
    rows = list(store.rows())
    keys = [row["key"] for row in rows]
    found = store.lookup(keys)
    assert [found[key].rating for key in keys] == [row["rating"] for row in rows]
    assert all(found[key].analysis for key in keys)
    # The whole row, its request included, with the pictures.
    assert [stored.rating.key for stored in store.load(keys)] == keys
    # What the loop would ask today about these frames; another key would have everything asked again.
    experiment = load_experiment(old / "runs/online-seed0/settings.yaml")
    assert isinstance(experiment, OnlineExperiment)
    maker = QuestionMaker(experiment)
    for row, frames in zip(rows, store.frames(keys), strict=True):
        request = maker.question(frames, 0, False).request
        identity = RaterIdentity(row["model"], row["revision"])
        assert request_key(request, identity, experiment.rater.sampling) == row["key"]
    checkpoint = json.loads((old / "runs/online-seed0/checkpoints/env-steps-0000000240/loop.json").read_text())
    assert checkpoint["sessions"]["keys"] == keys


# ------------------------------------------------------------------------------------------------ data sets


def test_a_data_set_is_whole_and_has_its_labels(old):
    shown = likert("data", "check", "data/chains")
    assert "4 episodes, 16 actions, 1 part; labellers: rg_vlm, rg_vlm_sparse, random" in shown
    assert "nothing is wrong with it" in shown
    episodes = list(TrajectoryDataset(old / "data/chains").episodes())
    assert [(episode.instruction, len(episode)) for episode in episodes] == [
        ("go to the key", 1), ("pick up the blue box", 6), ("go to the yellow box", 5), ("go to the ball", 4),
    ]  # fmt: skip
    for episode in episodes:
        assert len(episode.frames) == len(episode.symbolic) == len(episode) + 1
        assert set(episode.scores["rg_vlm"]) == {9.0}
        np.testing.assert_array_equal(episode.rewards["rg_vlm"], np.float32(0.9))
        np.testing.assert_array_equal(episode.rewards["rg_vlm_sparse"][-1:], np.float32(1.9))
    assert sum(episode.rewards["random"].sum() for episode in episodes) == pytest.approx(16.85127, abs=1e-4)


def test_a_data_set_is_known_as_labelled_and_a_window_has_the_key_that_it_had(old):
    settings = load_labelling(old / "label.yaml")
    dataset, store = TrajectoryDataset(old / "data/chains"), ScoreStore(old / "ratings")
    about = dataset.info.labels["rg_vlm"]
    digest = settings.digest(about["model"], about["revision"], about["prompt_version"])
    (part,) = dataset.parts
    assert dataset.label_stamp(part, "rg_vlm") == {"digest": digest, "failed": 0}
    windows = [row for row in window_rows(dataset.folder, part, settings.window) if row["kind"] == "window"]
    identity = RaterIdentity(about["model"], about["revision"])
    keys = [request_key(request_of(row, settings.mode), identity, settings.rater.sampling) for row in windows]
    found = store.lookup(keys)
    assert [found[key].scores for key in keys] == [(9.0,) * len(row["actions"]) for row in windows]
    assert {row["key"] for row in store.rows(["key"])} == set(keys) == {row["key"] for row in store.failures(["key"])}


# ------------------------------------------------------------------------------------------------ sweeps


def test_a_sweep_knows_which_of_its_trials_is_done(old):
    assert "2 trials in 1 cells" in likert("sweep", "sweep.yaml", "--dry-run")
    outcomes = [read_record(old / "runs/swept" / name).outcome for name in ("swept-seed0", "swept-seed1")]
    assert outcomes == ["finished", "unfinished"]


@pytest.mark.slow
def test_a_sweep_goes_on_with_the_trial_that_is_not_done(old):
    done, stopped = (old / "runs/swept" / name for name in ("swept-seed0", "swept-seed1"))
    files = {path: path.read_bytes() for path in done.rglob("*") if path.is_file()}
    shown = likert("sweep", "sweep.yaml", "--resume")
    assert "1 of 2 trials to run" in shown
    assert all(path.read_bytes() == content for path, content in files.items())
    assert read_record(stopped).outcome == "finished"
    # The row behind the checkpoint is written anew.
    # Of steps from a randomised start there are more today: as many as its own way takes.
    assert_went_on_as_before(stopped, kept=4, judged_otherwise=("eval/randomised",))
    with (old / "runs/swept/summary.csv").open() as file:
        (cell,) = csv.DictReader(file)
    assert (cell["seeds"], cell["finished"]) == ("2", "2")
