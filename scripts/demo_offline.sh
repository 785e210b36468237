#!/usr/bin/env bash
# RG-VLM from end to end on this machine: demonstrations, labels, IQL with three kinds of reward, table and figure.
# Stopped, the same command goes on: what is done is not done again.
set -euo pipefail
likert=.venv/bin/likert
data=data/demo_offline runs=runs/demo_offline out=report/demo_offline

if ! grep -qs '"complete": true' "$data/metadata.json"; then
  "$likert" data babyai "$data" num_episodes=450 unit=subtask 'chain_lengths=[1,2,3]' 'babyai={subtasks: [goto, pickup]}'
fi
"$likert" label tune_configs/demo_offline/label.yaml
resume=()
if [ -d "$runs" ]; then resume=(--resume); fi
"$likert" sweep tune_configs/demo_offline/matrix.yaml "${resume[@]}"
"$likert" report "$runs" --out "$out"
cat "$out/chains.md"
