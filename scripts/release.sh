#!/bin/sh
# Makes what a release consists of: for each architecture the static program with its documents, the Debian package, and
# the symbols of both programs; the bill of materials; and the checksums of all.
#
#   scripts/release.sh FOLDER [amd64|arm64 ...]
#
# All are built on one machine, by Debian's compilers, which `scripts/deps.sh release` installs: the C library of a static
# program is Rust's own. With TAG in the environment (v1.2.3), the version has to be that one.
set -eu
mkdir -p "$1"
folder=$(realpath "$1")
shift
architectures=${*:-amd64 arm64}
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
# All that is written bears the date of the commit, so that the same commit makes the same files.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
[ "${TAG:-v$version}" = "v$version" ] || {
    echo "release: the tag is $TAG, the version $version" >&2
    exit 1
}
rm -f "$folder"/rostergate* "$folder/SHA256SUMS"
say() { echo "release: $*"; }

# build TRIPLE: the program of this target is in $target/TRIPLE/release. $gcc compiles ring's C, and links.
build() {
    say "$1"
    rustup target list --installed | grep -qx "$1" || rustup target add "$1"
    key=$(echo "$1" | tr - _)
    env "CC_$key=$gcc" "CARGO_TARGET_$(echo "$key" | tr a-z A-Z)_LINKER=$gcc" \
        "$cargo" build --quiet --release --locked --target "$1"
}

# The program that says its own manual: one that runs here.
"$cargo" build --quiet --release --locked
native=$(realpath "$target/release/rostergate")
target=$(realpath "$target")

for architecture in $architectures; do
    case $architecture in
    amd64) machine=x86_64 ;;
    arm64) machine=aarch64 ;;
    *)
        echo "release: amd64 and arm64 are known, not $architecture" >&2
        exit 64
        ;;
    esac
    gcc=$machine-linux-gnu-gcc
    export OBJCOPY=$machine-linux-gnu-objcopy
    name=rostergate-$version-linux-$architecture

    build "$machine-unknown-linux-musl"
    file "$target/$machine-unknown-linux-musl/release/rostergate" | grep -q "static" || {
        echo "release: not static: $machine-unknown-linux-musl" >&2
        exit 1
    }
    staged=$(mktemp -d)
    mkdir "$staged/$name"
    scripts/strip.sh "$target/$machine-unknown-linux-musl/release/rostergate" \
        "$staged/$name/rostergate" "$folder/$name.debug"
    "$native" man >"$staged/$name/rostergate.1"
    "$native" man --config >"$staged/$name/rostergate.toml.5"
    cp -r README.md CHANGELOG.md LICENSE config.example.toml openapi.yaml contrib docs "$staged/$name/"
    tar --create --gzip --file "$folder/$name.tar.gz" --directory "$staged" \
        --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner "$name"
    rm -rf "$staged"

    build "$machine-unknown-linux-gnu"
    scripts/deb.sh "$target/$machine-unknown-linux-gnu/release/rostergate" "$folder" \
        "$machine-unknown-linux-gnu" "$native" >/dev/null
done

say "bill of materials"
make --silent sbom
mv rostergate.cdx.json "$folder/rostergate-$version.cdx.json"

(cd "$folder" && sha256sum rostergate* >SHA256SUMS)
say "in $folder:"
(cd "$folder" && ls -l)
