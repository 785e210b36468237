"""`likert gallery`: folders it takes and refuses, its end, and the file it writes."""

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.gallery.place import place_of
from orchestrator.ratings.store import RatingStore
from tests.fakes.small_store import IDENTITY, SAMPLING, add, failure, question, rating


@pytest.fixture
def folder(tmp_path):
    add(RatingStore(tmp_path / "store"), range(5))
    return tmp_path / "store"


def refused(*arguments):
    """The message of a command that must end with exit code 2."""
    done = CliRunner().invoke(app, ["gallery", *map(str, arguments)])
    assert done.exit_code == 2, done.output
    return done.stderr


def test_folders_that_cannot_be_shown(tmp_path, folder):
    (tmp_path / "other").mkdir()
    (tmp_path / "windows" / "scores").mkdir(parents=True)
    (tmp_path / "empty" / "ratings").mkdir(parents=True)
    assert "does not exist" in refused(tmp_path / "none")
    assert "neither a rating store nor a run" in refused(tmp_path / "other")
    assert "scores of windows" in refused(tmp_path / "windows")
    assert "nothing can be shown" in refused(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == [tmp_path / "empty" / "ratings"]


def test_a_port_that_is_taken(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refused(folder, "--port", port)
    assert f"--port {port}" in message and "in use" in message and message.count("\n") == 1


def test_a_store_that_cannot_be_written(folder, monkeypatch):
    monkeypatch.setattr("pathlib.Path.touch", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert "must be a folder that can be written to" in refused(folder)


def test_options_that_do_not_fit(tmp_path, folder):
    assert "--only and --most are for --export" in refused(folder, "--only", "level=1")
    assert "must end in .html" in refused(folder, "--export", tmp_path / "a.pdf")
    assert "hue is unknown" in refused(folder, "--export", tmp_path / "a.html", "--only", "hue=1")
    assert "run=none: there is none" in refused(folder, "--export", tmp_path / "a.html", "--only", "run=none")
    assert "task=7: there are 1" in refused(folder, "--export", tmp_path / "a.html", "--only", "task=7")
    assert not (tmp_path / "a.html").exists()


def test_a_run_stands_for_its_part_of_its_store(tmp_path, folder, make_run):
    run = make_run("one").folder
    settings = run / "settings.yaml"
    text = re.sub(r"(?m)^ratings_folder:.*$", "", settings.read_text())
    settings.write_text(f"{text}\nratings_folder: {folder}\n")
    place = place_of(str(run))
    assert (place.store, place.run) == (folder, run.name)
    settings.write_text(f"{text}\nratings_folder: {tmp_path / 'gone'}\n")
    assert "there is no rating store there" in refused(run)


def test_one_file_with_everything_in_it(tmp_path, folder):
    store = RatingStore(folder)
    store.append_failures([(question(9), failure(9))], IDENTITY, SAMPLING, "run-a")
    out = tmp_path / "out.html"
    done = CliRunner().invoke(app, ["gallery", str(folder), "--export", str(out), "--most", "3", "--only", "kind=all"])
    assert done.exit_code == 0 and "3 ratings of 6" in done.output
    text = out.read_text()
    assert text.count("<article>") == 3 and text.count("data:image/png;base64,") == 2
    assert "3 of 6 entries that fit (kind: all)." in text and "No rating: timeout" in text
    assert "default-src 'none'" in text and "<script" not in text and "http:" not in text
    assert "The drawer is [half] open." in text and "Bad 0.10, Average 0.70, Good 0.20" in text


def test_what_a_model_says_is_text(tmp_path, folder):
    RatingStore(folder).append(
        [(question(7), rating(7, analysis="<img src=x onerror=alert(1)>"))], IDENTITY, SAMPLING, "<script>"
    )
    out = tmp_path / "out.html"
    assert CliRunner().invoke(app, ["gallery", str(folder), "--export", str(out)]).exit_code == 0
    assert "<img src=x" not in out.read_text() and "<script" not in out.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_a_link_and_ends_with_0(folder, by):
    child = subprocess.Popen(
        [sys.executable, "-c", "from orchestrator.cli.main import main; main()", "gallery", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    link = child.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{43}/", link)
    assert httpx.get(link + "summary").json()["ratings"] == 5
    os.kill(child.pid, by)
    rest, errors = child.communicate(timeout=60)
    assert (child.returncode, rest, errors) == (0, "", "")
