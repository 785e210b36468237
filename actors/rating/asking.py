"""How each kind of question is put to a backend: about a segment, a window's actions, or a whole trajectory."""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from actors.rating.backend import Backend, Reply, Unparsable
from algorithms.progress import ProgressRequest
from algorithms.progress_prompts import (
    PROGRESS_PROMPT_VERSION,
    TRUTHS,
    VERDICTS,
    parse_percentages,
    percentages_prompt,
    statement_prompt,
    verdict_analysis_prompt,
    verdict_prompt,
)
from algorithms.prompts import (
    Prompt,
    analysis_prompt,
    answer_labels,
    answer_only_prompt,
    rating_prompt,
    words_version,
)
from algorithms.ratings import (
    FailureCause,
    RaterIdentity,
    Rating,
    RatingFailure,
    RatingRequest,
    Sampling,
    rating_key,
)
from algorithms.scores import ScoreRequest, Scores, score_key
from algorithms.scoring_prompts import (
    SCORE_LETTERS,
    SCORING_PROMPT_VERSION,
    one_score_prompt,
    parse_scores,
    scores_prompt,
    single_turn_prompt,
    window_analysis_prompt,
)

AGAIN = "#"
"""Parts a question's key from what tells this asking from others of the same, where the answer must be a new one."""
Request = RatingRequest | ScoreRequest | ProgressRequest
Answer = Rating | Scores


@dataclass(frozen=True)
class Completion:
    """What became of a prompt that somebody else wrote."""

    reply: Reply
    prompt_tokens: int
    completion_tokens: int
    latency_s: float


def request_key(request: Request, identity: RaterIdentity, sampling: Sampling) -> str:
    """The key of a request of any kind."""
    if isinstance(request, RatingRequest):
        return rating_key(request, identity, sampling, words_version(request.task.agent, request.scale))
    return score_key(request, identity, sampling, prompt_version(request))


def prompt_version(request: ScoreRequest | ProgressRequest) -> str:
    """Version of the words that a request is asked in."""
    return PROGRESS_PROMPT_VERSION if isinstance(request, ProgressRequest) else SCORING_PROMPT_VERSION


def question_about(request: Request, key: str) -> "Question":
    """The question that asks for what `request` wants."""
    if isinstance(request, ProgressRequest):
        return ProgressQuestion(key, request)
    return ScoringQuestion(key, request) if isinstance(request, ScoreRequest) else RatingQuestion(key, request)


@dataclass
class Question(ABC):
    """A request under way. What one attempt got is kept for the next."""

    key: str
    started: float = field(default_factory=time.perf_counter, init=False)
    analysis: str | None = field(default=None, init=False)
    thought: str = field(default="", init=False)
    """What a model that thinks before it answers has thought; told as the analysis where the model gave none."""
    prompt_tokens: int = field(default=0, init=False)
    completion_tokens: int = field(default=0, init=False)
    attempts: int = field(default=0, init=False)
    last_error: str = field(default="", init=False)

    @abstractmethod
    async def attempt(self, backend: Backend) -> Answer | Completion:
        """Ask once, all turns. Raises RaterError."""

    def failure(self, cause: FailureCause, detail: str) -> RatingFailure:
        """What is said of it if there is no answer."""
        return RatingFailure(self.key, cause, detail, self.attempts)

    def _count(self, reply: Reply) -> None:
        self.thought = reply.thought
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens

    def _costs(self) -> dict[str, float]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "latency_s": time.perf_counter() - self.started,
        }


@dataclass
class PromptQuestion(Question):
    """Puts a prompt as it is."""

    prompt: Prompt
    images: tuple[bytes, ...]
    choices: tuple[str, ...]

    async def attempt(self, backend: Backend) -> Completion:
        """The reply; with choices one of them."""
        reply = await backend.generate(self.prompt, self.images, self.choices)
        self._count(reply)
        if self.choices and reply.text not in self.choices:
            raise Unparsable(f"the answer {reply.text[:80]!r} is none of {', '.join(self.choices)}")
        return Completion(reply, **self._costs())


@dataclass
class RatingQuestion(Question):
    """Asks for a level of a scale."""

    request: RatingRequest

    async def attempt(self, backend: Backend) -> Rating:
        """Analyse and rate, or rate at once."""
        request = self.request
        labels = answer_labels(request.scale)
        if request.mode == "answer_only":
            reply = await backend.generate(answer_only_prompt(request), request.images, labels)
        else:
            if self.analysis is None:
                analysis = await backend.generate(analysis_prompt(request), request.images, ())
                self._count(analysis)
                self.analysis = analysis.text.strip()
            reply = await backend.generate(rating_prompt(request, self.analysis), (), labels)
        self._count(reply)
        if reply.text not in labels:
            raise Unparsable(f"the answer {reply.text[:80]!r} is none of {', '.join(labels)}")
        level, probabilities = labels.index(reply.text), reply.probabilities or ()
        return Rating(self.key, level, probabilities, self.analysis or self.thought, **self._costs())


@dataclass
class ScoringQuestion(Question):
    """Asks for a score of each action of a window."""

    request: ScoreRequest
    _distributions: list[tuple[float, ...]] = field(default_factory=list, init=False)

    async def attempt(self, backend: Backend) -> Scores:
        """Two turns of one conversation, one turn, or one forward pass for each action."""
        request = self.request
        if request.mode == "logits":
            scores = await self._score_by_logits(backend)
        else:
            prompt = single_turn_prompt(request)
            if request.mode == "two_turn":
                if self.analysis is None:
                    analysis = await backend.generate(window_analysis_prompt(request), request.images, ())
                    self._count(analysis)
                    self.analysis = analysis.text.strip()
                prompt = scores_prompt(request, self.analysis)
            reply = await backend.generate(prompt, request.images, ())
            self._count(reply)
            try:
                scores = parse_scores(reply.text, len(request.actions))
            except ValueError as error:
                raise Unparsable(str(error)) from None
        return Scores(self.key, scores, tuple(self._distributions), self.analysis or self.thought, **self._costs())

    async def _score_by_logits(self, backend: Backend) -> tuple[float, ...]:
        # One after the other: from the second on, the engine has the picture in its cache.
        while len(self._distributions) < len(self.request.actions):
            prompt = one_score_prompt(self.request, len(self._distributions))
            reply = await backend.generate(prompt, self.request.images, SCORE_LETTERS)
            self._count(reply)
            if reply.probabilities is None:
                raise Unparsable(
                    "the server tells no probabilities that belong to the letters, which mode 'logits' needs; use mode "
                    "'two_turn' or 'single_turn'"
                )
            self._distributions.append(reply.probabilities)
        return tuple(sum(score * p for score, p in enumerate(one)) for one in self._distributions)


@dataclass
class ProgressQuestion(Question):
    """Asks about a whole trajectory."""

    request: ProgressRequest

    async def attempt(self, backend: Backend) -> Scores:
        """Percentages of completion, the probability of "True", or whether the task is completed."""
        if self.request.mode == "gvl":
            scores, probabilities = await self._percentages(backend), None
        elif self.request.mode == "topreward":
            probabilities = await self._probability_of_true(backend)
            scores = probabilities[:1]
        else:
            scores, probabilities = await self._verdict(backend)
        told = (probabilities,) if probabilities else ()
        return Scores(self.key, scores, told, self.analysis or self.thought, **self._costs())

    async def _percentages(self, backend: Backend) -> tuple[float, ...]:
        reply = await backend.generate(percentages_prompt(self.request), self.request.images, ())
        self._count(reply)
        try:
            return parse_percentages(reply.text, len(self.request.images) - 1)
        except ValueError as error:
            raise Unparsable(str(error)) from None

    async def _probability_of_true(self, backend: Backend) -> tuple[float, ...]:
        reply = await backend.generate(statement_prompt(self.request), self.request.images, TRUTHS)
        self._count(reply)
        if reply.probabilities is None:
            raise Unparsable(
                "the server tells no probabilities that belong to True and False, which labeller 'topreward' needs; "
                "use 'gvl'"
            )
        return reply.probabilities

    async def _verdict(self, backend: Backend) -> tuple[tuple[float, ...], tuple[float, ...] | None]:
        request = self.request
        if request.mode == "verdict_two_turn" and self.analysis is None:
            analysis = await backend.generate(verdict_analysis_prompt(request), request.images, ())
            self._count(analysis)
            self.analysis = analysis.text.strip()
        reply = await backend.generate(verdict_prompt(request, self.analysis), request.images, VERDICTS)
        self._count(reply)
        if reply.text not in VERDICTS:
            raise Unparsable(f"the answer {reply.text[:80]!r} is none of {', '.join(VERDICTS)}")
        return (float(reply.text == VERDICTS[0]),), reply.probabilities
