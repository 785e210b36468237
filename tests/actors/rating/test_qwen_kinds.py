"""Every kind of Qwen-VL in the real engine, tiny and with random weights, against transformers: one start for each."""

import io

import pytest
import ray
from PIL import Image

from actors.rating.chat import load_chat_format, without_thought_marks
from actors.rating.engine.environment import engine_environment
from actors.rating.engine.level_tokens import label_tokens
from actors.rating.images import fitted_size, prepare_images
from actors.rating.models import token_px
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from algorithms.prompts import analysis_prompt, answer_labels, answer_only_prompt, rating_prompt
from algorithms.ratings import RatingRequest, TaskText
from algorithms.scales import RatingScale
from tests.fakes.tiny_qwen import CHAT_TEMPLATE, TEXT_TEMPLATE, THINKING_TEMPLATE, arrange, build_tiny_qwen

pytestmark = pytest.mark.slow

KINDS = {
    "qwen2_vl": {"legacy": CHAT_TEMPLATE, "tokenizer": CHAT_TEMPLATE},
    "qwen2_5_vl": {"legacy": CHAT_TEMPLATE, "tokenizer": TEXT_TEMPLATE},
    "qwen3_vl": {"jinja": CHAT_TEMPLATE},
    "qwen3_vl_moe": {"tokenizer": CHAT_TEMPLATE},
    "qwen3_vl that thinks": {"legacy": THINKING_TEMPLATE, "tokenizer": THINKING_TEMPLATE},
}
SCALE = RatingScale.likert(4)
PIXELS = {"min_pixels": 13_328, "max_pixels": 13_328}
"""17 tokens of 28 x 28, 13 of 32 x 32: so few sizes that whoever resizes again finds another one."""


class ProbedServer(RatingServer):
    async def engines_template(self) -> str:
        """The chat template that vLLM itself would take."""
        from vllm.renderers.hf import resolve_chat_template

        llm = self._backend._engine._llm
        return resolve_chat_template(llm.get_tokenizer(), None, None, model_config=llm.model_config)


@pytest.fixture(scope="module")
def own_ray():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module", params=KINDS)
def rated(request, own_ray, tmp_path_factory):
    """A checkpoint of the kind, and what a server says of it: its template, and ratings of all questions."""
    kind = request.param.split()[0]
    checkpoint = arrange(build_tiny_qwen(tmp_path_factory.mktemp(kind), kind=kind), **KINDS[request.param])
    settings = RaterSettings(
        model=str(checkpoint), dtype="float32", max_analysis_tokens=12, max_model_len=1024, deadline_s=300.0, **PIXELS
    )
    environment = engine_environment() | {"OMP_NUM_THREADS": "1"}
    actor = ray.remote(ProbedServer).options(num_cpus=1, max_concurrency=50, runtime_env={"env_vars": environment})
    server = actor.remote(settings)
    answers = ray.get(server.rate.remote(QUESTIONS))
    template = ray.get(server.engines_template.remote())
    ray.get(server.shutdown.remote())
    ray.kill(server)
    return checkpoint, template, answers


def frame(width: int, height: int) -> bytes:
    """Squares of colours that tell two sizes apart."""
    picture = Image.new("RGB", (3, 3), (width % 256, 90, height % 256))
    picture.putpixel((1, 2), (250, 20, width % 100))
    file = io.BytesIO()
    picture.resize((width, height), Image.Resampling.NEAREST).save(file, format="PNG")
    return file.getvalue()


BROKEN = "\ufffd"
QUESTIONS = [
    RatingRequest(tuple(frame(*size) for size in sizes), TaskText("close the drawer", "the drawer"), SCALE, mode)
    for mode in ("answer_only", "two_turn")
    for sizes in ([(64, 64)], [(300, 200)], [(112, 112), (40, 400)])
]


def test_vllm_and_transformers_agree(rated):
    """On levels, their probabilities, analyses and the number of tokens, each from its own side of the prompt."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    checkpoint, template, answers = rated
    chat = load_chat_format("tiny", checkpoint, None)
    assert template == chat.template
    processor = AutoProcessor.from_pretrained(checkpoint)
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32).eval()
    labels = list(label_tokens(chat.tokenizer, answer_labels(SCALE)).values())
    side = token_px(checkpoint, None)

    def read(prompt, images, at_once):
        pictures = prepare_images(images, *PIXELS.values(), side)
        text = chat.text(prompt, len(images), at_once)
        return processor(text=[text], images=pictures or None, do_resize=False, return_tensors="pt")

    for question, answer in zip(QUESTIONS, answers, strict=True):
        prompt, images, analysis = answer_only_prompt(question), question.images, ""
        if question.mode == "two_turn":
            inputs = read(analysis_prompt(question), images, at_once=False)
            said = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
            text = chat.tokenizer.decode(said, skip_special_tokens=True)
            analysis = without_thought_marks(text) if chat.thinks else text.strip()
            prompt, images = rating_prompt(question, answer.analysis), ()
        inputs = read(prompt, images, at_once=True)
        with torch.inference_mode():
            expected = torch.softmax(model(**inputs).logits[0, -1][labels], dim=0)
        # Random bytes seldom end with a whole character: vLLM leaves out what transformers shows as a broken one.
        assert answer.analysis.rstrip(BROKEN) == analysis.rstrip(BROKEN)
        assert answer.rating == int(expected.argmax())
        assert answer.probabilities == pytest.approx(expected.tolist(), abs=1e-3)
        if question.mode == "answer_only":
            sizes = [fitted_size(*Image.open(io.BytesIO(one)).size, *PIXELS.values(), side) for one in images]
            pictures = sum(width * height // side**2 for width, height in sizes)
            tokens = len(chat.tokens(prompt, len(images), at_once=True))
            assert answer.prompt_tokens == inputs["input_ids"].shape[1] == tokens - len(images) + pictures
    assert len({answer.probabilities for answer in answers}) == len(answers)
