#!/usr/bin/env bash
# usage: scripts/reproducible.sh MODULE
# Compiles a copy of this tree in another folder, with nothing that was compiled before, and compares the module with
# this one, byte by byte. The compiler and the optimizer are the same; `rustc --version` belongs to a checksum.
set -euo pipefail
module=$(realpath "${1:?usage: scripts/reproducible.sh MODULE}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
deps=${MCP_IAP_DEPS:-$PWD/.deps}

other=$(mktemp -d)/a-folder-with-a-longer-name
trap 'rm -rf "${other%/*}"' EXIT
mkdir "$other"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$other"
echo "compiling it in $other, some minutes"
env -u MAKEFLAGS -u MAKELEVEL CARGO_TARGET_DIR="$other/target" MCP_IAP_DEPS="$deps" make --no-print-directory -C "$other" dist/mcp_iap.wasm
sha256sum "$module" "$other/dist/mcp_iap.wasm"
cmp "$module" "$other/dist/mcp_iap.wasm"
if grep -qaF -e "$PWD" -e "${CARGO_HOME:-$HOME/.cargo}" "$module"; then
  echo "reproducible: a folder of this machine stands in the module" >&2
  exit 1
fi
echo "the same module, by $(rustc --version)"
