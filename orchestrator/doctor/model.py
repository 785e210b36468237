"""The rater: its weights load, its level words are usable, and it rates a frame."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from actors.rating.backend import Needs
from actors.rating.settings import RaterSettings
from actors.rating.similarity.settings import POCKET_CLIP, SimilaritySettings
from actors.worlds.settings import TaskSettings
from algorithms.prompts import answer_labels
from algorithms.ratings import Rating, RatingRequest, level_in_words
from orchestrator.doctor.findings import Unfit
from orchestrator.doctor.frames import draw_one
from orchestrator.settings.preflight import check_model, check_similarity_model
from orchestrator.settings.served import as_served


def check_weights(rater: RaterSettings) -> str:
    """Which weights would rate, if they are there and are of a kind that is served. Loads none."""
    if rater.endpoint is not None:
        as_served(rater)
        return f"asked at {rater.endpoint}"
    check_model(rater)
    return f"{rater.model}: the weights are there; --model loads them"


def check_similarity(settings: SimilaritySettings) -> str:
    """Which model would compare frames with sentences, if it can be there. Loads none."""
    check_similarity_model(settings)
    is_here = settings.model == POCKET_CLIP or Path(settings.model).expanduser().is_dir() or settings.s3d_weights
    return f"{settings.model_name}: {'the weights are there' if is_here else 'a hub name; the run fetches it'}"


def check_rating(
    rater: RaterSettings,
    task: TaskSettings,
    ask: Callable[[Sequence[bytes]], RatingRequest],
    server: Any = None,
    frame: bytes | None = None,
) -> str:
    """What the rater says of a frame of the task. Ray is connected; takes as long as the weights take to load.

    `ask` words the request about a frame. `server` and `frame` replace the settings' own rating server, an actor, and
    a drawn frame.
    """
    import ray

    from orchestrator.ratings.replicas import start_rating_servers

    rater = as_served(rater).model_copy(update={"num_replicas": 1, "server": None})
    started = time.monotonic()
    actor = server or start_rating_servers(rater)[0]
    try:
        ray.get(actor.start.remote(), timeout=rater.start_timeout_s)
        loaded_s = time.monotonic() - started
        request = ask([frame or draw_one(task)])
        relies_on = ray.get(actor.check.remote(Needs(answer_labels(request.scale), num_pictures=len(request.images))))
        (outcome,) = ray.get(actor.rate.remote([request]))
    except (ray.exceptions.RayTaskError, ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
        cause = getattr(error, "cause", None) or error
        remedy = "choose another rater.model, or lower rater.max_model_len or rater.gpu_memory_fraction"
        if rater.endpoint:
            remedy = "correct rater.endpoint or rater.model; docs/endpoints.md says what a server must do"
        raise Unfit(f"{rater.endpoint or rater.model} does not start: {str(cause).splitlines()[-1]}", remedy) from None
    finally:
        ray.kill(actor)
    if not isinstance(outcome, Rating):
        raise Unfit(
            f"{rater.model} gave no rating: {outcome.cause}, {outcome.detail}",
            "raise rater.deadline_s, or take rater.mode=answer_only, which needs one token",
        )
    words = request.scale.words
    return (
        f"{rater.model} loads in {loaded_s:.0f} s; levels {', '.join(words)}; it calls a frame "
        f"{level_in_words(words, outcome.rating, outcome.probabilities)}" + (f"; {relies_on}" if relies_on else "")
    )
