# SPDX-License-Identifier: MPL-2.0
#
# What tests/demo and tests/check have in common, to be sourced by bash: installs what is missing (Debian, as root) and
# builds in a folder of its own.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# What the library is built with, and what its tests run.
build_packages=(autoconf automake libtool make gcc g++ xz-utils kea-dev libboost-dev libboost-system-dev
    liblog4cplus-dev libsqlite3-dev libgtest-dev)
run_packages=(kea-dhcp4-server kea-ctrl-agent kea-dhcp-ddns-server isc-dhcp-server isc-dhcp-client busybox iproute2
    procps util-linux faketime python3 python3-pytest python3-pytest-xdist curl sqlite3)
# What the fuzzers are built with, besides.
fuzz_packages=(clang libclang-rt-dev)
valgrind_packages=(valgrind)
bench_packages=(kea-admin valgrind linux-perf strace)

die() {
    echo "$0: $*" >&2
    exit 1
}

# Runs a command without its output, unless it fails.
quietly() {
    "$@" >"$log" 2>&1 || die "$* failed:
$(tail -n 60 "$log")"
}

install_packages() {
    [ "$(id -u)" = 0 ] || die "must be run as root: it installs packages and makes network namespaces"
    command -v apt-get >/dev/null || die "this is for Debian; the README tells what else is needed elsewhere"
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "installing ${missing[*]}"
    quietly apt-get update -qq
    quietly env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# build FOLDER [configure option...]
build() {
    local folder=$1
    shift
    mkdir -p "$folder"
    (
        cd "$top"
        [ configure -nt configure.ac ] && [ Makefile.in -nt Makefile.am ] || quietly autoreconf -i
        cd "$folder"
        [ -e Makefile ] || quietly "$top/configure" "$@"
        quietly make -j"$(nproc)"
    )
}
