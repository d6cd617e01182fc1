#!/bin/sh
# One job on a Ray cluster: an actor for each GPU, or for each node with --device cpu.
#
#   ray start --head                          on one node
#   ray start --address HEAD:6379             on all others
#   sh ray.sh INPUT ... --output DIR [ARGUMENT ...]     on any of them
#
# or, with Ray's dashboard:  ray job submit --working-dir . -- sh ray.sh INPUT ... --output DIR
#
# Every node has DVSE installed and sees the inputs; DIR is written by this process alone. Nodes may
# die and join while it runs. Arguments are those of `dvse tokenize`; DVSE_COMMAND=caption does
# captions.
set -eu

command -v ray > /dev/null || {
    echo "ray.sh: ray is not there; install it on every node (pip install 'dvse[ray]')" >&2
    exit 1
}

exec dvse "${DVSE_COMMAND:-tokenize}" "$@" --engine ray --ray-address "${RAY_ADDRESS:-auto}"
