"""What the rater will see, for people to look at: a picture of pictures, and a page with the very words."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from actors.worlds.examining import Played
from algorithms.images import encode_png
from algorithms.prompts import analysis_prompt, answer_only_prompt, rating_prompt
from algorithms.ratings import RatingRequest
from orchestrator.doctor.findings import Finding
from orchestrator.storage.writing import write_atomic

SHEET, PAGE = "frames.png", "index.html"
_GAP, _LINE = 6, 16
_BACKGROUND = (224, 224, 224)
"""Grey, so that white pictures have edges."""
_WORDS = {"ok": "ok", "warning": "note", "failure": "FAIL"}
_STYLE = """
body { font-family: sans-serif; margin: 2em auto; max-width: 60em; color: #222 }
figure { display: inline-block; margin: 0.4em; text-align: center; font-size: 0.8em }
figure img { image-rendering: pixelated; border: 1px solid #ccc }
pre { background: #f4f4f4; padding: 0.8em; white-space: pre-wrap }
td { padding: 0.25em 0.8em 0.25em 0; vertical-align: top }
.failure { color: #b00020; font-weight: bold } .warning { color: #8a5a00; font-weight: bold } .ok { color: #1b6e2c }
"""


def write_contact_sheet(
    folder: Path,
    title: str,
    findings: Sequence[Finding],
    episodes: Sequence[Played],
    requests: Sequence[RatingRequest],
) -> list[Path]:
    """Write `frames.png` and `index.html`, which stands alone, into `folder`; returns their paths.

    `requests` are questions as a run would ask them, one at least.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / SHEET, encode_png(sheet(episodes)))
    write_atomic(folder / PAGE, _page(title, findings, episodes, requests).encode())
    return [folder / SHEET, folder / PAGE]


def sheet(episodes: Sequence[Played]) -> np.ndarray:
    """uint8 [H, W, 3]: an episode a row below what was to be done in it, each frame below its step."""
    px = episodes[0].frames.shape[1]
    columns = max(len(one.frames) for one in episodes)
    size = (_GAP + columns * (px + _GAP), len(episodes) * (px + 2 * _LINE + _GAP) + _GAP)
    picture = Image.new("RGB", size, _BACKGROUND)
    pen = ImageDraw.Draw(picture)
    for row, one in enumerate(episodes):
        top = _GAP + row * (px + 2 * _LINE + _GAP)
        pen.text((_GAP, top), f"seed {one.seed}: {_readable(one.instruction)}", fill="black")
        top += _LINE
        for column, (frame, step) in enumerate(zip(one.frames, one.frame_steps, strict=True)):
            left = _GAP + column * (px + _GAP)
            pen.text((left, top), f"step {step}" if px >= 50 else str(step), fill="black")
            picture.paste(Image.fromarray(frame), (left, top + _LINE))
    return np.asarray(picture)


def _readable(text: str) -> str:
    """What the picture's plain font can write."""
    return text.encode("latin-1", "replace").decode("latin-1")


def _page(
    title: str, findings: Sequence[Finding], episodes: Sequence[Played], requests: Sequence[RatingRequest]
) -> str:
    rows = "".join(
        f"<tr><td class={one.status}>{_WORDS[one.status]}</td><td>{html.escape(one.name)}</td>"
        f"<td>{html.escape(one.text)}{f'<br>do: {html.escape(one.remedy)}' if one.remedy else ''}</td></tr>"
        for one in findings
    )
    shown = "".join(
        f"<h3>Seed {one.seed}: {one.num_agent_steps} steps, {html.escape(one.instruction)}</h3>"
        + "".join(_figure(encode_png(f), f"step {s}") for f, s in zip(one.frames, one.frame_steps, strict=True))
        for one in episodes
    )
    asked = "".join(_question(number, request) for number, request in enumerate(requests, start=1))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1><table>{rows}</table>"
        f"<h2>Questions, as the rater gets them</h2>{asked}<h2>Frames, by random actions</h2>{shown}</html>\n"
    )


def _question(number: int, request: RatingRequest) -> str:
    if request.mode == "two_turn":
        first = analysis_prompt(request)
        turns = [("user", first.text), ("answer", "(the analysis)")]
        turns.append(("user, in a new conversation", rating_prompt(request, "(the analysis)").text))
    else:
        first = answer_only_prompt(request)
        turns = [("user", first.text)]
    words = "\n\n".join(f"[{who}]\n{text}" for who, text in [("system", first.system), *turns])
    pictures = "".join(_figure(png, f"picture {place}") for place, png in enumerate(request.images, start=1))
    return f"<h3>Question {number}</h3>{pictures}<pre>{html.escape(words)}</pre>"


def _figure(png: bytes, caption: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">' + (
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )
