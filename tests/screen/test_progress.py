"""Progress on a terminal and off it."""

import io
import re

import pytest

from orchestrator.screen import run_progress as progress
from orchestrator.screen.run_progress import RunProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_off_a_terminal_a_line_per_change_that_matters(clock):
    stream = io.StringIO()
    with RunProgress("demo", 12_000, stream) as shown:
        shown.update(phase="acting", env_steps=0)
        shown.update(phase="policy", env_steps=100)  # grows a little: no line
        clock[0] += 1  # 100 of 12,000 steps took a second, so 119 s are left.
        shown.update(success=0.25)
        shown.update(success=0.25)
        shown.update(asked=75, answered=70, failed=2, from_store=3)
        clock[0] += 29
        shown.update(phase="acting", env_steps=3000)
    assert stream.getvalue().splitlines() == [
        "demo: 0/12,000 env steps, acting",
        "demo: 100/12,000 env steps, policy, success 25%, 1:59 left",
        "demo: 100/12,000 env steps, policy, success 25%, ratings 70/75 (3 from the store, 2 failed), 1:59 left",
        "demo: 3,000/12,000 env steps, acting, success 25%, ratings 70/75 (3 from the store, 2 failed), 1:30 left",
    ]


def test_the_last_state_is_always_printed(clock):
    stream = io.StringIO()
    with RunProgress("x", 10, stream) as shown:
        shown.update(phase="acting", env_steps=0)
        shown.update(phase="done", env_steps=10)
    assert stream.getvalue().splitlines()[-1] == "x: 10/10 env steps, done"


def test_time_left_counts_from_where_this_process_began(clock):
    stream = io.StringIO()
    with RunProgress("x", 10_000, stream) as shown:
        shown.update(env_steps=8_000)
        clock[0] += 100
        # 1,000 steps in 100 s, 1,000 to go.
        shown.update(env_steps=9_000)
    assert stream.getvalue().splitlines()[-1].endswith("1:40 left")


def test_on_a_terminal_everything_fits_two_moving_lines(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    with RunProgress("demo-seed0", 12_000, stream) as shown:
        shown.update(phase="acting", env_steps=6_000, success=0.5, asked=75, answered=75, failed=0, from_store=75)
        shown.note("going on from [a checkpoint]")
    text = re.sub(r"\x1b\[[0-9?;]*[A-Za-z]", "", stream.getvalue())
    assert "going on from [a checkpoint]\n" in text
    bar, facts = text.rstrip().splitlines()[-2:]
    assert "demo-seed0" in bar and "acting" in bar and "6000/12000" in bar
    assert "success 50%, ratings 75/75 (75 from the store, 0 failed)" in facts


def test_notes_off_a_terminal_and_silence():
    stream = io.StringIO()
    RunProgress("x", 10, stream).note("figure: a.png")
    assert stream.getvalue() == "figure: a.png\n"
    silent = io.StringIO()
    with RunProgress("x", 10, silent, enabled=False) as shown:
        shown.update(phase="acting", env_steps=5)
        shown.note("text")
    assert silent.getvalue() == ""


def test_unknown_values_are_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'sucess'"):
        RunProgress("x", 10, io.StringIO()).update(sucess=1.0)


def test_long_times_have_hours():
    assert [progress.clock(seconds) for seconds in (0, 59.6, 3599, 3600, 90_061)] == [
        "0:00",
        "1:00",
        "59:59",
        "1:00:00",
        "25:01:01",
    ]
