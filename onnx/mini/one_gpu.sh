#!/usr/bin/env bash
# The steps people, relabel, wide and strangers on one GPU, in a given time: while people's recordings and the new voices
# are made, the flow compiles, and it trains until the time is up.
#
#     ./one_gpu.sh PACK WORK SECONDS [options of train_flow.py]
#
# PACK: the recipe's pack, with speaker.pt and flow.train.pt, from which the flow goes on (from_bundle.py and speaker.py
# get both out of a bundle). Makes WORK/flow.train.pt, written every 100 s, and WORK/*.log. Settings are recipe.toml's.
set -euo pipefail
pack=$(realpath "$1") work=$(realpath -m "$2") end=$((SECONDS + $3))
shift 3
cd "$(dirname "${BASH_SOURCE[0]}")"
export PYTHONUNBUFFERED=1
mkdir -p "$work"/{people,wide}
cp "$pack/speaker.pt" "$work"
cp "$pack/recogniser.people.pt" "$work/recogniser.pt"

recipe() { # of a step of recipe.toml, its command
    python3 -c "import recipe, sys; steps, values = recipe.load(sys.argv[2:])
print(recipe.with_python(recipe.command(steps[sys.argv[1]], values, again=False), 'python3'))" \
        "$1" pack="$pack" parts="$work" people="$work/people" wide="$work/wide"
}
compile() { for shape in 0 1; do python3 train_flow.py --warm --only "$shape"; done; }
people() { eval "$(recipe relabel)"; }
wide() { eval "$(recipe wide)"; }
rate=$(python3 -c "import recipe; print(recipe.load()[1]['strangers_rate'])")

for step in compile people wide; do
    $step > "$work/$step.log" 2>&1 &
done
for step in compile people wide; do
    wait -n || { echo "a step failed: see $work/*.log" >&2; exit 1; }
done
python3 train_flow.py --data "$work/wide" --people "$work/people" --out "$work" --seconds $((end - SECONDS)) --seed 2 \
    --rate "$rate" --times-rate 0.03 --resume "$pack/flow.train.pt" "$@" 2>&1 | tee "$work/flow.log"
