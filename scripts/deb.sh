#!/bin/sh
# Makes the Debian package of a program that has been built, and says where it is.
#
#   scripts/deb.sh PROGRAM FOLDER      FOLDER/rostergate_VERSION_ARCHITECTURE.deb
set -eu
program=$(realpath "$1")
mkdir -p "$2"
folder=$(realpath "$2")
cd "$(dirname "$0")/.."

# What the program knows best itself.
files=target/package
mkdir -p "$files"
"$program" man >"$files/rostergate.1"
"$program" man --config >"$files/rostergate.toml.5"
"$program" completions bash >"$files/rostergate"
"$program" completions zsh >"$files/_rostergate"
"$program" completions fish >"$files/rostergate.fish"
version=$("$program" --version | cut -d ' ' -f 2)
cat >"$files/changelog" <<END
rostergate ($version-1) unstable; urgency=medium

  * See /usr/share/doc/rostergate/changelog.gz.

 -- The rostergate team <rostergate@localhost.localdomain>  $(date -R -r CHANGELOG.md)
END

# cargo-deb looks for it where a release is built.
staged=$(mktemp -d)
trap 'rm -rf "$staged"' EXIT
mkdir "$staged/release"
cp "$program" "$staged/release/"
rm -f "$folder"/rostergate_*.deb
CARGO_TARGET_DIR=$staged cargo deb --quiet --no-build --strip --output "$folder/"
