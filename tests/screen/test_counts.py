"""Numbers of things."""

from orchestrator.screen.counts import counted


def test_one_is_one_and_others_are_many():
    assert [counted(number, "problem") for number in (0, 1, 2, 1_204)] == [
        "0 problems", "1 problem", "2 problems", "1,204 problems",
    ]  # fmt: skip
