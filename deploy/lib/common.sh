# What deploy/up, deploy/down and deploy/test share. Sourced, not run.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly here

say() { printf '\n== %s\n' "$*"; }

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || die "this needs root: type 'sudo $0 $*'"
}

# Installs those of the named Debian packages that are missing. Starts no service of theirs.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "install with your distribution's package manager what brings: ${missing[*]}"
    say "Installing ${missing[*]}"
    apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        die "apt-get could not install: ${missing[*]}"
}

# Programs that are there in whatever way need no package.
install_programs() {
    local pair packages=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
    done
    [ ${#packages[@]} -eq 0 ] || install_packages "${packages[@]}"
}

# Finds cargo, also when sudo dropped its place from the PATH, or installs a toolchain where there is none.
find_rust() {
    local home
    for home in "${CARGO_HOME:-}" "$HOME/.cargo" ${SUDO_USER:+"$(getent passwd "$SUDO_USER" | cut -d: -f6)/.cargo"}; do
        if [ -n "$home" ] && [ -x "$home/bin/cargo" ]; then
            export PATH="$home/bin:$PATH"
            break
        fi
    done
    if ! command -v cargo >/dev/null; then
        say "Installing a Rust toolchain (rustup, into $HOME/.cargo)"
        install_programs curl:curl
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --component clippy --component rustfmt ||
            die "no Rust toolchain could be installed: install Rust $(minimum_rust) or newer from https://rustup.rs and type the command again"
        export PATH="$HOME/.cargo/bin:$PATH"
    fi
    local version
    version=$(rustc --version | cut -d' ' -f2)
    printf '%s\n%s\n' "$(minimum_rust)" "$version" | sort -CV || die "Rust $version is too old: this needs $(minimum_rust) or newer ('rustup update')"
}

minimum_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/Cargo.toml"; }
