#!/usr/bin/env bash
# On a machine with a GPU, in under ten minutes: builds, runs the tests marked `gpu`, checks the kernels with
# compute-sanitizer where it is installed, and prints one table of times.
#     bash benchmarks/gpu.sh           the python3 on the path if its torch sees the GPU, else an environment in .venv-gpu
#     bash benchmarks/gpu.sh --try     without a GPU: the same steps with the CPU in its place, small and uncompiled
# Exits 1 where there is no GPU, because then nothing was checked, and where a test, a tool or the table fails.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-}
device=cuda
if [[ "$mode" == "--try" ]]; then
  device=cpu
elif [[ -n "$mode" ]]; then
  echo "usage: bash benchmarks/gpu.sh [--try]"
  exit 2
elif ! nvidia-smi -L > /dev/null 2>&1; then
  echo "no GPU: nvidia-smi lists none, so nothing was built, tested or measured (--try goes through the steps on the CPU)"
  exit 1
fi

python=${PYTHON:-python3}
sees_gpu='import sys, torch; sys.exit(not torch.cuda.is_available())'
if [[ "$device" == cuda ]] && ! "$python" -c "$sees_gpu" > /dev/null 2>&1; then
  echo "== the torch of $python sees no GPU: .venv-gpu"
  [[ -x .venv-gpu/bin/python ]] || "$python" -m venv .venv-gpu
  python=$PWD/.venv-gpu/bin/python
  "$python" -m pip install --quiet --disable-pip-version-check "${TORCH:-torch}"
  "$python" -c "$sees_gpu" || { echo "the torch of .venv-gpu sees no GPU either: is the driver older than it?"; exit 1; }
fi
# only what is missing, so that a machine without a network can have all of it beforehand
needs=(setuptools pybind11 ninja numpy safetensors tqdm pytest hypothesis)
missing=()
for name in "${needs[@]}"; do
  "$python" -c "import $name" > /dev/null 2>&1 || missing+=("$name")
done
if [[ ${#missing[@]} -gt 0 ]]; then
  echo "== installing ${missing[*]}"
  "$python" -m pip install --quiet --disable-pip-version-check "${missing[@]}"
fi

echo "== build"
if [[ "$device" == cuda ]]; then
  command -v nvcc > /dev/null || { echo "nvcc is not on the path: the CUDA kernels cannot be built"; exit 1; }
  capability='import torch; print("%d.%d" % torch.cuda.get_device_capability())'
  TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-$("$python" -c "$capability")}
  export TORCH_CUDA_ARCH_LIST
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$python" setup.py --quiet build_ext --inplace > "$log" 2>&1 || { cat "$log"; exit 1; }
"$python" -c '
import sys
from torchdiff import ops
found = ops.backend()
assert found.name == "extension" and sys.argv[1] in found.devices, found
print(found.reason, found.devices)' "$device"

failed=()

echo "== tests"
[[ "$device" == cuda ]] || export TORCHDIFF_STAND_IN=cpu
timeout 200 "$python" -m pytest tests/ops -m gpu -q -p no:cacheprovider || failed+=(tests)

echo "== times"
quick=()
[[ "$device" == cuda ]] || quick=(--quick)
PYTHONPATH=$PWD timeout 180 "$python" benchmarks/gpu_table.py --device "$device" "${quick[@]}" || failed+=(times)

echo "== compute-sanitizer"
if [[ "$device" == cuda ]] && command -v compute-sanitizer > /dev/null; then
  # without torch's caching each tensor is an allocation of its own, whose ends the tool knows
  export PYTORCH_NO_CUDA_MEMORY_CACHING=1
  for tool in memcheck racecheck initcheck synccheck; do
    if timeout 40 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$python" -m pytest tests/ops/test_affine_gpu.py -q -p no:cacheprovider \
      -k "test_every_kernel and (7 or 12) or test_normals" > "$log" 2>&1; then
      echo "$tool: $(grep 'SUMMARY' "$log" | tail -1)"
    else
      failed+=("$tool")
      tail -40 "$log"
    fi
  done
else
  echo "not run: no GPU, or compute-sanitizer is not installed"
fi

if [[ ${#failed[@]} -gt 0 ]]; then
  echo "FAILED: ${failed[*]}"
  exit 1
fi
