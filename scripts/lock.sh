#!/usr/bin/env bash
# Resolves the versions in pyproject.toml into the complete lists that scripts/install.sh installs.
set -euo pipefail
resolve() {
  local flavour=$1 unwanted=$2
  shift 2
  uv pip compile --quiet --no-header --no-annotate pyproject.toml --extra "$flavour" --extra dev --python-version 3.11 "$@" |
    grep -vE "^($unwanted)==" >"requirements/$flavour.txt"
}
# torchaudio and torchcodec are built for another torch and break `import transformers`; Qwen-VL needs neither.
# triton beside Mesa's software OpenGL crashes a process: two copies of LLVM. A processor does not need it.
resolve cpu 'torchaudio|torchcodec|triton' "${UV_ARGS[@]:---extra-index-url=https://download.pytorch.org/whl/cpu}"
resolve gpu 'torchaudio|torchcodec' --python-platform x86_64-manylinux_2_28
