#!/usr/bin/env bash
# usage: scripts/registry.sh FOLDER
# Puts a registry for container images (docker-registry), a client for it (oras) and cosign into FOLDER, from Debian 13:
# no other package registry has them. It needs a Debian with its archive keyring, and no root: they are unpacked, not
# installed.
set -euo pipefail

into=${1:?usage: scripts/registry.sh FOLDER}
mkdir -p "$into"
into=$(cd "$into" && pwd)
say() { echo "registry: $*" >&2; }
missing() {
  say "$1 is missing; bring it with: $2"
  exit 2
}
command -v apt-get >/dev/null || missing "apt-get" "a Debian: the registry is one of its packages"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[[ -f $keyring ]] || missing "Debian's archive keyring" "apt-get install debian-archive-keyring"

work=$into/work
rm -rf "$work"
mkdir -p "$work"/{state/lists/partial,cache/archives/partial,packages}
trap 'rm -rf "$work"' EXIT
log=$into/apt.log
: >"$log"

# The mirror that this machine uses, with the suite that has both.
main=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sort -u | grep -m1 -E '/debian/?$' || true)
[[ -n $main ]] || missing "Debian's archive among the package sources" "a Debian: the registry is one of its packages"
echo "deb [signed-by=$keyring] $main trixie main" >"$work/sources.list"
apt() {
  (cd "$work/packages" && apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State="$work/state" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$work/cache" \
    -o APT::Sandbox::User=root "$@") >>"$log" 2>&1 || { say "apt-get $1 fails; see $log"; exit 1; }
}
say "bringing a registry for images, a client and cosign"
apt update
apt download docker-registry oras cosign
for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$work/unpacked"; done
cp "$work"/unpacked/usr/bin/{docker-registry,oras,cosign} "$into"
"$into/oras" version | head -1 >&2
