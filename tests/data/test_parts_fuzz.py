"""Parts of a data set, damaged in every way: each episode is read as it was written, or what is wrong is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.label_settings import WindowSettings
from orchestrator.data.check import PartError
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.labelling.seen_windows import see_windows
from orchestrator.labelling.window_stream import window_rows
from tests.fakes.damage import TO_BYTES, TO_COLUMNS, damaged_bytes, damaged_columns
from tests.fakes.fuzz import A_HUNDRED, TEN_THOUSAND
from tests.fakes.toy_labels import toy_set

DAMAGES = st.tuples(st.integers(0, 9), st.sampled_from([*TO_BYTES, *TO_COLUMNS]), st.integers(0, 2**32 - 1))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A set of several parts, one with labels, and its episodes."""
    dataset = toy_set(tmp_path_factory.mktemp("fuzz") / "set", [3, 2, 4, 1, 3])
    first = dataset.parts[0]
    dataset.write_columns(first, {"reward_rg_vlm": np.ones(dataset.num_rows(first), dtype=np.float32)}, {"failed": 0})
    return dataset, {one.episode_id: plain(one) for one in dataset.episodes()}


def plain(episode):
    """An episode as values that can be compared; its labels apart."""
    values = {name: value for name, value in vars(episode).items() if name not in ("rewards", "scores")}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


def check(written, given_):
    dataset, before = written
    number, how, seed = given_
    parts = dataset.parts
    part = parts[number % len(parts)]
    path = dataset.folder / part
    content, rng = path.read_bytes(), np.random.default_rng(seed)
    damaged = damaged_bytes(content, how, rng) if how in TO_BYTES else damaged_columns(content, how, rng)
    try:
        path.write_bytes(damaged)
        told = []
        opened = TrajectoryDataset(dataset.folder)
        after = {one.episode_id: plain(one) for one in opened.episodes(on_problem=told.append)}
        everything = [problem for problem in opened.problems() if not problem.is_note]
        windows = [*window_rows(dataset.folder, part, WindowSettings(num_actions=2))]
        see_windows(opened, parts, WindowSettings(), "two_turn")
        for ask in (lambda: opened.label_stamp(part, "rg_vlm"), lambda: opened.num_rows(part)):
            try:
                ask()
            except PartError as error:
                assert str(error)
        assert all(problem.part == part and problem.text for problem in (*told, *everything))
        assert after.keys() <= before.keys(), "episodes that nobody wrote"
        if after != before:
            assert everything, "episodes differ, and nothing was said"
            assert any(row["kind"] == "problem" and not row["is_note"] for row in windows)
        assert path.read_bytes() == damaged and opened.parts == parts
    finally:
        path.write_bytes(content)


@A_HUNDRED
@given(DAMAGES)
def test_damaged_parts_are_told(written, given_):
    check(written, given_)


@pytest.mark.slow
@TEN_THOUSAND
@given(DAMAGES)
def test_ten_thousand_damaged_parts(written, given_):
    check(written, given_)
