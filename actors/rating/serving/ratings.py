"""Our own way to ask: `POST /v1/ratings`, a question about a segment in plain fields."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.rating.serving.problems import Problem, of_validation
from actors.rating.serving.uploads import PNG_SIGNATURE, Uploads, decode_base64
from algorithms.ratings import AGENT_PATTERN, ROBOT_ARM, AskingMode, Rating, RatingRequest, TaskText
from algorithms.scales import RatingScale


class RatingBody(BaseModel):
    """Body of a request."""

    model_config = ConfigDict(extra="forbid")

    images: Annotated[list[str], Field(min_length=1)]
    """PNG files in base64, in time order."""
    instruction: Annotated[str, Field(min_length=1)]
    """The task in one clause."""
    focus: Annotated[str, Field(min_length=1)]
    """The object to look at."""
    agent: Annotated[str, Field(pattern=AGENT_PATTERN)] = ROBOT_ARM
    """Who acts, as it stands in a sentence."""
    num_ratings: Literal[2, 3, 4, 5] = 3
    """Levels of the scale."""
    rubric: list[str] = Field(default_factory=list)
    """What each level looks like, worst first; empty for none."""
    mode: AskingMode | None = None
    """`two_turn` or `answer_only`; the server's own setting if absent."""
    frame_note: str = ""
    """How several images are laid out in time."""


async def rating_request(body: Any, default_mode: AskingMode, uploads: Uploads) -> RatingRequest:
    """The question in a body. Raises Problem if a field or a picture does not fit."""
    try:
        asked = RatingBody.model_validate(body)
    except ValidationError as error:
        raise of_validation(422, error) from None
    try:
        scale = RatingScale.likert(asked.num_ratings, tuple(asked.rubric))
    except ValueError as error:
        raise Problem(422, str(error), "rubric") from None
    pictures = [
        (f"images[{index}]", decode_base64(f"images[{index}]", text)) for index, text in enumerate(asked.images)
    ]
    for field, file in pictures:
        if not file.startswith(PNG_SIGNATURE):
            raise Problem(422, f"{field} is not a PNG file; encode frames as lossless PNG", field)
    return RatingRequest(
        images=await uploads.pngs(pictures),
        task=TaskText(asked.instruction, asked.focus, asked.agent),
        scale=scale,
        mode=asked.mode or default_mode,
        frame_note=asked.frame_note,
    )


def rating_body(request: RatingRequest, rating: Rating) -> dict[str, Any]:
    """Body of a response."""
    return {
        "rating": rating.rating,
        "word": request.scale.words[rating.rating],
        "probabilities": list(rating.probabilities),
        "analysis": rating.analysis,
        "latency_s": rating.latency_s,
        "key": rating.key,
    }
