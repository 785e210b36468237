"""Who is held against whom in a store, and what tables and the figure say of it."""

import csv
import io
import uuid

import pytest
from PIL import Image
from rich.console import Console

from algorithms.ratings import RaterIdentity, Rating, RatingRequest, TaskText
from algorithms.scales import RatingScale
from orchestrator.errors import SettingsError
from orchestrator.ratings.people.opinions import Opinion, PeopleStore
from orchestrator.ratings.question import Question
from orchestrator.ratings.store import RatingStore
from orchestrator.reports.agreement.command import show_agreement
from orchestrator.reports.agreement.comparisons import compare
from orchestrator.reports.agreement.report import agreement_in, confusion_figure, write_agreement
from tests.fakes.rated_by_people import answer, say
from tests.fakes.small_store import IDENTITY, SAMPLING, png

OTHER = RaterIdentity("org/other", "main")


@pytest.fixture
def folder(tmp_path):
    """Five pictures rated by two models, by one of them twice; by Ada all, by Bob some."""
    answer(tmp_path, [0, 1, 2, 2, 0])
    answer(tmp_path, [0, 1, 2, 1, 0], seed=4)
    answer(tmp_path, [2, 1, 0, 0, 2], OTHER, run="run-b")
    say(tmp_path, "Ada", [0, 1, 2, 1, "cannot_tell"])
    say(tmp_path, "Bob", [0, 2, None, "pass", 0])
    # After the answer was shown: counted, and not compared.
    say(tmp_path, "Ada", [2, 2, 2], seen=True)
    return tmp_path


def lines_of(folder):
    (task,) = agreement_in(folder)
    return task, {(one.kind, one.who, one.rater): one for one in task.lines}


def test_who_is_held_against_whom(folder):
    task, lines = lines_of(folder)
    assert (task.instruction, task.words, task.num_people) == ("close the drawer", ("Bad", "Average", "Good"), 2)
    assert task.num_said == {"level": 7, "cannot_tell": 1, "pass": 1, "later": 3}
    assert task.runs == {"run-a", "run-b"}
    first, second = "sha256:abc, revision r1", "org/other, revision main"
    assert list(lines) == [
        ("people", "2 people", ""),
        *[("people and model", who, first) for who in ("2 people", "Ada", "Bob")],
        ("repeats of the model", "", first),
        *[("people and model", who, second) for who in ("2 people", "Ada", "Bob")],
    ]
    numbers = [one.agreement.num_items for one in lines.values()]
    assert numbers == [2, 5, 4, 3, 5, 5, 4, 3]
    # Ada said 0, 1, 2, 1 where the model, asked first, said 0, 1, 2, 2; Bob 0, 2 and 0 where it said 0, 1, 0.
    assert lines["people and model", "2 people", first].agreement.table.tolist() == [[3, 0, 0], [0, 1, 1], [0, 1, 1]]
    assert lines["repeats of the model", "", first].agreement.same.mean == 0.8
    assert lines["people and model", "Ada", second].agreement.kappa.interval.mean < 0.0


def test_of_each_picture_the_first_opinion_of_a_person_counts_whatever_model_it_was_beside(tmp_path):
    answer(tmp_path, [0, 2])
    answer(tmp_path, [0, 2], OTHER)
    store = PeopleStore(tmp_path)
    for row, level in zip(RatingStore(tmp_path).rows(), (0, 2, 1, 1), strict=True):
        store.append(row, Opinion(uuid.uuid4().hex, "Ada", "level", level, False, 1.0))
    task, lines = lines_of(tmp_path)
    assert task.num_said["later"] == 2
    assert [one.agreement.same.mean for key, one in lines.items() if key[0] == "people and model"] == [1.0, 1.0]


def test_of_pairs_cannot_tell_is_no_level(tmp_path):
    scale = RatingScale.preference()
    rows = []
    for n, level in enumerate((0, 1, 2)):
        frames = (png(n), png(n + 50))
        request = RatingRequest(frames, TaskText("close the drawer", "the drawer"), scale, "answer_only")
        rows.append((Question(request, frames, 0, None), Rating(f"pair-{n}", level, (), "", 1, 1, 0.1)))
    RatingStore(tmp_path).append(rows, IDENTITY, SAMPLING, "run-a")
    say(tmp_path, "Ada", [0, 1, 2])
    task, lines = lines_of(tmp_path)
    assert task.words == scale.words[:2] and task.num_said == {"level": 2, "cannot_tell": 1, "pass": 0, "later": 0}
    assert lines["people and model", "Ada", "sha256:abc"].agreement.table.tolist() == [[1, 0], [0, 1]]
    assert lines["people and model", "Ada", "sha256:abc"].agreement.kappa.interval.mean == 1.0


def test_nobody_and_people_who_said_no_level(tmp_path):
    assert compare([], []) == []
    answer(tmp_path, [0, 1])
    assert agreement_in(tmp_path) == []
    with pytest.raises(SettingsError, match="there is nothing to compare"):
        show_agreement(tmp_path, None)
    say(tmp_path, "Ada", ["pass", "cannot_tell"])
    _, lines = lines_of(tmp_path)
    assert lines["people", "Ada", ""].agreement.kappa.reason == "there is one rater alone"
    found = lines["people and model", "Ada", "sha256:abc"].agreement
    assert found.kappa.reason == "there is no item that two of them rated" and found.same is None
    assert [path.name for path in write_agreement(agreement_in(tmp_path), tmp_path / "out")] == [
        "agreement.md", "agreement.csv",
    ]  # fmt: skip
    assert "0 levels by 1 person, 1 cannot tell, 1 passed." in (tmp_path / "out" / "agreement.md").read_text()


def test_tables_and_figure(folder, tmp_path):
    out = tmp_path / "out"
    assert [path.name for path in write_agreement(agreement_in(folder), out)] == [
        "agreement.md", "agreement.csv", "agreement.png",
    ]  # fmt: skip
    text = (out / "agreement.md").read_text()
    assert "| close the drawer | 3 | people: 2 people | 2 |" in text
    assert "7 levels by 2 people, 1 cannot tell, 1 passed; 3 more knowing the model's answer, or again" in text
    assert "| 2 people and sha256:abc, revision r1 | Average | 0.50 [" in text and "Bad 0, Average 1, Good 1" in text
    rows = list(csv.DictReader(io.StringIO((out / "agreement.csv").read_text())))
    assert len(rows) == 8 + 6 * 3 and [row["level"] for row in rows[:5]] == ["", "", "Bad", "Average", "Good"]
    assert rows[1]["rater"] == "sha256:abc, revision r1" and float(rows[1]["kappa"]) == pytest.approx(1 - 2 * 7 / 68)
    with Image.open(out / "agreement.png") as picture:
        assert picture.size == (1416, 960)
    # Of two people alone, the figure shows both; Ada and Bob apart are in the table.
    assert len([axes for axes in confusion_figure(agreement_in(folder)).axes if axes.get_title(loc="left")]) == 4


def test_the_command(folder, capsys):
    show_agreement(folder, None, Console(markup=False, highlight=False, width=220))
    shown = capsys.readouterr().out
    assert "people: 2 people" in shown and "Krippendorff's alpha" in shown and "Kappa has quadratic weights" in shown
    with pytest.raises(SettingsError, match="is not a rating store"):
        show_agreement(folder / "absent", None)
