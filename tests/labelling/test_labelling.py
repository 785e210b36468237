"""Labelling: every action once, nothing asked twice, failures never a number, damage named and stepped around."""

import multiprocessing
import os
import re
import shutil
import signal
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from actors.rating.backend import Reply, ServerError
from algorithms.label_settings import WindowSettings
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import RatingsFailing
from orchestrator.labelling.window_stream import window_rows, without_waiting
from orchestrator.ratings.score_store import ScoreStore
from tests.fakes.toy_labels import answer, label, label_slowly, toy_set

LENGTHS = [3, 8, 11, 1, 20, 9, 16, 5]
NUM_WINDOWS = 1 + 1 + 2 + 1 + 3 + 2 + 2 + 1


class Counting:
    """Counts the questions that ask for scores."""

    def __init__(self, function=answer):
        self.function, self.pictures = function, []

    def __call__(self, prompt, images, choices):
        if prompt.schema:
            self.pictures.append(images[0])
        return self.function(prompt, images, choices)


def tables(folder):
    return [pq.read_table(folder / part) for part in TrajectoryDataset(folder).parts]


def equal(one, other):
    return len(one) == len(other) and all(a.equals(b) for a, b in zip(one, other, strict=True))


def test_every_action_gets_its_score_and_its_rewards(tmp_path):
    toy_set(tmp_path / "set", LENGTHS)
    rater = Counting()
    counts = label(tmp_path / "set", tmp_path / "store", rater)
    assert len(rater.pictures) == counts.windows == NUM_WINDOWS == len(ScoreStore(tmp_path / "store"))
    assert (counts.actions, counts.failed, counts.from_store, counts.problems) == (sum(LENGTHS), 0, 0, 0)
    dataset = TrajectoryDataset(tmp_path / "set")
    for one in dataset.episodes():
        scores = one.scores["rg_vlm"]
        assert np.isfinite(scores).all() and set(scores.tolist()) <= set(range(11))
        np.testing.assert_allclose(one.rewards["rg_vlm"], scores / 10)
        np.testing.assert_allclose(one.rewards["rg_vlm_sparse"], scores / 10 + one.sparse_rewards)
    about = dataset.info.labels["rg_vlm"]
    assert (about["model"], about["mode"], about["window"]["num_actions"]) == ("function", "two_turn", 8)


def test_scores_stand_at_the_actions_that_the_window_showed(tmp_path):
    dataset = toy_set(tmp_path / "set", [11])

    def number_of_the_action(prompt, images, choices):
        if not prompt.schema:
            return "An analysis."
        number = int(prompt.schema.split('"minItems": ')[1].split(",")[0])
        return str(list(range(number)))

    for how, expected in (("short", [*range(8), 0, 1, 2]), ("shifted", [*range(8), 5, 6, 7])):
        label(dataset.folder, tmp_path / how, number_of_the_action, window=WindowSettings(short_window=how))
        assert next(dataset.episodes()).scores["rg_vlm"].tolist() == expected


def test_labelled_again_nothing_is_asked_and_nothing_changes(tmp_path):
    toy_set(tmp_path / "set", LENGTHS)
    label(tmp_path / "set", tmp_path / "store")
    before = tables(tmp_path / "set")
    rater = Counting()
    counts = label(tmp_path / "set", tmp_path / "store", rater)
    assert rater.pictures == [] and counts.windows == 0
    # Other rewards of the same answers cost no question either.
    counts = label(
        tmp_path / "set", tmp_path / "store", rater, name="other", rewards={"other": {"normalisation": "raw"}}
    )
    assert rater.pictures == [] and counts.from_store == counts.windows == NUM_WINDOWS and counts.prompt_tokens == 0
    after = tables(tmp_path / "set")
    assert equal(before, [table.select(before[0].column_names) for table in after])
    one = next(TrajectoryDataset(tmp_path / "set").episodes())
    assert np.array_equal(one.rewards["other"], one.scores["rg_vlm"])


def test_other_windows_are_other_questions(tmp_path):
    toy_set(tmp_path / "set", [8, 8])
    label(tmp_path / "set", tmp_path / "store")
    rater = Counting()
    label(tmp_path / "set", tmp_path / "store", rater, mode="single_turn")
    label(tmp_path / "set", tmp_path / "store", rater, window=WindowSettings(last_frame=False))
    assert len(rater.pictures) == 4


def test_equal_windows_are_asked_once(tmp_path):
    toy_set(tmp_path / "set", [8, 3])
    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    rater = Counting()
    label(tmp_path / "set", tmp_path / "store", rater)
    counts = label(tmp_path / "copy", tmp_path / "store", rater)
    assert len(rater.pictures) == 2 and counts.from_store == 2
    assert equal(tables(tmp_path / "set"), tables(tmp_path / "copy"))


def test_a_question_that_fails_leaves_its_actions_without_a_label_and_is_asked_again(tmp_path):
    toy_set(tmp_path / "set", LENGTHS)
    well = toy_set(tmp_path / "well", LENGTHS)
    label(tmp_path / "well", tmp_path / "other")
    broken = set()

    def fails_once(prompt, images, choices):
        if prompt.schema and len(broken) < 2 and images[0] not in broken:
            broken.add(images[0])
            return "no scores today"
        return answer(prompt, images, choices)

    counts = label(tmp_path / "set", tmp_path / "store", fails_once)
    assert counts.failed == 2 and counts.windows == NUM_WINDOWS and "unparsable" in counts.first_failure
    scores = np.concatenate([one.scores["rg_vlm"] for one in TrajectoryDataset(tmp_path / "set").episodes()])
    rewards = [one.rewards["rg_vlm_sparse"] for one in TrajectoryDataset(tmp_path / "set").episodes()]
    lost = np.isnan(scores)
    assert lost.sum() == sum(LENGTHS) - counts.actions > 0
    assert np.array_equal(np.isnan(np.concatenate(rewards)), lost)
    assert len(list(ScoreStore(tmp_path / "store").failures())) == 2

    rater = Counting()
    again = label(tmp_path / "set", tmp_path / "store", rater)
    assert set(rater.pictures) == broken and len(rater.pictures) == 2 and again.failed == 0
    assert equal(tables(tmp_path / "set"), tables(well.folder))


def test_a_rater_that_is_out_of_order_stops_the_labelling(tmp_path):
    toy_set(tmp_path / "set", [8] * 80)

    def down(prompt, images, choices):
        raise ServerError("no route to host")

    with pytest.raises(RatingsFailing, match=r"of 5\d questions got no answer.*no route to host"):
        label(tmp_path / "set", tmp_path / "store", down)
    assert len(ScoreStore(tmp_path / "store")) == 0
    counts = label(tmp_path / "set", tmp_path / "store")
    assert counts.failed == 0 and counts.actions == 640


def test_the_store_s_command_counts_windows_and_merges_parts(tmp_path):
    toy_set(tmp_path / "set", [8] * 40)
    toy_set(tmp_path / "other", [5])
    label(tmp_path / "set", tmp_path / "store")
    label(tmp_path / "other", tmp_path / "store", lambda prompt, images, choices: "no scores", mode="single_turn")
    shown = CliRunner().invoke(app, ["ratings", str(tmp_path / "store")])
    assert shown.exit_code == 0, shown.output
    assert re.search(r"toy\W+two_turn\W+function\W+40", shown.output)
    assert re.search(r"toy\W+unparsable\W+1", shown.output)
    before = dict(ScoreStore(tmp_path / "store").lookup([row["key"] for row in ScoreStore(tmp_path / "store").rows()]))
    merged = CliRunner().invoke(app, ["ratings", str(tmp_path / "store"), "--compact"])
    assert "scores: " in merged.output and len(list((tmp_path / "store" / "scores").glob("part-*"))) == 1
    assert ScoreStore(tmp_path / "store").lookup(before) == before and len(before) == 40


def test_answers_are_stored_while_the_next_window_is_being_made(tmp_path):
    dataset = toy_set(tmp_path / "set", [8, 8])
    seen = []

    def slow_rows(part, window):
        for row in window_rows(dataset.folder, part, window):
            if row["kind"] == "window" and row["episode_id"] == "e001":
                deadline = time.monotonic() + 30
                while not len(seen) and time.monotonic() < deadline:
                    time.sleep(0.01)
                    seen.extend(ScoreStore(tmp_path / "store").rows(["episode_id"]))
            yield row

    counts = label(
        dataset.folder, tmp_path / "store", rows_of=lambda part, window: without_waiting(slow_rows(part, window))
    )
    assert [row["episode_id"] for row in seen] == ["e000"] and counts.windows == 2


def test_what_goes_wrong_while_windows_are_made_is_raised():
    def rows():
        yield {"kind": "end", "part": "a"}
        raise ValueError("no such disk")

    taken = without_waiting(rows())
    assert next(row for row in taken if row is not None) == {"kind": "end", "part": "a"}
    with pytest.raises(ValueError, match="no such disk"):
        list(taken)


def test_logits_are_stored_with_their_distributions(tmp_path):
    toy_set(tmp_path / "set", [3])
    probabilities = (0.5, *[0.0] * 9, 0.5)

    def letters(prompt, images, choices):
        return Reply("A", probabilities, 10, 1)

    label(tmp_path / "set", tmp_path / "store", letters, mode="logits")
    (row,) = ScoreStore(tmp_path / "store").rows()
    assert row["scores"] == [5.0, 5.0, 5.0] and row["probabilities"] == [*probabilities * 3]
    (scores,) = ScoreStore(tmp_path / "store").lookup([row["key"]]).values()
    assert scores.probabilities == (probabilities,) * 3
    assert next(TrajectoryDataset(tmp_path / "set").episodes()).scores["rg_vlm"].tolist() == [5.0, 5.0, 5.0]


def test_damage_is_named_and_the_rest_is_labelled(tmp_path):
    from tests.data.test_datasets import rewrite

    lengths = [16, 16, 16, 16, 1, 16]
    dataset = toy_set(tmp_path / "set", lengths, part_bytes=10**9)
    label(tmp_path / "set", tmp_path / "store")
    whole = {one.episode_id: one.scores["rg_vlm"] for one in dataset.episodes()}
    shutil.rmtree(tmp_path / "set")
    dataset = toy_set(tmp_path / "set", lengths, part_bytes=10**9)
    (part,) = dataset.parts

    def damage(rows):
        at = {(row["episode_id"], row["t"]): row for row in rows}
        at["e001", 3]["frame"] = at["e001", 3]["frame"][:50]
        at["e002", 8]["action"] = 7
        for row in rows:
            row["instruction"] = None if row["episode_id"] == "e003" else row["instruction"]

    rewrite(dataset.folder, part, damage)
    content = (dataset.folder / part).read_bytes()
    (dataset.folder / "part-00001.parquet").write_bytes(content[: len(content) // 2])
    told = []
    counts = label(dataset.folder, tmp_path / "store", tell=lambda problem: told.append(str(problem)))
    for text in ("episode e001: the frame is no readable PNG", "episode e002: action 7 is unknown",
                 "episode e003: the instruction is missing", "episode e004: note: the episode has one action only",
                 "part-00001.parquet: the file cannot be read"):  # fmt: skip
        assert sum(text in line for line in told) == 1, (text, told)
    assert counts.problems == 4 and counts.failed == 0
    lost = {"e001": slice(0, 8), "e002": slice(8, 16)}
    found = {row["episode_id"]: [] for row in pq.read_table(dataset.folder / part).to_pylist()}
    for row in pq.read_table(dataset.folder / part).to_pylist():
        found[row["episode_id"]].append(row["score_rg_vlm"])
    for name, scores in found.items():
        expected = [None] * 17 if name == "e003" else [*whole[name].tolist(), None]
        if name in lost:
            expected[lost[name]] = [None] * 8
        assert scores == expected, name


def killed_once(condition, *arguments):
    """Run `toy_labels.label_slowly` in a process of its own, and kill it as soon as `condition` holds."""
    # Forked, because importing everything anew takes longer than labelling.
    process = multiprocessing.get_context("fork").Process(target=label_slowly, args=arguments)
    process.start()
    while process.is_alive() and not condition():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_killed_three_times_it_asks_nothing_twice_and_ends_with_the_same_rows(tmp_path):
    toy_set(tmp_path / "set", [8 + number % 17 for number in range(60)])
    shutil.copytree(tmp_path / "set", tmp_path / "whole")
    total = label(tmp_path / "whole", tmp_path / "other").windows
    calls, store = tmp_path / "calls", tmp_path / "store"
    calls.touch()

    def stored():
        return sum(pq.read_metadata(part).num_rows for part in (store / "scores").glob("part-*.parquet"))

    for share in (0.2, 0.45, 0.7):
        known = {name for row in ScoreStore(store).rows(["images"]) for name in row["images"]}
        num_before = len(calls.read_text().split())
        killed_once(lambda share=share: stored() >= share * total, tmp_path / "set", store, calls, 0.03)
        asked = calls.read_text().split()[num_before:]
        assert asked and not known & set(asked), "what is stored was asked again"
    assert 0.7 * total <= stored() < total
    label(tmp_path / "set", store)
    assert equal(tables(tmp_path / "set"), tables(tmp_path / "whole"))
    assert stored() == total
