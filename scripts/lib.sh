# Shared by ./test and ./quickstart. Source it; it runs nothing by itself.
# apt is tested. dnf and brew are untested: they are kept short and follow the packagers' documents.

say() { printf '%s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command as root: directly, or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this needs root and there is no sudo. As root, run: $*"
    fi
}

package_manager() {
    local manager
    for manager in apt-get dnf brew; do
        if command -v "$manager" >/dev/null; then
            echo "$manager"
            return
        fi
    done
    echo none
}

# Where what tests fetch is kept, outside of the clone. Readable for everybody, because servers do not run as root, and
# root's home is closed to others.
test_cache() {
    if [ -n "${NAP_TEST_CACHE:-}" ]; then
        echo "$NAP_TEST_CACHE"
    elif [ "$(id -u)" = 0 ]; then
        echo /var/cache/napgres-test
    else
        echo "${XDG_CACHE_HOME:-$HOME/.cache}/napgres-test"
    fi
}

# install_packages NAME… — names are those of the package manager at hand.
install_packages() {
    case "$(package_manager)" in
    apt-get)
        [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || fail "there is no sudo. As root, run: apt-get install $*"
        # A list of packages that is too old names files that are gone: then, and only then, it is renewed.
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 ||
            { as_root apt-get update -q >/dev/null &&
                as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null; }
        ;;
    dnf) as_root dnf install -y -q "$@" ;;
    brew) brew install -q "$@" ;;
    *) fail "no package manager that this script knows (apt, dnf, brew). Install these yourself: $*" ;;
    esac
}

# The bin directory of the newest PostgreSQL of the system; nothing if there is none.
system_postgres() {
    local candidate newest='' newest_major=0 major
    for candidate in "$(pg_config --bindir 2>/dev/null || true)" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/bin \
        /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
        [ -x "$candidate/postgres" ] && [ -x "$candidate/initdb" ] || continue
        major=$("$candidate/postgres" --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')
        if [ "$major" -ge 14 ] && [ "$major" -gt "$newest_major" ]; then
            newest=$candidate newest_major=$major
        fi
    done
    echo "$newest"
}

# What install_postgres would install, in words.
postgres_packages() {
    case "$(package_manager)" in
    apt-get) echo postgresql ;;
    dnf) echo postgresql-server postgresql-contrib ;;
    brew) echo postgresql@18 ;;
    *) echo "PostgreSQL 14 or newer" ;;
    esac
}

# PostgreSQL's programs, without a server of the system's own being made or started.
install_postgres() {
    local installs=(install_packages)
    [ "$(package_manager)" != apt-get ] || installs=(without_debians_cluster install_packages)
    # shellcheck disable=SC2046 # words on purpose: one package each
    "${installs[@]}" $(postgres_packages)
}

# Debian's package makes a cluster on port 5432 and starts it, unless it is told not to beforehand. It is told so for as
# long as COMMAND… runs, and no longer: whoever installs a PostgreSQL later wants that cluster.
without_debians_cluster() ( # COMMAND…
    ours=/etc/postgresql-common/createcluster.d/napgres.conf
    # What the user has said of it holds.
    if ! grep -ls '^create_main_cluster' "${ours%/*}"/*.conf | grep -vxF "$ours" >/dev/null; then
        trap 'as_root rm -f "$ours"' EXIT
        as_root mkdir -p "${ours%/*}"
        echo 'create_main_cluster = false' | as_root tee "$ours" >/dev/null
    fi
    "$@"
)

# A Rust toolchain that is new enough, on the PATH of this shell or where rustup puts it. In the root of the clone.
find_cargo() {
    local rustup=${CARGO_HOME:-$HOME/.cargo}/bin wanted found
    if ! command -v cargo >/dev/null && [ -x "$rustup/cargo" ]; then
        PATH=$rustup:$PATH
    fi
    command -v cargo >/dev/null ||
        fail "no Rust toolchain. Get one from https://rustup.rs, or your system's rustup package, then run this again."
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    found=$(cargo --version | cut -d' ' -f2)
    printf '%s\n' "$wanted" "$found" | sort -VC ||
        fail "Rust $found is too old, $wanted is wanted: rustup update, or get it from https://rustup.rs (Debian 12's package is older)"
}
