#!/usr/bin/env bash
# usage: scripts/deny.sh CARGO_DENY
# Licences, bans and sources of every package in the lock file, by deny.toml; advisories too where RustSec's database is
# at hand (RUSTSEC=FOLDER, a clone of github.com/RustSec/advisory-db), and says plainly where it is not.
set -euo pipefail
deny=${1:?usage: scripts/deny.sh CARGO_DENY}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for manifest in Cargo.toml bench/Cargo.toml; do
  echo "$manifest"
  "$deny" --manifest-path "$manifest" --locked --config deny.toml check --hide-inclusion-graph licenses bans sources
done
if [[ -z ${RUSTSEC-} ]]; then
  echo "advisories: not looked at: RUSTSEC names no clone of RustSec's database"
  exit 0
fi
[[ -d $RUSTSEC/crates ]] || { echo "advisories: $RUSTSEC is no clone of RustSec's database" >&2; exit 2; }
# cargo-deny looks for it under a name of its own making.
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
ln -s "$(cd "$RUSTSEC" && pwd)" "$home/advisory-db-3157b0e258782691"
sed "s|^\[advisories\]|&\ndb-path = \"$home\"|" deny.toml >"$home/deny.toml"
"$deny" --locked --offline --config "$home/deny.toml" check --hide-inclusion-graph advisories
