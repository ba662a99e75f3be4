#!/usr/bin/env bash
# Builds torchdiff against the CUDA build of torch, checks its kernels and runs the tests that need no GPU:
#     bash tools/cuda_build.sh VENV          makes VENV if it is missing; 5.5 GB
# Not a wheel: the point is that the .cu links and imports, and that the same sources pass on a later torch.
set -euo pipefail

venv=$(realpath -m "${1:?usage: bash tools/cuda_build.sh VENV}")
torch=${TORCH:-torch==2.14.1}
cd "$(dirname "$0")/.."

if ! command -v nvcc > /dev/null; then
  echo "nvcc not found: skipped"
  exit 0
fi
if [[ ! -x "$venv/bin/python" ]]; then
  "${PYTHON:-python3}" -m venv "$venv"
fi
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" "$torch" "setuptools>=77" "pybind11>=2.13" ninja wheel
# In a copy: the extension of the working tree belongs to another torch.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy"
cd "$copy"
export TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-"8.0;9.0;10.0"}
"$venv/bin/python" -m pip install --disable-pip-version-check --no-build-isolation --editable ".[test]"
"$venv/bin/python" -c '
from torchdiff import ops
backend = ops.backend()
print(backend)
assert backend.name == "extension" and backend.devices == ("cpu", "cuda"), backend'
"$venv/bin/python" tools/cuda_compile.py
"$venv/bin/python" -m pytest tests -m "not slow" -q
