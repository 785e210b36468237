"""What ratings and scores of windows are kept by alike: a table of answers, one of failures, columns in common."""

import threading

import pyarrow as pa
import pytest

from algorithms.ratings import RaterIdentity, RatingFailure, Sampling
from algorithms.scores import ScoreRequest, Scores
from orchestrator.ratings import columns, schema, score_store
from orchestrator.ratings.answer_store import AnswerStore
from orchestrator.ratings.score_store import AskedWindow, ScoreStore
from orchestrator.storage.parquet_parts import StoreVersionError

QUESTION = [columns.required("asked", pa.string())]
ANSWERS = pa.schema([columns.required("key", pa.string()), columns.required("value", pa.int32()), *QUESTION])


class ToyStore(AnswerStore):
    def __init__(self, folder, version=1):
        super().__init__(folder, ("answers", ANSWERS), ("none", columns.failure_schema(QUESTION)), version)

    def add(self, *pairs):
        self._append([{"key": key, "value": value, "asked": "?"} for key, value in pairs])

    def fail(self, *failures):
        self._append_failures([({"asked": "?"}, failure) for failure in failures])

    def get(self, *keys):
        return {key: row["value"] for key, row in self._read(keys).items()}


def test_a_store_is_two_names_and_two_schemas(tmp_path):
    store, other = ToyStore(tmp_path), ToyStore(tmp_path)
    store.add(("a", 1), ("b", 2), ("a", 3))
    other.add(("b", 4), ("c", 5))
    failure = RatingFailure("d", "timeout", "no answer", 2)
    store.fail(failure, failure)
    assert store.get("a", "b", "c", "d") == {"a": 1, "b": 2, "c": 5}
    assert [row["key"] for row in ToyStore(tmp_path).rows(["key"])] == ["a", "b", "c"]
    assert [(row["key"], row["cause"], row["attempts"]) for row in other.failures()] == [("d", "timeout", 2)] * 2
    assert store.compact() == {"answers": (2, 1), "none": (1, 1)}
    assert len(store) == len(ToyStore(tmp_path)) == 3
    with pytest.raises(TypeError, match="takes failures only"):
        store.fail(failure, Scores("d", (1.0,), (), "", 1, 1, 0.1))
    assert len(list(store.failures())) == 2


@pytest.mark.parametrize("write", [lambda s: s.add(("a", 1)), lambda s: s.fail(RatingFailure("a", "timeout", "", 1))])
def test_a_newer_part_of_either_table_is_refused(tmp_path, write):
    write(ToyStore(tmp_path, version=2))
    with pytest.raises(StoreVersionError, match="schema version 2"):
        ToyStore(tmp_path)


def test_a_slow_reader_keeps_no_one_from_writing(tmp_path):
    store = ToyStore(tmp_path)
    store.add(("a", 1))
    rows = store.rows()
    next(rows)
    writer = threading.Thread(target=store.add, args=(("b", 2),), daemon=True)
    writer.start()
    writer.join(timeout=60)
    assert not writer.is_alive() and store.get("b") == {"b": 2}


def test_what_answers_and_questions_have_in_common_stands_in_all_four_tables():
    common = {field.name: field for field in columns.question_fields()}
    for table in (schema.RATINGS, schema.FAILURES, score_store.SCORES, score_store.SCORE_FAILURES):
        assert common.items() <= {field.name: field for field in table}.items()
    for table in (schema.RATINGS, score_store.SCORES):
        assert set(columns.ANSWER_COLUMNS) <= set(table.names)


def test_scores_come_back_as_they_were_and_only_scores_go_in(tmp_path):
    window = AskedWindow(ScoreRequest((b"png",), "go", ("left", "up"), "logits", "3 frames"), "set", "e1", 4)
    # Of each of the eleven scores.
    probabilities = (0.5, 0.5, *[0.0] * 9), (0.25, 0.75, *[0.0] * 9)
    scores = Scores("k", (1.0, 2.5), probabilities, "text", 3, 4, 0.5)
    whole = Scores("w", (1.0, 0.0), (), "", 3, 4, 0.5)
    identity, sampling = RaterIdentity("model", "main"), Sampling(seed=2)
    ScoreStore(tmp_path).append([(window, scores), (window, whole)], identity, sampling)
    store = ScoreStore(tmp_path)
    assert store.lookup(["k", "w", "x"]) == {"k": scores, "w": whole}
    row = next(store.rows())
    assert (row["dataset"], row["episode_id"], row["first_action"], row["actions"]) == ("set", "e1", 4, ["left", "up"])
    assert (row["model"], row["revision"], row["seed"]) == ("model", "main", 2)
    assert row["images"] == [columns.image_hash(b"png")] and row["asked_at"].tzinfo is not None
    with pytest.raises(TypeError, match="RatingFailure is never stored as scores"):
        store.append([(window, RatingFailure("k", "timeout", "", 1))], identity, sampling)
