"""Labellers that ask the rating server, and the random control: formulas by hand, order, failures, damage, resuming."""

import asyncio
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

from actors.rating.asking import request_key
from actors.rating.backend import Reply, ServerError
from actors.rating.fake import FunctionBackend
from actors.rating.labellers.gvl import Gvl
from actors.rating.labellers.labeller import BROKEN_FRAME
from actors.rating.labellers.random_rewards import RandomRewards
from actors.rating.labellers.settings import GvlLabeller, RandomLabeller, TopRewardLabeller
from actors.rating.labellers.topreward import TopReward
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from algorithms.progress import ProgressRequest, interpolated, paid, spread, value_order_correlation
from algorithms.progress_prompts import PROGRESS_PROMPT_VERSION, TRUTHS, VERDICTS, parse_percentages
from algorithms.ratings import RaterIdentity, RatingFailure, Sampling
from algorithms.scores import Scores
from orchestrator.cli import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import RatingsFailing
from orchestrator.labelling.episodes import order_correlations
from orchestrator.labelling.labeller_command import correlation_line
from orchestrator.labelling.score_store import ScoreStore
from tests.toy_labels import label, label_trajectories, label_trajectories_slowly, percentages, toy_episode, toy_set

FAKE = RaterIdentity("function", "fake")


def answered(*scores):
    return Scores("key", tuple(scores), (), "", 0, 0, 0.0)


# ------------------------------------------------------------------------------------------------------- by hand


def test_value_order_correlation_by_hand():
    def voc(*values):
        return value_order_correlation(np.array(values, dtype=float))

    assert voc(0, 10, 90) == pytest.approx(1) and voc(9, 5, 1) == pytest.approx(-1)
    # Ranks 0, 2, 1 against 0, 1, 2: covariance 1, variances 2.
    assert voc(1, 3, 2) == pytest.approx(0.5)
    # Ranks 1/2, 1/2, 2: covariance 3/2, variances 3/2 and 2.
    assert voc(4, 4, 9) == pytest.approx(1.5 / np.sqrt(3))
    assert voc(1, np.nan, 2) == pytest.approx(1)
    assert voc(5, 5, 5) is None and voc(5) is None and voc() is None and voc(np.nan, 1) is None


def test_frames_are_spread_with_both_ends():
    assert spread(5, 8) == [0, 1, 2, 3, 4] and spread(5, 5) == [0, 1, 2, 3, 4]
    assert spread(9, 3) == [0, 4, 8] and spread(10, 4) == [0, 3, 6, 9]
    # 4.5 is rounded up.
    assert spread(10, 3) == [0, 5, 9]
    assert spread(7, 1) == [6] and spread(1, 4) == [0]
    with pytest.raises(ValueError, match="cannot choose 3 of 0"):
        spread(0, 3)


def test_values_lie_on_lines_between_those_that_are_known():
    line = interpolated([0, 2, 5], [0.0, 10.0, 40.0], 7)
    np.testing.assert_allclose(line, [0, 5, 10, 20, 30, 40, np.nan])
    np.testing.assert_allclose(interpolated([0, 2, 4], [0.0, np.nan, 8.0], 5), [0, np.nan, np.nan, np.nan, 8])
    np.testing.assert_allclose(paid(line, "difference"), [5, 5, 10, 10, 10, np.nan])
    np.testing.assert_allclose(paid(line, "level"), line[1:])


@pytest.mark.parametrize("text", ["no", "[1,2]", "[1,2,101]", "[1,2,-1]", "[1,2,3.5]", "[1,2,true]", '{"a": 1}'])
def test_percentages_are_taken_as_they_should_be_or_not_at_all(text):
    with pytest.raises(ValueError, match="the answer"):
        parse_percentages(text, 3)
    assert parse_percentages("[0, 50, 100]", 3) == (0.0, 50.0, 100.0)


# ------------------------------------------------------------------------------------------------- questions


def request(mode):
    return ProgressRequest((b"a", b"b", b"c"), "pick up the ball", mode, "in time order")


def ask(function, asked):
    settings = RaterSettings(max_attempts=2)
    server = RatingServer(settings, FunctionBackend(function), first_pause_s=0.001)
    (outcome,) = asyncio.run(server.rate([asked]))
    assert outcome.key == request_key(asked, FAKE, settings.sampling)
    return outcome


def test_percentages_of_all_pictures_but_the_first():
    asked = []

    def function(prompt, images, choices):
        asked.append((prompt, images, choices))
        return Reply("[20,70]", None, 30, 5)

    scores = ask(function, request("gvl"))
    assert scores.scores == (20.0, 70.0) and (scores.prompt_tokens, scores.completion_tokens) == (30, 5)
    ((prompt, images, choices),) = asked
    assert images == (b"a", b"b", b"c") and choices == () and "pick up the ball" in prompt.text
    schema = json.loads(prompt.schema)
    assert schema["minItems"] == schema["maxItems"] == 2 and schema["items"]["maximum"] == 100
    failure = ask(lambda *_: "[20]", request("gvl"))
    assert isinstance(failure, RatingFailure) and failure.cause == "unparsable"


def test_the_probability_of_true():
    scores = ask(lambda prompt, images, choices: Reply(choices[1], (0.3, 0.7)), request("topreward"))
    assert scores.scores == (0.3,) and scores.probabilities == ((0.3, 0.7),)
    assert TRUTHS == ("True", "False")
    failure = ask(lambda *_: Reply("True", None), request("topreward"))
    assert isinstance(failure, RatingFailure) and "probabilities" in failure.detail


def test_a_verdict_at_once_and_in_two_turns():
    assert ask(lambda *_: "A", request("verdict")).scores == (1.0,)
    assert ask(lambda *_: "B", request("verdict")).scores == (0.0,)
    assert ask(lambda *_: "yes", request("verdict")).cause == "unparsable"
    said = ["It grasps.", ServerError("busy"), Reply("A", (0.9, 0.1))]
    prompts = []

    def function(prompt, images, choices):
        prompts.append((prompt, choices))
        answer = said.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    scores = ask(function, request("verdict_two_turn"))
    assert (scores.scores, scores.probabilities, scores.analysis) == ((1.0,), ((0.9, 0.1),), "It grasps.")
    # What was analysed is not analysed again after an error.
    assert [choices for _, choices in prompts] == [(), VERDICTS, VERDICTS]
    assert prompts[2][0].earlier == ((prompts[0][0].text, "It grasps."),)


def test_each_mode_and_order_is_a_question_of_its_own():
    asked = [request(mode) for mode in ("gvl", "topreward", "verdict", "verdict_two_turn")]
    asked.append(ProgressRequest((b"b", b"a", b"c"), "pick up the ball", "gvl", "in time order"))
    asked.append(ProgressRequest((b"a", b"b", b"c"), "pick up the ball", "gvl", "in random order"))
    assert len({request_key(one, FAKE, Sampling()) for one in asked}) == len(asked)


# ------------------------------------------------------------------------------------------------- labellers


def test_gvl_shows_the_first_frame_first_and_puts_the_others_back():
    episode = toy_episode(1, 10)
    labeller = Gvl(GvlLabeller(num_frames=6))
    (question,) = labeller.questions(episode)
    shown = [episode.frames.index(png) for png in question.images]
    assert shown[0] == 0 and sorted(shown) == spread(11, 6) == [0, 2, 4, 6, 8, 10] and shown[1:] != sorted(shown[1:])
    assert labeller.questions(episode) == [question] and "random" in question.frame_note
    # The answer says ten times the frame's number, so the values are a straight line.
    labels = labeller.label(episode, [answered(*(10.0 * index for index in shown[1:]))])
    np.testing.assert_allclose(labels.scores, 10.0 * np.arange(1, 11))
    np.testing.assert_allclose(labels.dense, 10.0)
    assert labeller.asked_frames(10) == [2, 4, 6, 8, 10]
    in_order = Gvl(GvlLabeller(num_frames=6, shuffled=False)).questions(episode)[0]
    assert [episode.frames.index(png) for png in in_order.images] == [0, 2, 4, 6, 8, 10]
    assert Gvl(GvlLabeller(num_frames=6, seed=1)).questions(episode)[0].images != question.images
    failed = labeller.label(episode, [None])
    assert np.isnan(failed.scores).all() and np.isnan(failed.dense).all()


def broken_at(episode, *places):
    frames = tuple(BROKEN_FRAME if index in places else png for index, png in enumerate(episode.frames))
    return type(episode)(**{**vars(episode), "frames": frames})


def test_a_broken_frame_is_not_shown_and_has_no_value():
    episode = broken_at(toy_episode(1, 4), 2)
    labeller = Gvl(GvlLabeller(num_frames=8, shuffled=False))
    (question,) = labeller.questions(episode)
    assert len(question.images) == 4 and BROKEN_FRAME not in question.images
    labels = labeller.label(episode, [answered(10, 60, 100)])
    np.testing.assert_allclose(labels.scores, [10, np.nan, 60, 100])
    np.testing.assert_allclose(labels.dense, [10, np.nan, np.nan, 40])
    assert labeller.questions(broken_at(episode, 0, 1, 2, 3)) == []


def test_topreward_asks_about_growing_beginnings():
    episode = toy_episode(2, 5)
    labeller = TopReward(TopRewardLabeller(stride=2, num_frames=3))
    shown = [[episode.frames.index(png) for png in one.images] for one in labeller.questions(episode)]
    assert shown == [[0], [0, 1, 2], [0, 2, 4], [0, 3, 5]] and labeller.asked_frames(5) == [2, 4, 5]
    labels = labeller.label(episode, [answered(0.1), answered(0.3), answered(0.2), answered(0.9)])
    np.testing.assert_allclose(labels.scores, [0.2, 0.3, 0.25, 0.2, 0.9])
    np.testing.assert_allclose(labels.dense, [0.1, 0.1, -0.05, -0.05, 0.7])
    # Beside a question that failed nothing is known.
    labels = labeller.label(episode, [answered(0.1), answered(0.3), None, answered(0.9)])
    np.testing.assert_allclose(labels.scores, [0.2, 0.3, np.nan, np.nan, 0.9])
    np.testing.assert_allclose(labels.dense, [0.1, 0.1, np.nan, np.nan, np.nan])
    level = TopReward(TopRewardLabeller(stride=5, reward="level")).label(episode, [answered(0.0), answered(1.0)])
    np.testing.assert_allclose(level.dense, [0.2, 0.4, 0.6, 0.8, 1.0])
    assert len(labeller.questions(broken_at(episode, 4))) == 3


def test_random_rewards_have_the_other_s_mean_and_gaps():
    episode = toy_episode(3, 2000)
    theirs = np.full(2000, 0.25, dtype=np.float32)
    theirs[7] = np.nan
    episode.rewards["rg_vlm"] = theirs
    first = RandomRewards(RandomLabeller(mean_of="rg_vlm"), 0.25).label(episode, [])
    assert np.isnan(first.dense[7]) and np.isfinite(np.delete(first.dense, 7)).all()
    assert np.nanmean(first.dense) == pytest.approx(0.25, abs=0.02)
    assert np.nanmin(first.dense) >= 0 and 0.49 < np.nanmax(first.dense) <= 0.5
    again = RandomRewards(RandomLabeller(mean_of="rg_vlm"), 0.25).label(episode, [])
    other = RandomRewards(RandomLabeller(mean_of="rg_vlm", seed=1), 0.25).label(episode, [])
    np.testing.assert_array_equal(first.dense, again.dense)
    assert not np.array_equal(first.dense, other.dense, equal_nan=True)


# ------------------------------------------------------------------------------------------------- data sets

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
    assert counts.problems == 2 and any("e001" in line and "broken PNG" in line for line in told)
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
