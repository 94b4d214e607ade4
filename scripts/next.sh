#!/bin/sh
# Runs the integration tests which talk to Prosody and ejabberd with the newer ones of Debian's backports. They are
# installed into a system of their own, target/next/root, once; this machine's stay as they are. Needs root.
#
#   scripts/next.sh [FILTER...]     of the tests; without any, all of them run
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=PATH,HOME,CARGO_HOME,RUSTUP_HOME,CARGO "$0" "$@"
command -v mmdebstrap >/dev/null || { echo "mmdebstrap is missing: scripts/deps.sh next" >&2; exit 1; }
next=$PWD/target/next
if ! [ -e "$next/installed" ]; then
    rm -rf "$next"
    mkdir -p "$next"
    echo "installing: prosody and ejabberd from bookworm-backports (in $next/root)"
    # What they stand on has to come from there, too, where it is.
    mmdebstrap --quiet --variant=minbase --include=prosody,ejabberd \
        --aptopt='APT::Default-Release "bookworm-backports"' bookworm "$next/root" \
        "deb http://deb.debian.org/debian bookworm main" \
        "deb http://deb.debian.org/debian bookworm-backports main"
    touch "$next/installed"
fi
# The tests start these as they would the programs themselves, which see the tests' temporary folders.
for program in prosody erl; do
    cat >"$next/$program" <<END
#!/bin/sh
exec unshare --mount sh -c 'for shared in tmp proc dev; do mount --rbind "/\$shared" "\$0/\$shared"; done
    exec chroot "\$0" "\$@"' "$next/root" $program "\$@"
END
    chmod +x "$next/$program"
done
chroot "$next/root" dpkg-query --show prosody ejabberd
export TMPDIR=/tmp PROSODY="$next/prosody" ERL="$next/erl"
exec "${CARGO:-cargo}" test --locked --no-fail-fast --test it --test conformance -- "$@"
