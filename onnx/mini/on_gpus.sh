#!/usr/bin/env bash
# The steps people, relabel, wide and flow on one or several GPUs, in a given time: each GPU makes a set of audio of its
# own, on the last one people's recordings are made beside it and on the first one the flow compiles; then each trains a
# flow of its own on all the sets until the time is up.
#
#     ./on_gpus.sh PACK WORK SECONDS 'OPTIONS OF train_flow.py' ['OPTIONS FOR THE NEXT GPU']...
#
# PACK: the recipe's pack, with speaker.pt (speaker.py gets it out of a bundle). Makes WORK/flow0/flow.train.pt and so on,
# written every 100 s, and WORK/*.log.
set -euo pipefail
pack=$(realpath "$1") work=$(realpath -m "$2") end=$((SECONDS + $3))
shift 3
last=$(($# - 1)) begun=0
cd "$(dirname "${BASH_SOURCE[0]}")"
export PYTHONUNBUFFERED=1
mkdir -p "$work"/{people,parts_people}
cp "$pack/speaker.pt" "$work/parts_people"
cp "$pack/recogniser.people.pt" "$work/parts_people/recogniser.pt"

recipe() { # of a step of recipe.toml, its command, with these settings
    python3 -c "import recipe, sys; steps, values = recipe.load(sys.argv[2:])
print(recipe.with_python(recipe.command(steps[sys.argv[1]], values, again=False), 'python3'))" "$@" pack="$pack"
}
on() { # GPU, command
    CUDA_VISIBLE_DEVICES=$1 bash -c "$2"
}
compile() { for shape in 0 1; do on 0 "python3 train_flow.py --warm --only $shape"; done; }
people() { on "$last" "$(recipe relabel people="$work/people" parts="$work/parts_people")"; }
wide() { # GPU
    mkdir -p "$work/parts$1"
    cp "$pack/speaker.pt" "$work/parts$1"
    on "$1" "$(recipe wide wide="$work/wide" parts="$work/parts$1" wide_seeds=$((60 + $1)))"
}
flow() { # GPU, options
    on "$1" "$(recipe flow wide="$work/wide" people="$work/people" parts="$work/flow$1" flow_seconds=$((end - SECONDS))) $2"
}
begin() { # name of its log, command
    "${@:2}" > "$work/$1.log" 2>&1 &
    begun=$((begun + 1))
}
finish() { # all that has begun
    for ((; begun; begun--)); do
        wait -n || { echo "a step failed: see $work/*.log" >&2; exit 1; }
    done
}

begin compile compile
begin people people
for gpu in $(seq 0 $last); do begin "wide$gpu" wide "$gpu"; done
finish
for gpu in $(seq 0 $last); do begin "flow$gpu" flow "$gpu" "${@:$((gpu + 1)):1}"; done
finish
