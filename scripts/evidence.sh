#!/usr/bin/env bash
# Does it learn? Seeds 0, 1, 2 of an experiment, and of its control with shuffled ratings; table and figure into docs/.
#   scripts/evidence.sh tune_configs/demo.yaml docs/evidence/drawer_close
# A run that is complete is not run again, and ratings that are in the store are not asked again.
set -euo pipefail
settings=$1 out=$2
name=$(sed -n 's/^name: *//p' "$settings")
folders=()
for control in none shuffled; do
  if [ "$control" = none ]; then group=$name; else group=$name-$control; fi
  for seed in 0 1 2; do
    .venv/bin/likert run "$settings" "seed=$seed" "name=$group" "feedback.control=$control" runs_folder=runs/evidence
    folders+=("runs/evidence/$group-seed$seed")
  done
done
.venv/bin/likert report "${folders[@]}" --out "$out"
