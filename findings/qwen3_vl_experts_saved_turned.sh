#!/usr/bin/env bash
# transformers 5.19.0: a Qwen3-VL with experts that is loaded and saved again is not the checkpoint that was loaded.
#
# Published checkpoints hold the experts' matrices as [experts, in, out]. `from_pretrained` turns them round, and
# `save_pretrained` writes them as they are in memory, [experts, out, in]. transformers itself reads both, by comparing
# shapes, and cannot tell where a matrix is square. Programs that know the published layout alone, such as vLLM 0.32,
# refuse what was saved. A fresh configuration lacks `norm_topk_prob` besides, which published ones state.
#
# Seen with transformers 5.19.0, torch 2.13.0, safetensors 0.8.0 on Python 3.11:
#   published: gate_up_proj [4, 64, 96], down_proj [4, 48, 64]
#   the same weights after loading: True
#   loaded and saved again: gate_up_proj [4, 96, 64], down_proj [4, 64, 48]
#   norm_topk_prob in a fresh configuration: False
#
# Fails if that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" install --quiet)
"${pip[@]}" torch==2.13.0+cpu 2>/dev/null || "${pip[@]}" --index-url https://download.pytorch.org/whl/cpu torch==2.13.0+cpu
"${pip[@]}" transformers==5.19.0 safetensors==0.8.0 numpy==2.3.5
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.utils import logging

logging.disable_progress_bar()
config = AutoConfig.for_model(
    "qwen3_vl_moe",
    text_config={
        "vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 48,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True,
        },
    },
    vision_config={
        "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64, "patch_size": 16,
        "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
    },
)
has_norm = "norm_topk_prob" in config.to_dict()["text_config"]
model = AutoModelForImageTextToText.from_config(config)
model.save_pretrained("made")


def shapes(folder):
    weights = load_file(f"{folder}/model.safetensors")
    return {name.rpartition(".")[2]: list(weight.shape) for name, weight in weights.items() if ".experts." in name}


def told(found):
    return ", ".join(f"{name} {found[name]}" for name in ("gate_up_proj", "down_proj"))


Path("published").mkdir()
shutil.copy("made/config.json", "published/config.json")
weights = load_file("made/model.safetensors")
for name in [name for name in weights if ".experts." in name]:
    weights[name] = weights[name].transpose(1, 2).contiguous()
save_file(weights, "published/model.safetensors", metadata={"format": "pt"})
loaded = AutoModelForImageTextToText.from_pretrained("published", dtype=torch.float32)
same = all(torch.equal(loaded.state_dict()[name], weight) for name, weight in model.state_dict().items())
loaded.save_pretrained("saved_again")
print("published:", told(shapes("published")))
print("the same weights after loading:", same)
print("loaded and saved again:", told(shapes("saved_again")))
print("norm_topk_prob in a fresh configuration:", has_norm)
assert shapes("published") == {"gate_up_proj": [4, 64, 96], "down_proj": [4, 48, 64]}
assert same
assert shapes("saved_again") == {"gate_up_proj": [4, 96, 64], "down_proj": [4, 64, 48]}, "saved as published now"
assert not has_norm
PYTHON
