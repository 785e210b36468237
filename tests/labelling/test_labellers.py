"""Labelling with GVL, TOPReward and random rewards: columns, order, failures, damage, a kill; bad settings."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from actors.rating.backend import Reply
from actors.rating.labellers.gvl import Gvl
from actors.rating.labellers.settings import GvlLabeller, TopRewardLabeller
from algorithms.progress_prompts import PROGRESS_PROMPT_VERSION
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.metadata import write_info
from orchestrator.errors import RatingsFailing
from orchestrator.labelling.episodes import order_correlations
from orchestrator.labelling.labeller_command import correlation_line
from orchestrator.ratings.score_store import ScoreStore
from tests.fakes.toy_labels import label, label_trajectories, label_trajectories_slowly, percentages, toy_set

LENGTHS = [3, 8, 11, 1, 20, 9]


def probabilities(prompt, images, choices):
    share = sum(images[-1]) % 101 / 100
    return Reply(choices[0], (share, 1 - share), 10, 1)


def tables(folder):
    return [pq.read_table(folder / part) for part in TrajectoryDataset(folder).parts]


def test_gvl_writes_its_columns(tmp_path):
    dataset = toy_set(tmp_path / "set", LENGTHS)
    before = tables(dataset.folder)
    settings = {"labeller": GvlLabeller(num_frames=64), "rewards": {"gvl": {}, "gvl_sparse": {"sparse": "sum"}}}
    counts = label_trajectories(dataset.folder, tmp_path / "store", percentages, **settings)
    assert (counts.windows, counts.failed, counts.actions, counts.episodes) == (6, 0, sum(LENGTHS), 6)
    for one in TrajectoryDataset(dataset.folder).episodes():
        expected = np.array([sum(png) % 101 for png in one.frames[1:]], dtype=float)
        np.testing.assert_allclose(one.scores["gvl"], expected)
        # Rewards of normalisation `unit` are parts of 1, and sum to the last percentage.
        np.testing.assert_allclose(one.rewards["gvl"].sum(), expected[-1] / 100, atol=1e-5)
        np.testing.assert_allclose(one.rewards["gvl_sparse"], one.rewards["gvl"] + one.sparse_rewards, atol=1e-6)
    about = TrajectoryDataset(dataset.folder).info.labels["gvl"]
    assert (about["model"], about["labeller"]["kind"], about["prompt_version"]) == (
        "function", "gvl", PROGRESS_PROMPT_VERSION,
    )  # fmt: skip
    for old, new in zip(before, tables(dataset.folder), strict=True):
        assert old.equals(new.select(old.column_names))
        assert new["score_gvl"].null_count == new["action"].null_count
    (row,) = [row for row in ScoreStore(tmp_path / "store").rows() if row["episode_id"] == "e001"]
    assert (row["mode"], row["prompt_version"], row["actions"]) == ("gvl", PROGRESS_PROMPT_VERSION, [])
    # Labelled again, nothing is asked; another use of the same answers comes from the store.
    again = label_trajectories(dataset.folder, tmp_path / "store", percentages, **settings)
    assert again.windows == 0
    level = {"labeller": GvlLabeller(num_frames=64, reward="level"), "name": "level"}
    other = label_trajectories(dataset.folder, tmp_path / "store", percentages, **level)
    assert other.windows == other.from_store == 6


def test_what_failed_is_null_and_asked_again_and_what_was_done_stays(tmp_path):
    dataset = toy_set(tmp_path / "set", LENGTHS)
    whole = toy_set(tmp_path / "whole", LENGTHS)
    asked = []

    def fails(prompt, images, choices):
        asked.append(images)
        return "nothing" if "reach place 2" in prompt.text else percentages(prompt, images, choices)

    settings = {"labeller": GvlLabeller()}
    counts = label_trajectories(dataset.folder, tmp_path / "store", fails, **settings)
    assert counts.failed == 1 and len(asked) == 6 and "unparsable" in counts.first_failure
    lost = {one.episode_id: np.isnan(one.rewards["gvl"]).all() for one in TrajectoryDataset(dataset.folder).episodes()}
    assert lost == {f"e{number:03d}": number == 2 for number in range(6)}
    again = label_trajectories(dataset.folder, tmp_path / "store", percentages, **settings)
    assert again.failed == 0 and again.windows - again.from_store == 1
    label_trajectories(whole.folder, tmp_path / "other", percentages, **settings)
    assert all(a.equals(b) for a, b in zip(tables(dataset.folder), tables(whole.folder), strict=True))


def test_a_rater_that_is_out_of_order_stops_it(tmp_path):
    dataset = toy_set(tmp_path / "set", [2] * 60)
    with pytest.raises(RatingsFailing, match="questions got no answer"):
        label_trajectories(dataset.folder, tmp_path / "store", lambda *_: "nothing", labeller=GvlLabeller())


def test_damage_is_named_and_stepped_around(tmp_path):
    dataset = toy_set(tmp_path / "set", [6, 6, 6, 6], part_bytes=10**9)
    (part,) = dataset.parts
    table = pq.read_table(dataset.folder / part)
    rows = table.to_pylist()
    for row in rows:
        if (row["episode_id"], row["t"]) == ("e001", 3):
            row["frame"] = row["frame"][:40]
        if row["episode_id"] == "e002":
            row["instruction"] = None
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), dataset.folder / part)
    told = []
    settings = {"labeller": TopRewardLabeller(stride=1, reward="level")}
    counts = label_trajectories(
        dataset.folder, tmp_path / "store", probabilities, lambda problem: told.append(str(problem)), **settings
    )
    assert counts.problems == 2 and any("e001" in line and "no readable PNG" in line for line in told)
    assert any("e002" in line and "instruction is missing" in line for line in told)
    found = {}
    for row in pq.read_table(dataset.folder / part).to_pylist():
        found.setdefault(row["episode_id"], []).append(row["reward_topreward"])
    assert [value is None for value in found["e001"]] == [False, False, True, False, False, False, True]
    assert found["e002"] == [None] * 7 and None not in found["e003"][:-1]


def test_order_correlations_count_the_frames_that_were_asked_about(tmp_path):
    dataset = toy_set(tmp_path / "set", [8, 12])

    def by_place(prompt, images, choices):
        episode = next(one for one in dataset.episodes() if images[0] == one.frames[0])
        return json.dumps([5 * episode.frames.index(png) for png in images[1:]])

    labeller = Gvl(GvlLabeller(num_frames=5))
    label_trajectories(dataset.folder, tmp_path / "store", by_place, labeller=GvlLabeller(num_frames=5))
    found = order_correlations(TrajectoryDataset(dataset.folder), "gvl", labeller)
    assert found == pytest.approx([1.0, 1.0])
    assert correlation_line(found).startswith("value-order correlation: 1.000 (mean of 2 trajectories")
    assert "not defined for 1," in correlation_line([*found, None])
    assert "not defined for any of 1" in correlation_line([None])


def test_killed_in_mid_work_it_asks_nothing_twice_and_ends_the_same(tmp_path):
    lengths = [3 + number % 5 for number in range(60)]
    dataset = toy_set(tmp_path / "set", lengths)
    shutil.copytree(tmp_path / "set", tmp_path / "whole")
    label_trajectories(tmp_path / "whole", tmp_path / "other", percentages, labeller=GvlLabeller())
    calls, store = tmp_path / "calls", tmp_path / "store"
    calls.touch()

    def stored():
        return sum(pq.read_metadata(part).num_rows for part in (store / "scores").glob("part-*.parquet"))

    # Forked, because importing everything anew takes longer than labelling.
    process = multiprocessing.get_context("fork").Process(
        target=label_trajectories_slowly, args=(dataset.folder, store, calls, 0.05)
    )
    process.start()
    while process.is_alive() and stored() < 20:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert 20 <= stored() < 60
    known = {row["images"][0] for row in ScoreStore(store).rows(["images"])}
    asked = []

    def noting(prompt, images, choices):
        asked.append(hashlib.sha256(images[0]).hexdigest())
        return percentages(prompt, images, choices)

    counts = label_trajectories(dataset.folder, store, noting, labeller=GvlLabeller())
    assert asked and not known & set(asked) and counts.failed == 0
    assert all(a.equals(b) for a, b in zip(tables(dataset.folder), tables(tmp_path / "whole"), strict=True))


# --------------------------------------------------------------------------------------------------- command


def likert(*arguments):
    return CliRunner().invoke(app, ["label", *map(str, arguments)])


@pytest.fixture
def file(tmp_path):
    toy_set(tmp_path / "set", LENGTHS)
    path = tmp_path / "label.yaml"
    path.write_text(f"kind: labelling\ndata: {tmp_path / 'set'}\nlabeller: {{kind: random, mean_of: rg_vlm}}\n")
    return path


def test_the_random_control_by_command(file, tmp_path):
    missing = likert(file)
    assert missing.exit_code == 2 and "has no column reward_rg_vlm; it has none" in missing.stderr
    label(tmp_path / "set", tmp_path / "store")
    planned = likert(file, "--dry-run")
    assert planned.exit_code == 0 and "0 of 4 parts are labelled; the others have 6 trajectories" in planned.output
    done = likert(file)
    assert done.exit_code == 0 and f"{sum(LENGTHS)} actions labelled in 4 of 4 parts: reward_random" in done.output
    dataset = TrajectoryDataset(tmp_path / "set")
    theirs = np.concatenate([one.rewards["rg_vlm"] for one in dataset.episodes()]).astype(float)
    ours = np.concatenate([one.rewards["random"] for one in dataset.episodes()])
    assert dataset.info.labels["random"]["mean"] == pytest.approx(theirs.mean())
    assert (ours >= 0).all() and (ours <= 2 * theirs.mean() + 1e-6).all() and len(set(ours.tolist())) == sum(LENGTHS)
    assert "0 actions labelled in 0 of 4 parts" in likert(file).output
    # A kill may come between the last part and the note, without which nobody finds the columns.
    noted = dataset.info.labels
    unnoted = {name: about for name, about in noted.items() if name != "random"}
    write_info(dataset.folder, dataset.info.model_copy(update={"labels": unnoted}))
    assert "0 actions labelled in 0 of 4 parts" in likert(file).output
    assert TrajectoryDataset(tmp_path / "set").info.labels == noted
    assert f"{sum(LENGTHS)} actions labelled in 4 of 4" in likert(file, "labeller.seed=5").output


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "labeller.kind=clipp",
            "labeller.kind = 'clipp': must be one of 'rg_vlm', 'clip', 'blip2', 'video', 'roboclip'",
        ),
        ("labeller={alpha: 1}", "labeller.kind is missing: add it"),
        ("labeller={kind: [clip]}", "labeller.kind = "),
        ("labeller=clip", "labeller = 'clip': must be a block"),
        ("labeller={kind: clip, alfa: 1}", "labeller.alfa: there is no such setting; did you mean 'alpha'"),
        ("labeller={kind: clip, alpha: 2}", "labeller.alpha = 2: must be at most 1.0. It means: Strength of goal"),
        ("labeller={kind: gvl, num_frames: 1}", "labeller.num_frames = 1: must be at least 2"),
        ("labeller={kind: random}", "labeller.mean_of is missing: add it. It means: A labeller"),
        ("labeller={kind: roboclip, weights: none.pth, words: none.npy}", "labeller.words = 'none.npy' cannot be read"),
        ("labeller={kind: clip, model: /no/such/model}", "labeller.model = '/no/such/model' cannot be loaded"),
        ("mode=single_turn", "mode means nothing to labeller.kind 'random': leave it out"),
        ("rater.model=pocket", "rater means nothing to labeller.kind 'random'"),
        ("name=sparse", "'sparse' names the reward that every data set has"),
    ],
)
def test_bad_settings_exit_with_2(file, override, message):
    done = likert(file, override)
    assert done.exit_code == 2 and message in done.stderr, done.output


def test_a_labelling_that_names_no_labeller_is_rg_vlm_s(tmp_path, file):
    done = likert(file, "labeller={kind: gvl}", "rater.model=/no/such/model")
    assert done.exit_code == 2 and "rater.model '/no/such/model'" in done.stderr
    file.write_text(f"kind: labelling\ndata: {tmp_path / 'set'}\nmode: three\n")
    assert "must be one of 'two_turn', 'single_turn', 'logits'" in likert(file).stderr
