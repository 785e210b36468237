"""One HTML file of a store's ratings that needs nothing else, for a paper's appendix."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from algorithms.progress import spread
from orchestrator.gallery.application import answer_of
from orchestrator.gallery.choosing import Choice, chosen
from orchestrator.gallery.index import Entry, GalleryIndex, Task
from orchestrator.screen.counts import counted
from orchestrator.storage.writing import write_text

AT_ONCE = 64
"""Entries whose pictures are read together."""
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
article { border: 1px solid #8888; border-radius: 8px; padding: .7rem; break-inside: avoid; }
.pictures { display: flex; flex-wrap: wrap; gap: .3rem; }
img { max-width: 100%; min-width: 7rem; flex: 1; }
h2 { font-size: 1rem; margin: .4rem 0; }
p, ul { margin: .3rem 0; overflow-wrap: anywhere; }
.words { white-space: pre-wrap; }
"""
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'"
)


def export_page(index: GalleryIndex, choice: Choice, most: int, path: Path) -> tuple[int, int]:
    """Write at most so many of the entries that are chosen; return how many were written, and how many fit.

    Where they are more, the first are taken of an order by doubt or by time from the newest, and of another they are
    spread over all. The file appears whole or not at all.
    """
    found = chosen(index, choice)
    sorted_by_worth = choice.order in ("doubt", "newest")
    shown = found[:most] if sorted_by_worth else [found[place] for place in spread(len(found), most)]
    said = index.opinions()
    articles = []
    for start in range(0, len(shown), AT_ONCE):
        some = shown[start : start + AT_ONCE]
        pngs = index.pictures([name for one in some for name in one.row["images"]])
        articles += [_article(one, index.tasks[one.task], pngs, said.get(one.key, ())) for one in some]
    write_text(path, _page(index, choice, articles, len(found)))
    return len(shown), len(found)


def _page(index: GalleryIndex, choice: Choice, articles: Sequence[str], number: int) -> str:
    title = f"Ratings of {index.place.title}"
    only = "; ".join(f"{name}: {value}" for name, value in choice.model_dump(exclude_defaults=True).items())
    share = counted(number, "entry") if number == 1 else f"{number:,} entries"
    told = f"{len(articles):,} of {share} that fit{f' ({only})' if only else ''}."
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(told)}</p>
<main>
{"".join(articles)}</main>
</body>
</html>
"""


def _article(entry: Entry, task: Task, pngs: Mapping[str, bytes], said: Sequence[Mapping[str, Any]]) -> str:
    answer = answer_of(entry, said)
    names = entry.row["images"]
    pictures = "".join(
        f'<img alt="What the rater saw, {place + 1} of {len(names)}" '
        f'src="data:image/png;base64,{base64.b64encode(pngs[name]).decode()}">'
        for place, name in enumerate(names)
        if name in pngs
    )
    if entry.level is None:
        title, lines = f"No rating: {answer['cause']}", [answer["detail"]]
    else:
        title = task.words[entry.level]
        lines = [", ".join(f"{word} {one:.2f}" for word, one in zip(task.words, answer["probabilities"], strict=False))]
    if answer["success"] is not None:
        contradicts = ", which contradicts" if entry.disagrees else ""
        lines.append(f"Simulator: {'success' if answer['success'] else 'no success'}{contradicts}")
    for one in said:
        what = task.words[one["level"]] if one["said"] == "level" else one["said"].replace("_", " ")
        lines.append(f"{one['person']}: {what}{' (knowing the answer)' if one['answer_seen'] else ''}")
    texts = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
    words = f'<p class="words">{escape(answer["analysis"])}</p>' if answer["analysis"] else ""
    lost = "" if pictures else "<p>Its pictures were not kept.</p>"
    return (
        f'<article><div class="pictures">{pictures}</div>{lost}<h2>{escape(title)}</h2>'
        f"<p>{escape(task.instruction)}, step {entry.row['env_step']:,} of {escape(entry.row['run'])}</p>"
        f"{texts}{words}</article>\n"
    )
