#!/bin/sh
# Makes the Debian package of a program that has been built, its symbols beside it, and says where the package is.
#
#   scripts/deb.sh PROGRAM FOLDER [TARGET NATIVE]      FOLDER/rostergate_VERSION_ARCHITECTURE.deb and .debug
#
# A program of another TARGET does not run here, to say its own manual: then NATIVE does.
set -eu
program=$(realpath "$1")
mkdir -p "$2"
folder=$(realpath "$2")
target=${3:-}
native=$(realpath "${4:-$1}")
cd "$(dirname "$0")/.."

# What the program knows best itself.
files=target/package
mkdir -p "$files"
"$native" man >"$files/rostergate.1"
"$native" man --config >"$files/rostergate.toml.5"
"$native" completions bash >"$files/rostergate"
"$native" completions zsh >"$files/_rostergate"
"$native" completions fish >"$files/rostergate.fish"
version=$("$native" --version | cut -d ' ' -f 2)
cat >"$files/changelog" <<END
rostergate ($version-1) unstable; urgency=medium

  * See /usr/share/doc/rostergate/changelog.gz.

 -- The rostergate team <rostergate@localhost.localdomain>  $(date -R -r CHANGELOG.md)
END

# cargo-deb looks for the program where a release is built.
staged=$(mktemp -d)
trap 'rm -rf "$staged"' EXIT
mkdir -p "$staged/$target/release" "$staged/deb"
cp "$program" "$staged/$target/release/"
scripts/strip.sh "$program" "$staged/$target/release/rostergate" "$staged/rostergate.debug"
CARGO_TARGET_DIR=$staged cargo deb --quiet --no-build --no-strip ${target:+--target "$target"} --output "$staged/deb/" >/dev/null
package=$(basename "$staged"/deb/rostergate_*.deb)
[ -n "$target" ] || rm -f "$folder"/rostergate_*
mv "$staged/deb/$package" "$folder/"
mv "$staged/rostergate.debug" "$folder/${package%.deb}.debug"
echo "$folder/$package"
