#!/usr/bin/env bash
# RG-VLM from end to end on this machine: demonstrations, labels, IQL with each kind of reward, table and figure.
#   scripts/offline.sh NAME OUT SETTING=VALUE...
# tune_configs/NAME/ holds the labellings (label*.yaml, in this order) and the matrix; the settings are those of
# `likert data babyai`. Stopped, the same command goes on: what is done is not done again.
set -euo pipefail
# So that label.yaml comes before label_random.yaml everywhere.
export LC_ALL=C
name=$1 out=$2
shift 2
likert=.venv/bin/likert data=data/$name runs=runs/$name

if ! grep -qs '"complete": true' "$data/metadata.json"; then
  "$likert" data babyai "$data" unit=subtask "$@"
fi
for file in tune_configs/"$name"/label*.yaml; do
  "$likert" label "$file"
done
resume=()
if [ -d "$runs" ]; then resume=(--resume); fi
"$likert" sweep "tune_configs/$name/matrix.yaml" "${resume[@]}"
"$likert" report "$runs" --out "$out"
cat "$out/chains.md"
