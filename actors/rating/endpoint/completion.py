"""What a chat completion says: the answer, and apart from it what the model thought before. Nothing is guessed."""

import re
from dataclasses import dataclass
from typing import Any

from actors.rating.backend import ServerError, Unparsable

THOUGHTS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"))
"""How open models mark what they think, where the server leaves it in the content (Qwen and DeepSeek; Mistral; Kimi).
Some chat templates write the first mark themselves, so that only the second one comes."""

MOST_TOKENS = 10**9
"""A larger count is no count."""

WITHOUT_THINKING = "serve it without thinking (docs/endpoints.md says how)"


@dataclass(frozen=True)
class Completion:
    """One answer of the server."""

    text: str
    """The answer, without the thought and without space around it. May be empty."""
    thought: str = ""
    unfinished: bool = False
    """The thought has no end, so there is no answer."""
    finish_reason: str = ""
    refusal: str = ""
    logprobs: Any = None
    """As the server sent it."""
    prompt_tokens: int = 0
    """0: unknown."""
    completion_tokens: int = 0

    @property
    def was_cut(self) -> bool:
        """It ended at the limit of tokens."""
        return self.finish_reason == "length"

    def answer(self, max_analysis_tokens: int) -> str:
        """The text. Raises Unparsable, with the remedy, if there is none: a thought is never the answer."""
        if self.text and not self.unfinished:
            return self.text
        if self.unfinished or (self.thought and self.was_cut):
            raise Unparsable(
                f"the model was still thinking when its tokens were used up ({self.thought[-80:]!r}): raise "
                f"rater.max_analysis_tokens = {max_analysis_tokens}, which bounds a thought too, or {WITHOUT_THINKING}"
            )
        if self.thought:
            raise Unparsable(
                f"the content is empty and all text stands in the server's reasoning field ({self.thought[:80]!r}); "
                f"what a model thinks is no answer: {WITHOUT_THINKING}, or without a reasoning parser"
            )
        if self.refusal:
            raise Unparsable(f"the model declined: {self.refusal[:200]!r}")
        raise Unparsable(f"the model's answer is empty (finish_reason {self.finish_reason!r})")


def read_completion(body: Any) -> Completion:
    """The first choice of a chat completion.

    Raises Unparsable if it is none, ServerError if it is an error that came with status 200.
    """
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content, told = _content(message.get("content"))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        if isinstance(body, dict) and body.get("error"):
            raise ServerError(f"the endpoint answers with an error: {_shown(body['error'])}") from None
        raise Unparsable(f"the endpoint's reply is no chat completion: {_shown(body)}") from error
    thought, text, unfinished = split_thought(content)
    # vLLM calls it `reasoning` now and called it `reasoning_content` before, as others still do.
    fields = [told, *(message.get(name) for name in ("reasoning_content", "reasoning"))]
    thoughts = [part.strip() for part in (*map(_text, fields), thought) if part.strip()]
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Completion(
        text=text,
        thought="\n".join(dict.fromkeys(thoughts)),
        unfinished=unfinished,
        finish_reason=_text(choice.get("finish_reason")),
        refusal=_text(message.get("refusal")),
        logprobs=choice.get("logprobs"),
        prompt_tokens=num_tokens(usage.get("prompt_tokens")),
        completion_tokens=num_tokens(usage.get("completion_tokens")),
    )


def split_thought(content: str) -> tuple[str, str, bool]:
    """Thought, what follows it, and whether the thought has no end."""
    for begin, end in THOUGHTS:
        before, mark, after = content.partition(end)
        if mark:
            return before.strip().removeprefix(begin).strip(), after.strip(), False
        if content.lstrip().startswith(begin):
            return content.strip().removeprefix(begin).strip(), "", True
    return "", content.strip(), False


def num_tokens(told: Any) -> int:
    """A count of tokens; 0, unknown, for anything that is none."""
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 <= told <= MOST_TOKENS:
        return 0
    return int(told) if told == int(told) else 0


def clean(text: str) -> str:
    """Text that can be stored and sent on: JSON may hold halves of characters, which UTF-8 cannot."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _content(content: Any) -> tuple[str, str]:
    """Content and thought of a message whose content is text, nothing, or a list of parts. Raises TypeError."""
    if content is None or isinstance(content, str):
        return clean(content or ""), ""
    if not isinstance(content, list):
        raise TypeError("content is neither text nor parts")
    texts, thoughts = [], []
    for part in content:
        if part["type"] == "text" and isinstance(part["text"], str):
            texts.append(clean(part["text"]))
        elif part["type"] in ("thinking", "reasoning"):
            thoughts.append(_thinking(part.get(part["type"], part.get("text"))))
        else:
            raise TypeError("a part is no text")
    return "".join(texts), "".join(thoughts)


def _thinking(thought: Any) -> str:
    """Text of a part of type `thinking`, which may itself be a list of text parts (Mistral)."""
    if isinstance(thought, list):
        return "".join(_text(part.get("text")) for part in thought if isinstance(part, dict))
    return _text(thought)


def _shown(told: Any) -> str:
    try:
        return ascii(told)[:200]
    except RecursionError:
        return "nested too deeply"


def _text(told: Any) -> str:
    return clean(told) if isinstance(told, str) else ""
