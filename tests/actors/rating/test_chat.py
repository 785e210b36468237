"""Chat formats: where checkpoints keep them, what makes one useless, and what a model that thinks reads."""

import json
import shutil

import pytest

from actors.rating.chat import chat_text, load_chat_format, without_thought_marks
from algorithms.prompts import SYSTEM, Prompt
from tests.fakes import tiny_qwen
from tests.fakes.tiny_qwen import arrange, build_tiny_qwen

PICTURES, TEXT = tiny_qwen.CHAT_TEMPLATE, tiny_qwen.TEXT_TEMPLATE
PROMPT = Prompt("How well is it done?", with_images=True, earlier=(("What is it?", "A drawer."),))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    return {kind: build_tiny_qwen(folder / kind, kind=kind) for kind in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")}


@pytest.fixture
def checkpoint(kinds, tmp_path):
    return shutil.copytree(kinds["qwen2_5_vl"], tmp_path / "checkpoint")


def load(checkpoint):
    return load_chat_format("mine", checkpoint, None)


LAYOUTS = {
    "chat_template.jinja": {"jinja": PICTURES},
    "chat_template.json": {"legacy": PICTURES},
    "tokenizer_config.json": {"tokenizer": PICTURES},
    "a text-only one beside it": {"legacy": PICTURES, "tokenizer": TEXT},
    "both": {"legacy": PICTURES, "tokenizer": PICTURES},
}


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_template_for_pictures_is_found_in_every_published_layout(kinds, tmp_path, kind, layout):
    checkpoint = arrange(shutil.copytree(kinds[kind], tmp_path / kind), **LAYOUTS[layout])
    chat = load(checkpoint)
    assert chat.template == PICTURES and not chat.thinks
    tokens = chat.tokens(PROMPT, 2)
    assert tokens.count(chat.image_token) == 2
    assert chat.tokenizer.decode(tokens) == (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
        f"<|im_start|>user\n{'<|vision_start|><|image_pad|><|vision_end|>' * 2}What is it?<|im_end|>\n"
        "<|im_start|>assistant\nA drawer.<|im_end|>\n"
        "<|im_start|>user\nHow well is it done?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ({}, r"checkpoint has no chat template: none of chat_template\.jinja, chat_template\.json and tokenizer_conf"),
        (
            {"tokenizer": TEXT},
            r"tokenizer_config\.json\) cannot put pictures and words together: it may be for text alone .*put the c",
        ),
        ({"jinja": "{{ nothing.at.all }}"}, r"chat_template\.jinja\) cannot put pictures and words together"),
        ({"legacy": "{% if %}"}, r"chat_template\.json\) cannot put pictures and words together"),
        (
            {"legacy": tiny_qwen.BLIND_TEMPLATE, "tokenizer": PICTURES},
            r"\.json\) leaves 0 places for 1 picture, so the",
        ),
        (
            {"jinja": "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>" + tiny_qwen.BLIND_TEMPLATE},
            r"chat_template\.jinja\) leaves 1 places for 2 pictures",
        ),
        (
            {"jinja": PICTURES.replace("for message in messages", "for message in messages[1:]")},
            r"leaves out what is said: 'You judge how well a robot arm is doing its task\.'",
        ),
    ],
)
def test_a_template_that_cannot_be_used_is_named_with_its_remedy(checkpoint, templates, message):
    arrange(checkpoint, **templates)
    with pytest.raises(ValueError, match=rf"^rater\.model 'mine': .*{message}"):
        load(checkpoint)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("preprocessor_config.json", {"patch_size": 16}, r"a token of 32 x 32 pixels, and config\.json of 28 x 28"),
        ("config.json", {"image_token_id": 7}, r"token 7 in config\.json, and 262 in the tokenizer"),
        ("preprocessor_config.json", None, r"its processor cannot be loaded .*it needs .*preprocessor_config\.json"),
        ("preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor"}, r"prepared by CLIPImageProcessor"),
        ("chat_template.json", {"chat_template": 7}, r"the chat template of .*checkpoint is 7, but must be a text"),
        ("chat_template.json", {"template": ""}, r"its processor cannot be loaded \('chat_template'\)"),
        ("tokenizer.json", None, r"has no tokenizer\.json or vocab\.json, so it has no tokenizer"),
    ],
)
def test_files_that_do_not_belong_together_or_are_missing(checkpoint, file, changes, message):
    path = checkpoint / file
    if changes is None:
        path.unlink()
    else:
        path.write_text(json.dumps((json.loads(path.read_text()) if path.is_file() else {}) | changes))
    with pytest.raises(ValueError, match=rf"^rater\.model 'mine': .*{message}"):
        load(checkpoint)


def test_a_processor_with_code_of_its_own_is_refused_without_asking(checkpoint, monkeypatch):
    def asked(_):
        raise AssertionError("nobody is to be asked whether foreign code may run")

    monkeypatch.setattr("builtins.input", asked)
    own = {"image_processor_type": "Mine", "auto_map": {"AutoImageProcessor": "mine.Mine"}}
    (checkpoint / "mine.py").write_text("raise SystemExit('foreign code has run')")
    (checkpoint / "preprocessor_config.json").write_text(json.dumps(own))
    with pytest.raises(ValueError, match=r"^rater\.model 'mine': its processor cannot be loaded"):
        load(checkpoint)


def test_a_model_that_thinks_is_asked_for_levels_behind_its_thought(checkpoint):
    chat = load(arrange(checkpoint, jinja=tiny_qwen.THINKING_TEMPLATE))
    assert chat.thinks
    assert chat.text(PROMPT, 1).endswith("<|im_start|>assistant\n<think>\n")
    assert chat.text(PROMPT, 1, at_once=True).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    # What it says in free text, thoughts included, is the analysis.
    assert without_thought_marks("The drawer is\nopen.</think>\n\nHalf done.") == "The drawer is\nopen.\n\nHalf done."


def test_others_are_asked_alike_at_once_and_in_free_text(checkpoint):
    chat = load(checkpoint)
    assert chat.text(PROMPT, 1, at_once=True) == chat.text(PROMPT, 1) == chat_text(chat.tokenizer, PROMPT, 1, PICTURES)
