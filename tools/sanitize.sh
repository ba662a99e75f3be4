#!/usr/bin/env bash
# Builds every C++ source of the extension, and the CUDA sources behind tests/shim, with ASAN and UBSAN, and runs the
# tests of the ops under them:
#     bash tools/sanitize.sh PYTHON [PYTEST ARGUMENTS]
# In a copy: the extension of the working tree stays as it is. Any report ends the process, and so fails the tests.
set -euo pipefail

python=$(realpath -s "${1:?usage: bash tools/sanitize.sh PYTHON [PYTEST ARGUMENTS]}")
shift
cd "$(dirname "$0")/.."

preload=""
for name in asan ubsan; do
  library=$(gcc -print-file-name="lib$name.so")
  if [[ ! -f "$library" ]]; then
    echo "gcc has no lib$name.so: nothing can be checked"
    exit 1
  fi
  preload+="$library "
done

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy"
cd "$copy"
flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1"
CC=gcc CXX=g++ CFLAGS="$flags" LDFLAGS="-fsanitize=address,undefined" \
  "$python" setup.py --quiet build_ext --inplace > build.log 2>&1 || { cat build.log; exit 1; }
export TORCHDIFF_SANITIZE=1
"$python" tools/cuda_shim.py > /dev/null
# Leaks are not looked for: Python and torch keep what they allocate. PYTHONMALLOC: each object in memory of its own.
export LD_PRELOAD="$preload" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc
"$python" -c '
import os
from torchdiff import ops
found = ops.backend()
assert found.name == "extension" and os.getcwd() in found.reason, found'
# --capture=sys: a report that ends the process would else end in pytest's buffer
"$python" -m pytest tests/ops -q --capture=sys -p no:cacheprovider "$@"
