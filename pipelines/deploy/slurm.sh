#!/bin/sh
#SBATCH --job-name=dvse
#SBATCH --array=0-7
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=dvse-%A_%a.log
# One job on many Slurm nodes: each task of the array does its part of the shards.
#
#   sbatch [--array=0-63] [--gpus-per-task=1] slurm.sh INPUT ... --output DIR [ARGUMENT ...]
#   sbatch slurm.sh /data/photos --output /data/tokens --bundle my-bundle
#
# DIR lies where all nodes see it. Arguments are those of `dvse tokenize`; DVSE_COMMAND=caption does
# captions. Tasks may fail, be requeued, or be submitted again in another number: what is there is
# not done again, and the last task to end sums up. `dvse verify DIR` says which parts are missing.
# Give all tasks the same --cpus-per-task: how many threads compute is part of what makes the ids.
set -eu

exec srun dvse "${DVSE_COMMAND:-tokenize}" "$@" --part auto --quiet
