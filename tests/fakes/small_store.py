"""Rows for a rating store."""

import io

from PIL import Image

from algorithms.ratings import RaterIdentity, Rating, RatingFailure, RatingRequest, Sampling, TaskText
from algorithms.scales import RatingScale
from orchestrator.ratings.question import Question

IDENTITY = RaterIdentity("sha256:abc", "r1")
SAMPLING = Sampling(temperature=0.5, seed=3)
SCALE = RatingScale.likert(3, ("open", "partly", "closed"))


def png(shade, size=(6, 4)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade % 256, shade // 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def question(number, frames=None, env_step=100, success=False):
    frames = frames or (png(number),)
    request = RatingRequest(tuple(frames), TaskText("close the drawer", "the drawer"), SCALE, "two_turn")
    return Question(request, tuple(frames), env_step, success)


def rating(number, level=1, analysis="The drawer is [half] open."):
    return Rating(f"key{number}", level, (0.1, 0.7, 0.2), analysis, 30, 8, 0.25)


def failure(number, cause="timeout"):
    return RatingFailure(f"key{number}", cause, "no answer in 120 s", 3)


def add(store, numbers, run="run-a", **changes):
    store.append([(question(n, **changes), rating(n)) for n in numbers], IDENTITY, SAMPLING, run)


def parts(folder, table):
    return sorted((folder / table).glob("*.parquet"))
