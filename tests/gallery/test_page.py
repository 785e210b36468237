"""The page's server: who gets an answer, what is chosen, what is kept of what people say."""

import json
import os
import signal
import subprocess
import sys
import uuid

import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from algorithms.scales import RatingScale
from orchestrator.errors import SettingsError
from orchestrator.gallery.application import application
from orchestrator.gallery.choosing import Choice, choice_argument, chosen
from orchestrator.gallery.index import GalleryIndex, Task, contradicts, entropy
from orchestrator.gallery.place import Place
from orchestrator.ratings.columns import image_hash
from orchestrator.ratings.people.opinions import PeopleStore
from orchestrator.ratings.store import RatingStore
from tests.fakes.small_store import IDENTITY, SAMPLING, add, failure, png, question, rating

TOKEN, PORT = "t" * 43, 8765
HERE = f"http://127.0.0.1:{PORT}"
PAGE = f"/{TOKEN}/"


@pytest.fixture
def folder(tmp_path):
    """Four ratings: sure and doubtful, with and without success; one sequence; one failed question."""
    store = RatingStore(tmp_path / "store")
    store.append(
        [
            (question(0, success=True), rating_of(0, 2, (0.0, 0.0, 1.0))),
            (question(1, success=True), rating_of(1, 0, (0.9, 0.1, 0.0))),
            (question(2, success=False), rating_of(2, 2, (1 / 3, 1 / 3, 1 / 3))),
            (question(3, frames=(png(3), png(4)), success=None), rating_of(3, 1, ())),
        ],
        IDENTITY, SAMPLING, "run-a",
    )  # fmt: skip
    store.append_failures([(question(9), failure(9))], IDENTITY, SAMPLING, "run-b")
    return tmp_path / "store"


def rating_of(number, level, probabilities):
    return rating(number, level).__class__(
        f"key{number}", level, probabilities, "It is <b>open</b> & shut.", 30, 8, 0.25
    )


def client_of(folder, **changes):
    return TestClient(application(GalleryIndex(Place(folder)), TOKEN, PORT), **{"base_url": HERE, **changes})


@pytest.fixture
def client(folder):
    return client_of(folder)


def opinion(number=0, person="Ada", said="level", level=1, **changes):
    given = {
        "opinion_id": uuid.uuid4().hex, "key": f"key{number}", "person": person, "said": said, "level": level,
        "seconds": 1.5, "page": "p",
    }  # fmt: skip
    return {**given, **changes}


def say(client, *args, **changes):
    return client.post(PAGE + "opinions", json=opinion(*args, **changes))


def people(folder):
    return PeopleStore(folder).opinions()


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        ("", {}),
        ("u" * 43, {}),
        (TOKEN[:-1], {}),
        (TOKEN + "t", {}),
        (TOKEN, {"Host": f"evil.example:{PORT}"}),
        (TOKEN, {"Host": "127.0.0.1:1"}),
        (TOKEN, {"Origin": "http://evil.example"}),
        (TOKEN, {"Origin": "null"}),
        (TOKEN, {"Origin": f"https://127.0.0.1:{PORT}"}),
        (TOKEN, {"Sec-Fetch-Site": "cross-site"}),
        (TOKEN, {"Sec-Fetch-Site": "same-site"}),
    ],
)
def test_others_get_nothing(client, token, headers):
    for path in ("", "summary", "list", "entries?numbers=0", f"pictures/{image_hash(png(0))}.png"):
        answer = client.get(f"/{token}/{path}", headers=headers)
        assert (answer.status_code, answer.content) == (404, b"")


def test_no_other_may_write(client, folder):
    wrong = client.post(PAGE + "opinions", json=opinion(), headers={"Origin": "http://evil.example"})
    simple = client.post(PAGE + "opinions", content=json.dumps(opinion()), headers={"Content-Type": "text/plain"})
    assert (wrong.status_code, wrong.content) == (404, b"") and simple.status_code == 400
    assert not (folder / "people").exists()


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd", "pictures/..%2f..%2fpyproject.toml", "pictures/%2e%2e/images.png", "gallery.py",
        "pictures/" + "0" * 64 + ".png", "page/index.html", "pictures/key0.png", "%2e%2e/summary",
    ],
)  # fmt: skip
def test_nothing_outside_the_store(client, path):
    answer = client.get(PAGE + path)
    assert (answer.status_code, answer.content) == (404, b"")


@pytest.mark.parametrize("headers", [{}, {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}])
def test_the_page_and_what_it_loads(client, headers):
    answers = {
        path: client.get(PAGE + path, headers=headers)
        for path in ("", "gallery.js", "grid.js", "gallery.css", "icon.svg")
    }
    assert {answer.status_code for answer in answers.values()} == {200}
    for answer in answers.values():
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        # Nothing of it is elsewhere; what stands in the picture is a name.
        text = answer.text.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "http:" not in text and "https:" not in text
    assert answers[""].headers["content-type"].startswith("text/html")
    # Said by the page itself, so that no browser asks for /favicon.ico, which without the token is not there.
    assert '<link rel="icon" href="icon.svg"' in answers[""].text
    assert answers["icon.svg"].headers["content-type"].startswith("image/svg+xml")
    assert client.get(PAGE, headers={"Host": f"localhost:{PORT}"}).status_code == 200


def test_pictures_are_the_bytes_of_the_store(client):
    answer = client.get(f"{PAGE}pictures/{image_hash(png(4))}.png")
    assert answer.content == png(4) and answer.headers["content-type"] == "image/png"


def test_summary_and_entries(client):
    told = client.get(PAGE + "summary").json()
    assert (told["ratings"], told["failures"], told["runs"], told["people"]) == (4, 1, ["run-a", "run-b"], {})
    assert told["tasks"][0]["words"] == ["Bad", "Average", "Good"] and told["tasks"][0]["number"] == 5
    first, fourth, failed = client.get(PAGE + "entries?numbers=0,3,4&page=p").json()["entries"]
    assert first["probabilities"] == [0.0, 0.0, 1.0] and first["analysis"] == "It is <b>open</b> & shut."
    assert (first["level"], first["success"], first["disagrees"], first["doubt"]) == (2, True, False, 0.0)
    assert fourth["pictures"] == [image_hash(png(3)), image_hash(png(4))] and fourth["doubt"] is None
    assert (failed["kind"], failed["cause"], failed["level"], failed["pictures"]) == ("failure", "timeout", None, [])


def test_before_it_is_rated_nothing_tells_the_answer(client):
    (hidden,) = client.get(PAGE + "entries?numbers=1&hidden=1&person=Ada").json()["entries"]
    assert set(hidden) == {"number", "key", "task", "pictures", "frame_note", "mine"}


@pytest.mark.parametrize(
    ("choice", "numbers"),
    [
        ({}, [0, 1, 2, 3]),
        ({"kind": "failures"}, [4]),
        ({"kind": "all"}, [0, 1, 2, 3, 4]),
        ({"level": 3}, [0, 2]),
        ({"doubt": 0.2}, [1, 2]),
        ({"doubt": 1.0}, [2]),
        ({"disagrees": "true"}, [1, 2]),
        ({"rated": "nobody"}, [0, 2, 3]),
        ({"rated": "person"}, [1]),
        ({"rated": "me", "person": "Ada"}, [1]),
        ({"rated": "me", "person": "Bob"}, []),
        ({"rated": "not_me", "person": "Ada"}, [0, 2, 3]),
        ({"order": "doubt"}, [2, 1, 0, 3]),
        ({"task": 1, "run": "run-a", "model": "sha256:abc", "level": 1}, [1]),
        ({"run": "run-b"}, []),
        # Of the failed question the picture was never kept.
        ({"kind": "all", "mode": "rate"}, [0, 1, 2, 3]),
    ],
)
def test_choosing(client, choice, numbers):
    assert say(client, 1).status_code == 201
    assert client.get(PAGE + "list", params=choice).json()["numbers"] == numbers


@pytest.mark.parametrize("query", ["doubt=2", "level=x", "colour=red", "order=best"])
def test_a_choice_that_cannot_be_is_told(client, query):
    answer = client.get(f"{PAGE}list?{query}")
    assert answer.status_code == 400 and query.split("=")[0] in answer.json()["error"]


def test_what_is_shuffled_is_all_and_the_same_again(client):
    first, again = (client.get(PAGE + "list?order=shuffled").json()["numbers"] for _ in range(2))
    assert first == again and sorted(first) == [0, 1, 2, 3]


def test_an_opinion_is_on_disk_when_it_is_acknowledged(client, folder):
    answer = say(client, 1, seconds=2.25)
    assert answer.status_code == 201 and answer.json()["level"] == 0 and answer.json()["success"] is True
    (file,) = (folder / "people").glob("part-*.parquet")
    (row,) = pq.read_table(file).to_pylist()
    assert (row["key"], row["person"], row["said"], row["level"], row["seconds"]) == ("key1", "Ada", "level", 1, 2.25)
    assert row["images"] == [image_hash(png(1))] and row["words"] == ["Bad", "Average", "Good"]
    assert not row["answer_seen"] and row["rated_at"].tzinfo is not None


def test_several_people_and_second_opinions_are_rows_of_their_own(client, folder):
    other = client_of(folder)
    assert say(client, 1, "Ada", level=0).status_code == say(other, 1, "Bob", level=2, page="q").status_code == 201
    assert say(client, 1, "Ada", said="cannot_tell", level=None).status_code == 201
    assert say(other, 2, "Bob", said="pass", level=None, page="q").status_code == 201
    told = [(row["person"], row["said"], row["level"], row["answer_seen"]) for row in people(folder)]
    assert told == [
        ("Ada", "level", 0, False), ("Bob", "level", 2, False), ("Ada", "cannot_tell", None, True),
        ("Bob", "pass", None, False),
    ]  # fmt: skip
    (entry,) = client.get(PAGE + "entries?numbers=1").json()["entries"]
    assert [one["person"] for one in entry["opinions"]] == ["Ada", "Bob", "Ada"]
    assert client.get(PAGE + "summary").json()["people"] == {"Ada": 2, "Bob": 2}
    assert PeopleStore(folder).compact() == (4, 1)
    assert [(row["person"], row["said"], row["level"], row["answer_seen"]) for row in people(folder)] == told


def test_who_has_browsed_is_known_to_know_the_answer(client, folder):
    client.get(PAGE + "entries?numbers=0&page=p")
    client.get(PAGE + "entries?numbers=1&page=p&hidden=1")
    say(client, 0, page="p"), say(client, 1, page="p"), say(client, 0, "Bob", page="q")
    assert [row["answer_seen"] for row in people(folder)] == [True, False, False]


def agreement(client, **query):
    return client.get(PAGE + "agreement", params={"person": "Ada", "page": "p", **query}).json()["agreement"]


def test_agreement_is_told_of_what_one_has_rated_alone(client):
    assert agreement(client) == []
    say(client, 0, level=2), say(client, 1, level=1), say(client, 2, said="cannot_tell", level=None)
    say(client, 0, level=0, page="p"), say(client, 3, "Bob", level=0, page="q")
    client.get(PAGE + "entries?numbers=3&page=p")
    say(client, 3, level=2)
    (found,) = agreement(client)
    # The first opinion of key0; of key2 no level was said, and of key3 the answer was known.
    assert found["table"] == [[0, 0, 0], [1, 0, 0], [0, 0, 1]] and (found["items"], found["known"], found["task"]) == (
        2,
        1,
        0,
    )
    # A distance of 1 in two items; by chance, of rows 0, 1, 1 and columns 1, 0, 1, (1 + 1 + 4) / 2.
    assert found["kappa"].startswith("0.67 [") and found["same"].startswith("0.50 [")
    (narrow,) = agreement(client, doubt=0.2, rated="nobody", mode="rate", order="shuffled")
    assert narrow["items"] == 1 and narrow["kappa"] == narrow["alpha"] == "not defined: there is one item alone"
    (bob,) = agreement(client, person="Bob")
    assert bob["items"] == 1 and agreement(client, person="Eve") == []


def test_who_has_seen_the_agreement_of_another_knows_those_answers(client, folder):
    say(client, 1, "Ada", page="p")
    agreement(client, page="q")
    say(client, 1, "Bob", page="q"), say(client, 2, "Bob", page="q")
    assert [row["answer_seen"] for row in people(folder)] == [False, True, False]


def test_sent_twice_it_is_one_opinion(client, folder):
    sent = opinion(1)
    assert [client.post(PAGE + "opinions", json=sent).status_code for _ in range(2)] == [201, 201]
    assert len(people(folder)) == 1


def test_of_a_comparison_cannot_tell_is_an_answer(tmp_path):
    asked = question(1, frames=(png(1), png(2)), success=None)
    request = asked.request.__class__(asked.request.images, asked.request.task, RatingScale.preference(), "two_turn")
    pair = asked.__class__(request, asked.frames, 10, None)
    RatingStore(tmp_path).append([(pair, rating(1, 0))], IDENTITY, SAMPLING, "run-a")
    client = client_of(tmp_path)
    assert client.get(PAGE + "summary").json()["tasks"][0]["compares"]
    assert say(client, 1, said="cannot_tell", level=None).status_code == 201
    assert [(row["said"], row["level"]) for row in people(tmp_path)] == [("level", 2)]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"level": 3}, "outside its scale"),
        ({"level": -1}, "outside its scale"),
        ({"level": None}, "with level None"),
        ({"level": True}, "whole number"),
        ({"level": 1.0}, "whole number"),
        ({"said": "pass"}, "with level 1"),
        ({"said": "rubbish"}, "rubbish"),
        ({"person": ""}, "1 to 60 characters"),
        ({"person": "x" * 61}, "1 to 60 characters"),
        ({"person": "a\nb"}, "1 to 60 characters"),
        ({"person": 3}, "wrong type"),
        ({"key": "no"}, "no question"),
        ({"opinion_id": "../../x"}, "32 hexadecimal"),
        ({"seconds": -1.0}, "seconds"),
        ({"more": 1}, "fields"),
        ({"person": "x" * 9000}, "4096"),
    ],
)
def test_an_opinion_that_cannot_be_is_refused(client, folder, changes, rule):
    answer = client.post(PAGE + "opinions", json={**opinion(), **changes})
    assert answer.status_code == 400 and rule in answer.json()["error"]
    assert people(folder) == []


def test_what_cannot_be_written_is_told_and_not_kept(client, folder):
    (folder / "people").write_text("in the way")
    answer = say(client, 1)
    assert answer.status_code == 507 and "Nothing was kept" in answer.json()["error"]


def test_nothing_that_learns_sees_people(client, folder):
    before, keys = RatingStore(folder), ["key0", "key1", "key2", "key3"]
    rows, found, whole = list(before.rows()), before.lookup(keys), before.load(keys)
    assert say(client, 1, level=2).status_code == 201
    after = RatingStore(folder)
    assert list(after.rows()) == rows and after.lookup(keys) == found and after.load(keys) == whole
    assert after.counts() == before.counts()


def test_what_is_written_meanwhile_appears(client, folder):
    add(RatingStore(folder), [20], run="run-c")
    assert client.get(PAGE + "summary").json()["ratings"] == 5
    assert client.get(PAGE + "list?mode=rate").json()["numbers"] == [0, 1, 2, 3, 5]


def test_a_part_of_one_run(folder):
    add(RatingStore(folder), [20], run="run-c")
    assert [one.key for one in GalleryIndex(Place(folder, "run-c")).entries] == ["key20"]
    with pytest.raises(SettingsError, match="asked by the run 'run-x'"):
        GalleryIndex(Place(folder, "run-x"))


def test_doubt_and_contradiction_by_hand():
    assert entropy([0.5, 0.5]) == pytest.approx(1.0) and entropy([1.0, 0.0, 0.0]) == 0.0 and entropy([]) is None
    # -(0.75 ln 0.75 + 0.25 ln 0.25) / ln 2
    assert entropy([0.75, 0.25]) == pytest.approx(0.8112781)
    task = Task("do", "", ("Bad", "Average", "Good"), ())
    expected = {(0, True): True, (1, True): True, (2, True): False, (0, False): False, (2, False): True}
    assert {given: contradicts(task, *given) for given in expected} == expected
    assert contradicts(task, None, True) is None and contradicts(task, 1, None) is None
    assert contradicts(Task("do", "", ("First", "Second", "Cannot tell"), ()), 2, False) is None


def test_choices_of_the_command_line(folder):
    choice = choice_argument(["level=3", "disagrees=true"])
    assert choice == Choice(level=3, disagrees=True)
    assert [one.number for one in chosen(GalleryIndex(Place(folder)), choice)] == [2]
    for text, rule in {"level": "KEY=VALUE", "hue=1": "hue is unknown", "rated=me": "for the page"}.items():
        with pytest.raises(SettingsError, match=rule):
            choice_argument([text])


@pytest.mark.slow
def test_killed_after_any_answer_nothing_acknowledged_is_lost(folder):
    program = (
        "import sys, json; from tests.gallery.test_page import *; from pathlib import Path\n"
        f"client = client_of(Path({str(folder)!r}))\n"
        "for number in range(1000):\n"
        "    print(say(client, number % 4).status_code, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    acknowledged = [child.stdout.readline() for _ in range(7)]
    os.kill(child.pid, signal.SIGKILL)
    acknowledged += child.stdout.readlines()
    child.wait()
    assert set(acknowledged) == {"201\n"} and len(people(folder)) >= len(acknowledged)
