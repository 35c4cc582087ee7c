#!/usr/bin/env bash
# usage: scripts/kube.sh FOLDER
# Builds a real kube-apiserver from Debian's source package, and puts it and etcd into FOLDER: no package registry has
# the binary. Takes about ten minutes on two cores, once. It needs a Debian with its archive keyring, and no root:
# what it builds with is unpacked into a folder that goes away.
set -euo pipefail

into=${1:?usage: scripts/kube.sh FOLDER}
mkdir -p "$into"
into=$(cd "$into" && pwd)
say() { echo "kube: $*" >&2; }
missing() {
  say "$1 is missing; bring it with: $2"
  exit 2
}
command -v apt-get >/dev/null || missing "apt-get" "a Debian: the API server is built from its source package"
command -v dpkg-source >/dev/null || missing "dpkg-source" "apt-get install dpkg-dev"
command -v make >/dev/null || missing "make" "apt-get install make"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[[ -f $keyring ]] || missing "Debian's archive keyring" "apt-get install debian-archive-keyring"

work=$into/work
rm -rf "$work"
mkdir -p "$work"/{state/lists/partial,cache/archives/partial,unpacked,src,gopath/src/k8s.io,home}
trap 'rm -rf "$work"' EXIT
log=$into/build.log
: >"$log"
quietly() { "$@" >>"$log" 2>&1 || { say "$1 fails; see $log"; exit 1; }; }

# The mirrors that this machine uses, with the suite that has these packages, and with its sources.
mirrors=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sort -u)
main=$(grep -m1 -E '/debian/?$' <<<"$mirrors" || true)
security=$(grep -m1 -E '/debian-security/?$' <<<"$mirrors" || true)
[[ -n $main ]] || missing "Debian's archive among the package sources" "a Debian: the API server is built from its source package"
for kind in deb deb-src; do
  echo "$kind [signed-by=$keyring] $main bookworm main"
  [[ -z $security ]] || echo "$kind [signed-by=$keyring] $security bookworm-security main"
done >"$work/sources.list"
apt() {
  (cd "$work/src" && apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State="$work/state" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$work/cache" \
    -o APT::Sandbox::User=root "$@")
}

say "bringing the source package and what it is built with"
quietly apt update
quietly apt download etcd-server golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev rsync jq \
  libjq1 libonig5 libpopt0 libxxhash0
quietly apt source kubernetes
for package in "$work"/src/*.deb; do dpkg-deb -x "$package" "$work/unpacked"; done

source=$work/gopath/src/k8s.io/kubernetes
mv "$work"/src/kubernetes-1.20* "$source"
# The vendored one is too old for this Go: a TokenReview would end the server's answer in a panic.
rm -rf "$source/vendor/github.com/modern-go/reflect2"
cp -rL "$work/unpacked/usr/share/gocode/src/github.com/modern-go/reflect2" "$source/vendor/github.com/modern-go/"

export PATH=$work/unpacked/usr/lib/go-1.19/bin:$work/unpacked/usr/bin:$PATH GOROOT=$work/unpacked/usr/lib/go-1.19
export LD_LIBRARY_PATH=$work/unpacked/usr/lib/$(uname -m)-linux-gnu
export GO111MODULE=off CGO_ENABLED=0 GOPROXY=off GOFLAGS= HOME=$work/home GOCACHE=$work/home/cache GOPATH=$work/gopath
cd "$source"
say "generating its OpenAPI definitions"
quietly nice make gen_openapi
say "compiling the API server, some minutes"
quietly nice go build -p 2 -trimpath -ldflags "-s -w" -o "$into/kube-apiserver" k8s.io/kubernetes/cmd/kube-apiserver
cp "$work/unpacked/usr/bin/etcd" "$into/etcd"
chmod -R u+w "$work"
say "built $("$into/kube-apiserver" --version)"
