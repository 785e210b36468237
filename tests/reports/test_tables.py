"""Tables as reports write them."""

from orchestrator.reports.tables import csv_table, grouped, markdown_table


def test_a_markdown_table_by_hand():
    assert markdown_table(["a", "b"], [["1", "x"], ["2", "y"]]) == "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 | y |"


def test_a_csv_table_by_hand():
    assert csv_table([{"a": 1, "b": "x, y"}, {"a": None, "b": 0.5}]) == 'a,b\n1,"x, y"\n,0.5\n'


def test_runs_are_grouped_by_experiment_in_the_order_given(make_run):
    second, first, third = make_run("b", 0), make_run("a", 0), make_run("b", 1)
    assert grouped([second, first, third]) == {"b": [second, third], "a": [first]}
