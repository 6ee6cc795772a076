#!/usr/bin/env bash
# Enlarge photographs on several GPUs, or in several processes without one. Each takes
# its share; the files are those of one process.
#
#   tools/dist_infer.sh CONFIG CHECKPOINT INPUT GPUS [options of infer.py]
#   tools/dist_infer.sh --onnx FILE INPUT PROCESSES [options of infer.py]
#
# Several machines that share the folders: run it on each, with
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 PORT=29500 tools/dist_infer.sh ...
set -euo pipefail
if [[ $# -lt 4 ]]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
NETWORK=("$1" "$2")
INPUT=$3
GPUS=$4
shift 4
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$GPUS" \
    "$(dirname "$0")/infer.py" "${NETWORK[@]}" "$INPUT" --launcher pytorch "$@"
