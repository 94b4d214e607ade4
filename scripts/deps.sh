#!/bin/sh
# Installs what is missing for the demo or the tests, and says what and why.
#
#   scripts/deps.sh demo     a Rust toolchain (checked only), prosody, node, npm; Converse.js
#   scripts/deps.sh demo-cluster  the same, and nats-server, haproxy
#   scripts/deps.sh test     all of that, and chromium, firefox-esr, nginx, apache2, haproxy, caddy, ssl-cert, ejabberd,
#                            jabberd2, tsung, valgrind, lua-check, iproute2, prometheus, sqlite3, openssl, curl, git,
#                            fail2ban, man-db, nats-server, php, docker-compose, python3-django, python3-venv, python3-gi,
#                            lintian, systemd-container; XMPP clients; schemathesis
#   scripts/deps.sh next     what the system of the newer servers is made with
#   scripts/deps.sh release  compilers for what a release is built for
#   scripts/deps.sh bench    what the demo needs, and the servers and proxies that rostergate is compared with
#
# Debian packages come from apt-get, with sudo only when something is missing and we are not root.
# Converse.js comes from npm, in the versions of demo/package-lock.json, and the clients that the
# tests drive in those of tests/clients/package-lock.json, and SQLite in examples/node; schemathesis from PyPI, in those of
# tests/openapi/requirements.txt, and nbxmpp in those of tests/clients/nbxmpp and gajim. A second run does nothing.
set -eu
what=${1:-demo}
root=$(cd "$(dirname "$0")/.." && pwd)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing=
# need COMMAND PACKAGES WHY...: PACKAGES are missing when COMMAND is not on the path.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    package=$2
    shift 2
    missing="$missing $package"
    echo "missing: $package ($*)"
}

# need_library LIBRARY PACKAGE WHY...: the same for what pkg-config knows.
need_library() {
    pkg-config --exists "$1" 2>/dev/null && return
    library=$2
    shift 2
    missing="$missing $library"
    echo "missing: $library ($*)"
}

need cc "gcc libc6-dev" "the linker for Rust programs, and for ring's C"
case $what in
release) ;;
*)
    need prosody prosody "the XMPP server"
    need node nodejs "runs the sample site"
    need npm npm "fetches Converse.js, the chat client"
    ;;
esac
case $what in
demo) ;;
demo-cluster)
    need nats-server nats-server "what several gateways find each other over"
    need haproxy haproxy "the balancer before them"
    ;;
next) need mmdebstrap mmdebstrap "makes the system of newer servers" ;;
release)
    need x86_64-linux-gnu-gcc "gcc-x86-64-linux-gnu libc6-dev-amd64-cross" "builds for amd64"
    need aarch64-linux-gnu-gcc "gcc-aarch64-linux-gnu libc6-dev-arm64-cross" "builds for arm64"
    need file file "says whether a program is static"
    need make make "makes the bill of materials"
    need git git "says when the commit was made"
    ;;
bench)
    need nginx nginx "a proxy to compare with"
    need haproxy haproxy "another one"
    need ejabberdctl ejabberd "another XMPP server, and its BOSH"
    need nats-server nats-server "what several gateways find each other over"
    need setpriv util-linux "ends all of them with the harness"
    need g++ g++ "compiles what node-xmpp-bosh parses with"
    need make make "the same"
    need python3 python3 "the same"
    ;;
test)
    need chromium chromium "drives the demo page in a test"
    need firefox-esr firefox-esr "the other browser that clients are tried in"
    need nginx nginx "tests of the gateway behind a reverse proxy"
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] ||
        need ngx_stream_module.so libnginx-mod-stream "the same, passing TCP on"
    need apache2 apache2 "tests of the gateway behind another one"
    need haproxy haproxy "tests of the gateway behind one that passes TCP on, and its example"
    need caddy caddy "the example for it"
    [ -e /etc/ssl/certs/ssl-cert-snakeoil.pem ] ||
        need ssl-cert-snakeoil.pem ssl-cert "the certificate of the examples"
    need ip iproute2 "makes machines for the examples"
    need prometheus prometheus "asks the queries of the Grafana dashboard"
    need fail2ban-regex fail2ban "tries the filter of contrib/fail2ban"
    need setpriv util-linux "runs all of them without privileges"
    need ejabberdctl ejabberd "tests against a second XMPP server"
    need jabberd2-c2s jabberd2 "tests against a third one, which is older"
    need sqlite3 sqlite3 "makes its database"
    need nats-server nats-server "what several gateways find each other over"
    need tsung tsung "somebody else's load"
    need valgrind valgrind "benchmarks that count instructions"
    need luacheck lua-check "checks the module for Prosody"
    need systemd-analyze systemd "checks the units of contrib/systemd"
    need systemd-nspawn systemd-container "boots a system to install the Debian package on"
    need systemd-socket-activate systemd "starts the gateway with sockets"
    [ -e /usr/share/javascript/jsxc/jsxc.js ] || need jsxc.js libjs-jsxc "a client on a page"
    python3 -c "import ensurepip" 2>/dev/null && /usr/bin/python3 -c "import ensurepip" 2>/dev/null ||
        need python3-ensurepip python3-venv "holds schemathesis, which checks openapi.yaml, and nbxmpp"
    /usr/bin/python3 -c "import gi; gi.require_version('Soup', '3.0')" 2>/dev/null ||
        need gi.require_version "python3-gi gir1.2-soup-3.0" "Gajim's library stands on them"
    need php php-cli "runs the example of a site in PHP"
    php -m 2>/dev/null | grep -q pdo_sqlite || need pdo_sqlite php-sqlite3 "its database"
    /usr/bin/python3 -c "import django" 2>/dev/null || need django python3-django "runs the example in Django"
    need docker-compose docker-compose "reads examples/compose.yaml"
    need man man-db "reads the manual page"
    need dpkg-shlibdeps dpkg-dev "makes the Debian package"
    need lintian lintian "checks it"
    need openssl openssl "makes the test certificates, and tries TLS"
    need git git "holds the advisories that the dependencies are checked against"
    need curl curl "tries HTTP/2, HTTP/1.1 and client certificates"
    need g++ g++ "compiles the clients of the tests"
    need pkg-config pkg-config "finds the libraries of those clients"
    need_library gloox libgloox-dev "a client in C++"
    need_library libstrophe libstrophe-dev "Profanity's library, another client in C"
    need_library purple libpurple-dev "Pidgin's library, a client in C"
    ;;
*)
    echo "usage: $0 demo|demo-cluster|test|next|release|bench" >&2
    exit 64
    ;;
esac

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "This is no Debian. Please install, by your system's own means:$missing" >&2
        exit 1
    fi
    sudo=
    if [ "$(id -u)" != 0 ]; then
        sudo=sudo
        command -v sudo >/dev/null 2>&1 || {
            echo "There is no sudo here. As root, run: apt-get install$missing" >&2
            exit 1
        }
    fi
    echo "installing:$missing${sudo:+ (with sudo)}"
    $sudo apt-get update -q
    # shellcheck disable=SC2086 # a list of packages
    $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends $missing
    # It is for the tests alone: nothing shall answer at this machine's own ports for it.
    case "$missing " in
    *" caddy "*) $sudo systemctl disable --now caddy 2>/dev/null || true ;;
    esac
    case "$missing " in
    *" nats-server "*) $sudo systemctl disable --now nats-server 2>/dev/null || true ;;
    esac
    case "$missing " in
    *" fail2ban "*) $sudo systemctl disable --now fail2ban 2>/dev/null || true ;;
    esac
fi

command -v cargo >/dev/null 2>&1 || {
    echo "There is no Rust toolchain (cargo). See https://rustup.rs" >&2
    exit 1
}
case $what in release | next) exit ;; esac
node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' || {
    echo "Node $(node --version) is too old: 18 or newer is needed" >&2
    exit 1
}

# modules FOLDER WHAT: installs the modules of FOLDER/package-lock.json, WHAT they are.
# The stamp is a copy of the lock file that the installed modules belong to.
modules() {
    cd "$root/$1"
    cmp -s package-lock.json node_modules/.installed-lock && return
    echo "installing: $2 (npm ci, in $1/node_modules)"
    npm ci --ignore-scripts --no-audit --no-fund
    cp package-lock.json node_modules/.installed-lock
}

# packages FOLDER WHAT [HOW]: the same of Python, by FOLDER/requirements.txt, in what HOW makes.
packages() {
    cd "$root/$1"
    cmp -s requirements.txt venv/.installed && return
    echo "installing: $2 (pip, in $1/venv)"
    ${3:-python3 -m venv} --clear venv
    venv/bin/pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
    cp requirements.txt venv/.installed
}

case $what in
bench)
    modules tools/peers/node-xmpp-bosh "node-xmpp-bosh, a connection manager to compare with"
    # What it comes compiled with is for another system.
    node -e 'require("node-expat")' 2>/dev/null || npm rebuild node-expat
    exit
    ;;
esac
modules demo "Converse.js and its companions"
case $what in
test)
    modules tests/clients "the XMPP clients of the tests"
    modules examples/node "SQLite, for the example of a site in Node.js"
    packages tests/openapi "schemathesis, which checks openapi.yaml"
    packages tests/clients/nbxmpp "an old client in Python"
    # GLib is Debian's, for Debian's Python.
    packages tests/clients/gajim "Gajim's library" "/usr/bin/python3 -m venv --system-site-packages"
    ;;
esac
