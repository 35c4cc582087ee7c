#!/usr/bin/env bash
# Builds the fuzz targets with coverage for libFuzzer on the stable compiler, and runs each for some
# seconds from the corpus in the tree. What a run finds is kept below target/fuzz; the tree stays as it is.
set -euo pipefail

seconds=${1:-10}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root/fuzz"
out=${CARGO_TARGET_DIR:-$root/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
coverage+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
coverage+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
# With a target named, build scripts and macros stay without coverage.
CARGO_TARGET_DIR=$out RUSTFLAGS=$coverage cargo build --quiet --release --target "$host"

for corpus in corpus/*/; do
  target=$(basename "$corpus")
  found=$out/found/$target
  mkdir -p "$found"
  echo "fuzz: $target for $seconds s"
  "$out/$host/release/$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -max_len=8192 \
    -artifact_prefix="$found/" -verbosity=0 -print_final_stats=1 "$found" "$corpus" 2>"$found.log" ||
    { cat "$found.log" >&2; echo "fuzz: $target failed; the input is in $found" >&2; exit 1; }
  grep -E "number_of_executed_units" "$found.log"
done
