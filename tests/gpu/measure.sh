#!/usr/bin/env bash
# All that a GPU is to show, in under ten minutes, as one JSON: its tests, a training of
# cross-plane with 128 crops a step, and the bench.
#
#     tests/gpu/measure.sh [RESULT.json]      from the root of the repository, package installed
#     DEVICE=cpu tests/gpu/measure.sh         shows on any machine that the script works
#
# A part that fails or takes too long is told in the result and stops no other.

set -uo pipefail

device=${DEVICE:-cuda}
result=$(realpath "${1:-gpu.json}")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
limit=580 # seconds of all parts
slow=1

if [ "$device" = cpu ]; then # tiny, on a machine that may be busy; some tests that need no GPU
    slow=5
    tests=("$here/../optim" -m "not gpu")
    heads=(4 36 34 25)
    course=(train.batch=8 train.patches=64 train.report=32 train.val_patches=2)
    bench=(--quick --size 36x34x25 --model linear)
else
    tests=("$here/.." -m gpu)
    heads=(16 192 176 224)
    course=(train.batch=128 train.patches=64000 train.report=16000)
    bench=()
fi

part() { # NAME SECONDS COMMAND...: runs it, keeps what it says, and notes how it ended
    local name=$1 most=$(($2 * slow)) begun=$SECONDS left=$((limit * slow - SECONDS))
    shift 2
    echo "$name: $*" >&2
    timeout --kill-after=10 $((left < most ? (left > 1 ? left : 1) : most)) "$@" \
        >"$work/$name.log" 2>&1
    echo "$? $((SECONDS - begun))" >"$work/$name.status"
}

assigned=()
for setting in "${course[@]}"; do assigned+=(--set "$setting"); done

part tests 200 python -m pytest -q -p no:cacheprovider "${tests[@]}" --junitxml "$work/tests.xml"
part heads 60 python "$here/measure.py" heads "$work/heads" "${heads[@]}"
part training 150 python -m mriimpute train "$work/heads" -o "$work/run" "${assigned[@]}" \
    --max-minutes 2 --jobs 4 --device "$device" --no-progress
part bench "$limit" python -m mriimpute bench -o "$work/bench" --device "$device" \
    --no-progress "${bench[@]+"${bench[@]}"}"

python "$here/measure.py" together "$work" "$device" "$result"
