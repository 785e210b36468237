"""The rater: its weights load, its level words are usable, and it rates a frame."""

import time
from typing import Any

from algorithms.ratings import Rating
from orchestrator.doctor.findings import Unfit
from orchestrator.doctor.frames import draw_one
from orchestrator.online.questions import QuestionMaker
from orchestrator.settings.experiment import Experiment
from orchestrator.settings.preflight import check_model


def check_weights(experiment: Experiment) -> str:
    """Which weights would rate, if they are there and are of a kind that is served. Loads none."""
    rater = experiment.rater
    if rater.endpoint is not None:
        return f"asked at {rater.endpoint}"
    check_model(experiment)
    return f"{rater.model}: the weights are there; --model loads them"


def check_rating(experiment: Experiment, server: Any = None, frame: bytes | None = None) -> str:
    """What the rater says of a frame of the task. Ray is connected; takes as long as the weights take to load.

    `server` and `frame` replace the settings' own rating server, an actor, and a drawn frame.
    """
    import ray

    from orchestrator.cluster import actors as cluster

    rater = experiment.rater.model_copy(update={"num_replicas": 1, "server": None})
    started = time.monotonic()
    actor = server or cluster.start_rating_servers(rater)[0]
    try:
        ray.get(actor.start.remote(), timeout=rater.start_timeout_s)
        loaded_s = time.monotonic() - started
        question = QuestionMaker(experiment.task, experiment.feedback, rater.mode).question(
            [frame or draw_one(experiment.task)] * experiment.feedback.segment.num_frames, 0, False
        )
        (outcome,) = ray.get(actor.rate.remote([question.request]))
    except (ray.exceptions.RayTaskError, ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
        cause = getattr(error, "cause", None) or error
        raise Unfit(
            f"{rater.model} does not start: {str(cause).splitlines()[-1]}",
            "choose another rater.model, or lower rater.max_model_len or rater.gpu_memory_fraction",
        ) from None
    finally:
        ray.kill(actor)
    if not isinstance(outcome, Rating):
        raise Unfit(
            f"{rater.model} gave no rating: {outcome.cause}, {outcome.detail}",
            "raise rater.deadline_s, or take rater.mode=answer_only, which needs one token",
        )
    words = question.request.scale.words
    return (
        f"{rater.model} loads in {loaded_s:.0f} s; levels {', '.join(words)}; "
        f"it calls a frame {words[outcome.rating]} ({outcome.probabilities[outcome.rating]:.2f})"
    )
