#!/usr/bin/env bash
# Does it learn? Seeds 0, 1, 2 of an experiment, and of its control with shuffled ratings; table and figure into docs/.
#   scripts/evidence.sh tune_configs/demo.yaml docs/evidence/drawer_close
# A run that is complete is not run again, and ratings that are in the store are not asked again.
set -euo pipefail
settings=$1 out=$2
name=$(sed -n 's/^name: *//p' "$settings")
folders=()
for seed in 0 1 2; do
  .venv/bin/likert run "$settings" "seed=$seed" runs_folder=runs/evidence
  .venv/bin/likert run "$settings" "seed=$seed" runs_folder=runs/evidence \
    "name=$name-shuffled" feedback.control=shuffled
  folders+=("runs/evidence/$name-seed$seed" "runs/evidence/$name-shuffled-seed$seed")
done
.venv/bin/likert report "${folders[@]}" --out "$out"
