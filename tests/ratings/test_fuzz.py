"""Parts of the rating store, damaged in every way: each row is read as it was written, or its part is named."""

import shutil
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.images import encode_png
from algorithms.ratings import RaterIdentity, Rating, RatingFailure, RatingRequest, Sampling, TaskText
from algorithms.scales import RatingScale
from algorithms.scores import ScoreRequest, Scores
from orchestrator.errors import LikertError
from orchestrator.ratings.export import export_ratings
from orchestrator.ratings.question import Question
from orchestrator.ratings.score_store import AskedWindow, ScoreStore
from orchestrator.ratings.store import RatingStore
from orchestrator.ratings.store_command import show_store
from tests.fakes.damage import TO_BYTES, TO_COLUMNS, damaged_bytes, damaged_columns
from tests.fakes.fuzz import A_HUNDRED, TEN_THOUSAND

IDENTITY, SAMPLING = RaterIdentity("sha256:abc", "local"), Sampling()
TABLES = ("ratings", "images", "failures", "scores", "score_failures")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A store of two parts a table, and what it holds."""
    folder = tmp_path_factory.mktemp("fuzz") / "store"
    for first in (0, 4):
        fill(folder, range(first, first + 4))
    return folder, contents(folder)


def fill(folder, numbers):
    store, scores = RatingStore(folder), ScoreStore(folder)
    questions, windows = [], []
    for number in numbers:
        picture = encode_png(np.full((4, 4, 3), number, dtype=np.uint8))
        request = RatingRequest((picture,), TaskText("close it", "the door"), RatingScale.likert(3), "two_turn")
        questions.append(Question(request, (picture,), number, None))
        request = ScoreRequest((picture,), "close it", ("left", "right"), "two_turn", "3 numbered frames")
        windows.append(AskedWindow(request, "set", f"e{number}", 0))
    rated = [Rating(f"k{n}", n % 3, (0.2, 0.3, 0.5), f"seen {n}", 9, 3, 0.5) for n in numbers]
    scored = [Scores(f"s{n}", (float(n), 10.0), (), "", 9, 3, 0.5) for n in numbers]
    failed = [RatingFailure(f"f{n}", "timeout", "no answer", 3) for n in numbers]
    store.append([*zip(questions, rated, strict=True)], IDENTITY, SAMPLING, "run")
    store.append_failures([*zip(questions, failed, strict=True)], IDENTITY, SAMPLING, "run")
    scores.append([*zip(windows, scored, strict=True)], IDENTITY, SAMPLING)
    scores.append_failures([*zip(windows, failed, strict=True)], IDENTITY, SAMPLING)


def contents(folder, scores=(False, True), every_way=True):
    """What the store's readers tell, by table and key; of ratings, of windows' scores, or of both. Read in every way
    that there is, or in one."""
    found = {}
    if False in scores:
        store = RatingStore(folder)
        keys, names = [f"k{n}" for n in range(9)], {name for row in store.rows(["images"]) for name in row["images"]}
        if every_way:
            store.counts(), store.load(keys), store.frames_left(keys)
        found |= {
            "ratings": store.lookup(keys),
            "rows": {row["key"]: row for row in store.rows()},
            "images": store.images(names),
            "failures": {row["failure_id"]: row for row in store.failures()},
        }
    if True in scores:
        windows = ScoreStore(folder)
        if every_way:
            windows.counts(), windows.failure_counts()
        found |= {
            "scores": windows.lookup(f"s{n}" for n in range(9)),
            "score_rows": {row["key"]: row for row in windows.rows()},
            "score_failures": {row["failure_id"]: row for row in windows.failures()},
        }
    return found


DAMAGES = st.tuples(
    st.sampled_from(TABLES),
    st.integers(0, 1),
    st.sampled_from([*TO_BYTES, *TO_COLUMNS, "copy", "impossible"]),
    st.integers(0, 2**32 - 1),
)
"""Name of a table, which of its parts, what is done to the part, and a seed."""


def damage(folder, table, number, how, seed):
    """Damage the part; returns its path."""
    part = sorted((folder / table).glob("part-*.parquet"))[number]
    content, rng = part.read_bytes(), np.random.default_rng(seed)
    if how in TO_BYTES:
        part.write_bytes(damaged_bytes(content, how, rng))
    elif how in TO_COLUMNS:
        part.write_bytes(damaged_columns(content, how, rng))
    elif how == "copy":  # The same rows under a later name, as a merge that was killed leaves them.
        part.with_name(f"part-9999999999999999999-{uuid.uuid4().hex[:8]}.parquet").write_bytes(content)
    else:
        choices = {} if "failures" in table else IMPOSSIBLE  # Of failures nothing is made but a list.
        pq.write_table(_impossible(pq.read_table(part, partitioning=None), choices, rng), part)
    return part


def _impossible(table, impossible, rng):
    """A part that is one of ours by its columns, and holds what nobody wrote; or says that it is of the far future."""
    index = int(rng.integers(table.num_columns))
    field, values = table.schema.field(index), table.column(index).to_pylist()
    choices = impossible.get(field.name)
    if choices is None:
        return table.replace_schema_metadata({**table.schema.metadata, b"likert.schema_version": b"9" * 5000})
    values[int(rng.integers(len(values)))] = choices[int(rng.integers(len(choices)))]
    return table.set_column(index, field, pa.array(values, field.type))


IMPOSSIBLE = {
    "key": [""],
    "rating": [-128, -1, 3, 127],
    "probabilities": [[None], [1.0], [float("nan")] * 3, [2.0, -1.0, 0.0], [0.1] * 6],
    "words": [[], [None], ["Good"], ["Good"] * 9],
    "rubric": [["one"], [None] * 3],
    "images": [[], [None]],
    "frames": [[], [None]],
    "scores": [[], [None], [1.0], [11.0, 1.0], [float("nan")] * 2],
    "actions": [[], [None], ["left"]],
    "png": [b"", b"no picture"],
}
"""What the types allow, and nobody wrote."""


def check(written, given_, caplog):
    folder, before = written
    table, number, how, seed = given_
    undamaged = {path: path.read_bytes() for path in (folder / table).glob("*.parquet")}
    try:
        part = damage(folder, table, number, how, seed)
        damaged = {path: path.read_bytes() for path in (folder / table).glob("*")}
        caplog.clear()
        try:
            after = contents(folder, (table.startswith("score"),), every_way=seed % 8 == 0)
        except LikertError as error:
            assert str(part) in str(error)  # It seems to be of a newer version.
            return
        finally:
            assert {path: path.read_bytes() for path in (folder / table).glob("*")} == damaged
        named = part.name in caplog.text or "are not those that their names stand for" in caplog.text
        for what, rows in after.items():
            if not named:
                assert rows == before[what], f"{what} differ, and nothing was said"
            assert rows.keys() <= before[what].keys(), f"{what}: keys that nobody wrote"
            if what in ("ratings", "scores", "images"):
                assert all(same(rows[key], before[what][key]) for key in rows), what
    finally:
        for path in (folder / table).glob("*"):
            if path not in undamaged:
                path.unlink()
        for path, content in undamaged.items():
            path.write_bytes(content)


def same(one, other):
    """Whether an answer is the one that was written; what it cost may be damaged and nothing is learned from it."""
    if isinstance(one, Rating):
        return one.rating == other.rating
    return one.scores == other.scores if isinstance(one, Scores) else one == other


@A_HUNDRED
@given(DAMAGES)
def test_damaged_parts_are_named(written, caplog, given_):
    check(written, given_, caplog)


@pytest.mark.slow
@TEN_THOUSAND
@given(DAMAGES)
def test_ten_thousand_damaged_parts(written, caplog, given_):
    check(written, given_, caplog)


@pytest.mark.parametrize("level", [-128, -1, 3, 127])
def test_a_rating_outside_its_scale_is_no_rating(written, tmp_path, caplog, capsys, level):
    folder = Path(shutil.copytree(written[0], tmp_path / "store"))
    part = sorted((folder / "ratings").glob("*.parquet"))[0]
    table = pq.read_table(part, partitioning=None)
    index = table.column_names.index("rating")
    levels = pa.array([level, *table["rating"].to_pylist()[1:]], pa.int8())
    pq.write_table(table.set_column(index, table.schema.field(index), levels), part)
    store = RatingStore(folder)
    assert f"rating {level} is outside its scale of 3 levels" in caplog.text and part.name in caplog.text
    assert sorted(store.lookup([f"k{n}" for n in range(8)])) == [f"k{n}" for n in range(1, 8)]
    assert store.counts().ratings == 7
    show_store(folder, last=9, failures=False, export=None, images=None, compact=False)
    assert "7 ratings" in capsys.readouterr().out
    assert export_ratings(store, tmp_path / "all.csv") == 7
    store.compact()
    assert part.exists() and RatingStore(folder).counts().ratings == 7


def test_what_is_in_the_way_is_named_and_left(written, tmp_path, caplog):
    folder = Path(shutil.copytree(written[0], tmp_path / "store"))
    (folder / "ratings" / "part-1-folder.parquet").mkdir()
    (folder / "ratings" / "part-1-text.parquet").write_text("not Parquet")
    (folder / "ratings" / "notes.txt").write_text("mine")
    shutil.copy(next((folder / "scores").glob("*.parquet")), folder / "ratings" / "part-2-other.parquet")
    assert contents(folder) == written[1]
    for name in ("part-1-folder", "part-1-text", "part-2-other"):
        assert name in caplog.text
    RatingStore(folder).compact()
    assert all(
        (folder / "ratings" / name).exists() for name in ("part-1-text.parquet", "notes.txt", "part-2-other.parquet")
    )
