#!/bin/sh
# Serve one model from all cards of a node: `dvse serve` in one process a card (by torchrun, NCCL),
# each holding its share of every layer. The first process answers, the others follow it.
#
#   sh run_dvse_server.sh [ARGUMENT ...]          arguments are those of `dvse serve`
#   sh run_dvse_server.sh --model /models/dvse-9b --served-model-name autoglm-phone-9b
#
#   DVSE_CARDS    how many cards, 2 if not given; it has to divide the model's key/value heads
#   DVSE_DEVICE   cuda, or cpu to try the same on any machine (gloo instead of NCCL)
set -eu

cards=${DVSE_CARDS:-2}
device=${DVSE_DEVICE:-cuda}

fail() {
    echo "run_dvse_server.sh: $1" >&2
    exit 1
}

command -v dvse > /dev/null ||
    fail "dvse is not there; install DVSE (pip install 'dvse[serve]') and activate its environment"

case $device in
    cpu) ;;
    cuda)
        command -v nvidia-smi > /dev/null ||
            fail "expected $cards NVIDIA cards, but there is no nvidia-smi; set DVSE_DEVICE=cpu to try it without"
        found=$(nvidia-smi --list-gpus | wc -l)
        [ "$found" -ge "$cards" ] ||
            fail "expected $cards NVIDIA cards, found $found; set DVSE_CARDS, or DVSE_DEVICE=cpu to try it without"
        ;;
    *) fail "expected DVSE_DEVICE to be cuda or cpu, received $device" ;;
esac

# torchrun would give each process one thread; share the cores between them instead.
cores=$(getconf _NPROCESSORS_ONLN)
threads=$((cores / cards))
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}"

exec dvse serve --tensor-parallel "$cards" --device "$device" "$@"
