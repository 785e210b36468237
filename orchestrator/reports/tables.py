"""Tables of reports: Markdown for people, CSV for programs; and the groups of runs that are a line of them.

`likert report` writes the tables of each kind of experiment among the runs. What a line says stands with the kind: in
`online/report.py`, `offline/report.py`.
"""

import csv
import io
from collections.abc import Mapping, Sequence

from orchestrator.runs.reading import RunData


def grouped(runs: Sequence[RunData]) -> dict[str, list[RunData]]:
    """Runs by experiment, which differ in their seed only, in the order in which they were given."""
    groups: dict[str, list[RunData]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return groups


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for people, without a last line break."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def csv_table(rows: Sequence[Mapping[str, object]]) -> str:
    """A table for programs; the first row, of which there must be one, names the columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
