"""`likert gallery` on many ratings, in Chromium, beside a page that a script would write.

    python benchmarks/gallery.py [--ratings 10000] [--rounds 5]

Needs Debian's `chromium` and `chromium-driver`. The plain page is one HTML file with a card for each rating: the same
pictures, as files in a folder beside it, loaded lazily, with the same level and words, served by Python's http.server.
Both are opened by a browser that was started before and shows nothing yet; opening ends when the pictures of all cards
in the first screen are there. Then both are scrolled to their end within four seconds, in equal steps, and the time
between drawn frames is taken. Rounds alternate which comes first. `likert gallery` is asked to have read the store
before: how long that took, from the command to its link, is printed beside.

The last line holds medians: seconds to open, how many times as fast as the plain page that is, and the share of
scrolling's frames that came later than a twentieth of a second after the one before, of the gallery and of the page.
"""

import argparse
import functools
import html
import http.server
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algorithms.images import encode_png
from algorithms.ratings import RaterIdentity, Rating, RatingRequest, Sampling, TaskText
from algorithms.scales import RatingScale
from orchestrator.ratings.question import Question
from orchestrator.ratings.store import RatingStore

REPOSITORY = Path(__file__).resolve().parents[1]
LIKERT = "from orchestrator.cli.main import main; main()"
SCALE = RatingScale.likert(3, ("open", "half closed", "closed"))
IMAGE_PX = 112
A_SESSION = 75
LATE_S = 0.05
PATIENCE_S = 120.0

IN_SIGHT = """
const cards = [...document.querySelectorAll('.card')].filter(card => card.getBoundingClientRect().top < innerHeight);
return cards.length > 5 && cards.every(card => {
  const images = [...card.querySelectorAll('img')];
  return images.length && images.every(image => image.complete && image.naturalWidth);
}) && performance.now() / 1000;
"""
SCROLL = """
const done = arguments[arguments.length - 1], began = performance.now(), gaps = [];
const scroller = document.querySelector('#scroller') || document.scrollingElement;
let before = began;
function step(now) {
  gaps.push((now - before) / 1000);
  before = now;
  const share = Math.min((performance.now() - began) / 4000, 1);
  scroller.scrollTop = share * (scroller.scrollHeight - scroller.clientHeight);
  if (share < 1) requestAnimationFrame(step); else done(gaps.slice(1));
}
requestAnimationFrame(step);
"""


@dataclass(frozen=True)
class Opened:
    """One page in one round."""

    open_s: float
    late: float
    """Share of the frames while scrolling."""


def picture(number: int) -> np.ndarray:
    """uint8 [112, 112, 3]: a scene that differs from all others and compresses about as a simulator's frames do."""
    rng = np.random.default_rng(number)
    frame = np.linspace(60, 190, IMAGE_PX, dtype=np.uint8)[:, None, None].repeat(IMAGE_PX, 1).repeat(3, 2)
    for _ in range(12):
        top, left = rng.integers(0, IMAGE_PX - 24, 2)
        frame[top : top + rng.integers(6, 24), left : left + rng.integers(6, 24)] = rng.integers(0, 256, 3)
    return frame


def make_store(folder: Path, number: int) -> list[tuple[bytes, int, str]]:
    """A store of so many ratings, written by sessions as a run does, and what it shows: picture, level, words."""
    store, shown = RatingStore(folder), []
    task = TaskText("close the drawer", "the drawer")
    for first in range(0, number, A_SESSION):
        rows = []
        for at in range(first, min(first + A_SESSION, number)):
            png = encode_png(picture(at))
            words = f"The drawer stands {at % 97} per cent open, and the arm is {at % 13} centimetres from its handle."
            request = RatingRequest((png,), task, SCALE, "two_turn")
            rating = Rating(f"{at:064x}", at % 3, (0.2, 0.3, 0.5), words, 90, 30, 0.2)
            rows.append((Question(request, (png,), at, at % 7 == 0), rating))
            shown.append((png, at % 3, words))
        store.append(rows, RaterIdentity("sha256:benchmark", "1"), Sampling(), "benchmark")
    return shown


def make_page(folder: Path, shown: list[tuple[bytes, int, str]]) -> None:
    """The plain page and its pictures."""
    folder.mkdir()
    cards = []
    for at, (png, level, words) in enumerate(shown):
        (folder / f"{at}.png").write_bytes(png)
        cards.append(
            f'<div class="card"><img loading="lazy" width="{IMAGE_PX}" height="{IMAGE_PX}" src="{at}.png">'
            f"<b>{SCALE.words[level]}</b><p>{html.escape(words)}</p></div>"
        )
    style = ".card {display: inline-block; width: 190px; height: 210px; overflow: hidden}"
    (folder / "index.html").write_text(f"<!doctype html><style>{style}</style>{''.join(cards)}")


class Silent(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def plain_server(folder: Path) -> Iterator[str]:
    """The link of the plain page."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@contextmanager
def gallery(folder: Path) -> Iterator[tuple[str, float]]:
    """The link of the gallery, and how long it took to come."""
    began = time.perf_counter()
    command = [sys.executable, "-c", LIKERT, "gallery", str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    try:
        yield child.stdout.readline().split()[-1], time.perf_counter() - began
    finally:
        child.kill()
        child.wait()


def opened(link: str) -> Opened:
    """A fresh browser that opens a page and scrolls through it."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--window-size=1280,860", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    if os.getuid() == 0:
        options.add_argument("--no-sandbox")
    options.binary_location = shutil.which("chromium")
    options.page_load_strategy = "none"
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(PATIENCE_S)
    try:
        time.sleep(1.0)
        driver.get(link)
        until = time.monotonic() + PATIENCE_S
        # Counted by the page's own clock, which began when it was asked for.
        while not (open_s := driver.execute_script(IN_SIGHT)):
            if time.monotonic() > until:
                sys.exit(f"no pictures of {link} within {PATIENCE_S:g} s")
            time.sleep(0.01)
        gaps = driver.execute_async_script(SCROLL)
    finally:
        driver.quit()
    return Opened(open_s, sum(gap > LATE_S for gap in gaps) / max(len(gaps), 1))


def main() -> None:
    """Print each round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        print("no Chromium, so nothing is measured: apt install chromium chromium-driver")
        return
    ours, plain, links = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        store, page = Path(folder, "store"), Path(folder, "page")
        make_page(page, make_store(store, arguments.ratings))
        for round_ in range(arguments.rounds):
            with plain_server(page) as plain_link, gallery(store) as (link, link_s):
                links.append(link_s)
                sides = [(ours, link), (plain, plain_link)]
                for told, at in sides if round_ % 2 == 0 else sides[::-1]:
                    told.append(opened(at))
            print(
                f"round {round_}: gallery {ours[-1].open_s:.2f} s, late {ours[-1].late:.0%}, its link after "
                f"{link_s:.1f} s; plain page {plain[-1].open_s:.2f} s, late {plain[-1].late:.0%}"
            )
    ratios = sorted(theirs.open_s / mine.open_s for mine, theirs in zip(ours, plain, strict=True))
    print(f"{arguments.ratings:,} ratings; ratios from {ratios[0]:.2f} to {ratios[-1]:.2f}")
    middle = statistics.median
    print(
        f"open_s={middle(one.open_s for one in ours):.2f} ratio={middle(ratios):.2f} "
        f"link_s={middle(links):.1f} late={middle(one.late for one in ours):.3f} "
        f"plain_late={middle(one.late for one in plain):.3f}"
    )


if __name__ == "__main__":
    main()
