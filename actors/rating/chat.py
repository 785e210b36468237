"""A checkpoint's own chat format: from a prompt to the text and the tokens that its model reads."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.rating.engine_site.likert_engine_hooks import mend_torchvision
from actors.rating.models import Checkpoint, checkpoint_config, in_words, token_px
from algorithms.prompts import Prompt

THINK, END_OF_THOUGHT = "<think>", "</think>"
"""What Qwen writes around what it thinks before it answers."""

_VOCABULARIES = ("tokenizer.json", "vocab.json")
_PROBE = Prompt("What does the picture show?", with_images=True, earlier=(("Is a picture there?", "It is there."),))


@dataclass(frozen=True)
class ChatFormat:
    """Tokenizer and chat template of a checkpoint that can be shown pictures."""

    tokenizer: Any
    template: str
    image_token: int
    """Id of the place holder of a picture."""
    thinks: bool = False
    """Whether the template opens a thought where the answer begins."""

    def text(self, prompt: Prompt, num_images: int, at_once: bool = False) -> str:
        """The prompt up to where the answer begins. Pictures precede the first user turn.

        A model that thinks has its thought closed, empty, if it is to answer `at_once`: what follows is then its
        answer and not its thought.
        """
        text = chat_text(self.tokenizer, prompt, num_images, self.template)
        return f"{text.rstrip()}\n\n{END_OF_THOUGHT}\n\n" if at_once and self.thinks else text

    def tokens(self, prompt: Prompt, num_images: int, at_once: bool = False) -> tuple[int, ...]:
        """Ids of `text`; each picture is one place holder."""
        return tuple(self.tokenizer.encode(self.text(prompt, num_images, at_once), add_special_tokens=False))


def chat_text(tokenizer: Any, prompt: Prompt, num_images: int, template: str | None = None) -> str:
    """The prompt in a chat format, by default the tokenizer's own; pictures precede the first user turn."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": prompt.system}] if prompt.system else []
    pictures = [{"type": "image"}] * num_images
    for said, answered in prompt.earlier:
        messages.append({"role": "user", "content": [*pictures, {"type": "text", "text": said}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answered}]})
        pictures = []
    messages.append({"role": "user", "content": [*pictures, {"type": "text", "text": prompt.text}]})
    return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=True)


def without_thought_marks(text: str) -> str:
    """What a model said, thoughts and answer in one text."""
    return text.replace(THINK, "").replace(END_OF_THOUGHT, "").strip()


def load_chat_format(model: str, checkpoint: Checkpoint, revision: str | None) -> ChatFormat:
    """The chat format that vLLM takes for a checkpoint: the processor's template, else the tokenizer's.

    `model` is what `rater.model` says. Loads a tokenizer, but no weights.

    Raises:
        ValueError: there is no template, or it leaves out pictures or words, or tokenizer, processor and configuration
            do not belong together. The message names the file and the remedy.
    """
    mend_torchvision()
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoProcessor, ProcessorMixin, dynamic_module_utils

    # A part of a processor with code of its own would be asked about on the terminal, and loaded after a "y", in spite
    # of `trust_remote_code=False`. Without time for an answer it is an error at once.
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0

    # Without any vocabulary transformers makes an empty one.
    if isinstance(checkpoint, Path) and not any((checkpoint / name).is_file() for name in _VOCABULARIES):
        raise ValueError(
            f"rater.model {model!r}: {checkpoint} has no {' or '.join(_VOCABULARIES)}, so it has no tokenizer; "
            "copy the tokenizer's files from the checkpoint that it was made of"
        )
    try:
        processor = AutoProcessor.from_pretrained(str(checkpoint), revision=revision, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError, StrictDataclassError) as error:
        raise ValueError(
            f"rater.model {model!r}: its processor cannot be loaded ({in_words(error)}); it needs tokenizer.json, "
            "tokenizer_config.json and preprocessor_config.json beside config.json: take them from the checkpoint that "
            "it was made of"
        ) from error
    if not isinstance(processor, ProcessorMixin):
        raise ValueError(
            f"rater.model {model!r}: it has no processor for pictures; take preprocessor_config.json from the "
            "checkpoint that it was made of"
        )
    _check_patches(model, processor, token_px(checkpoint, revision))
    image_token = _image_token(model, checkpoint, revision, processor.tokenizer)
    chat = ChatFormat(processor.tokenizer, _template(model, checkpoint, processor), image_token)
    asked = _check_shown(model, checkpoint, chat)
    return replace(chat, thinks=asked.rstrip().endswith(THINK))


def _check_patches(model: str, processor: Any, expected_px: int) -> None:
    pictures = processor.image_processor
    if not type(pictures).__name__.startswith("Qwen2VLImageProcessor"):  # of all Qwen-VLs
        raise ValueError(
            f"rater.model {model!r}: pictures are prepared by {type(pictures).__name__} (preprocessor_config.json), as "
            "for another kind of model; take the file from the checkpoint that it was made of"
        )
    found_px = pictures.patch_size * pictures.merge_size
    if found_px != expected_px:
        raise ValueError(
            f"rater.model {model!r}: preprocessor_config.json makes a token of {found_px} x {found_px} pixels, and "
            f"config.json of {expected_px} x {expected_px}: they are of different models; take both from one checkpoint"
        )


def _image_token(model: str, checkpoint: Checkpoint, revision: str | None, tokenizer: Any) -> int:
    known = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    configured = checkpoint_config(checkpoint, revision).get("image_token_id", known)
    if known is None or known != configured:
        raise ValueError(
            f"rater.model {model!r}: a picture's place is token {configured} in config.json, and {known} in the "
            "tokenizer (<|image_pad|>): they are of different models; take both from one checkpoint"
        )
    return int(known)


def _template(model: str, checkpoint: Checkpoint, processor: Any) -> str:
    """vLLM's order; of several named templates the one called default."""
    template = processor.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if template is None:
        try:
            template = processor.tokenizer.get_chat_template()
        except ValueError:
            raise ValueError(
                f"rater.model {model!r}: {checkpoint} has no chat template: none of chat_template.jinja, "
                "chat_template.json and tokenizer_config.json holds one; copy chat_template.json or "
                "chat_template.jinja from the checkpoint that it was made of"
            ) from None
    if not isinstance(template, str):
        raise ValueError(
            f"rater.model {model!r}: the chat template of {checkpoint} is {template!r}, but must be a text; copy "
            "chat_template.json or chat_template.jinja from the checkpoint that it was made of"
        )
    return template


def _check_shown(model: str, checkpoint: Checkpoint, chat: ChatFormat) -> str:
    """Raise ValueError unless a text in this format holds all that is said and shown; else return such a text."""
    where = f"rater.model {model!r}: its chat template ({_template_file(checkpoint, chat.template)})"
    remedy = "put the chat_template.json or chat_template.jinja of a Qwen-VL there"
    text = ""
    for number in (1, 2):
        try:
            text = chat.text(_PROBE, number)
        except Exception as error:  # a template is a program, and fails in any way
            raise ValueError(
                f"{where} cannot put pictures and words together: it may be for text alone ({in_words(error)}); "
                f"{remedy}"
            ) from error
        shown = chat.tokenizer.encode(text, add_special_tokens=False).count(chat.image_token)
        if shown != number:
            raise ValueError(
                f"{where} leaves {shown} places for {number} picture{'s' * (number > 1)}, so the model would not see "
                f"what it is to rate; {remedy}"
            )
    said = [_PROBE.system, _PROBE.text, *_PROBE.earlier[0]]
    missing = [one for one in said if one not in text]
    if missing:
        raise ValueError(f"{where} leaves out what is said: {missing[0]!r}; {remedy}")
    return text


def _template_file(checkpoint: Checkpoint, template: str) -> str:
    """The file that holds the template, for a message."""
    if isinstance(checkpoint, Path):
        for name in ("chat_template.json", "chat_template.jinja", "tokenizer_config.json"):
            file = checkpoint / name
            text = file.read_text(encoding="utf-8") if file.is_file() else ""
            if template in text or json.dumps(template)[1:-1] in text:
                return str(file)
    return f"of {checkpoint}"
