#!/usr/bin/env bash
# The paper's comparison: where the reward comes from, on its three MetaWorld tasks with pocket raters, seeds 0, 1, 2; tables
# and figures into docs/evidence/paper. Stopped, it goes on with the same command: no trial that is done runs again.
#   scripts/evidence_paper.sh [TASK ...]
set -euo pipefail
if [ $# = 0 ]; then set -- drawer_open soccer sweep_into; fi
for task in "$@"; do
  resume=()
  if [ -e "runs/paper_$task" ]; then resume=(--resume); fi
  .venv/bin/likert sweep "tune_configs/paper_pocket/$task.yaml" "${resume[@]}"
  .venv/bin/likert report "runs/paper_$task" --along expert --out "docs/evidence/paper/$task"
done
