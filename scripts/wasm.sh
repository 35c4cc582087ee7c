#!/usr/bin/env bash
# usage: scripts/wasm.sh
# Compiles the module. Where the folders of this machine are does not stand in it: whoever compiles the same sources
# with the same compiler gets the same module (`make reproducible`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=wasm32-wasip1

cargo fetch --quiet --locked --target "$target"
flags=("\"--remap-path-prefix=$PWD/=\"")
for sources in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
  flags+=("\"--remap-path-prefix=$sources=\"")
done
# These stand beside the flags of .cargo/config.toml, which the variable RUSTFLAGS would replace.
cargo build --quiet --locked --release --target "$target" --lib \
  --config "target.$target.rustflags=[$(IFS=,; echo "${flags[*]}")]"
