#!/usr/bin/env bash
# Does it learn? Seeds 0, 1, 2 of an experiment, and of its control with shuffled ratings; table and figure into docs/.
#   scripts/evidence.sh tune_configs/demo.yaml docs/evidence/drawer_close
#   scripts/evidence.sh tune_configs/evidence_worlds/babyai_goto.yaml docs/evidence/babyai_goto babyai 8431
# The last two name a toy rater that looks at the picture (tests/fakes/looks.py), and the port of the file's endpoint.
# A run that is complete is not run again, and ratings that are in the store are not asked again.
set -euo pipefail
settings=$1 out=$2
if [ $# -gt 2 ]; then
  exec 3< <(exec .venv/bin/python -m tests.fakes.looking_endpoint "$3" "$4")
  trap "kill $!" EXIT
  read -r -u 3 _  # it says where it serves, once it does
fi
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
