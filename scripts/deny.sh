#!/bin/sh
# `cargo deny check`, with the advisories of scripts/advisories.tsv instead of today's: what holds
# for a commit once holds for it always, and needs no network.
#
# cargo deny wants a git repository of RustSec's shape, so one is made in target/, and git is told
# to find it under the address of the real one.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
export ADVISORY_DBS="$root/target/advisories"
known=$ADVISORY_DBS/known

rm -rf "$ADVISORY_DBS"
mkdir -p "$known/crates"
awk -F '\t' -v crates="$known/crates" '
    function list(bounds) {
        gsub(/ ; /, "\", \"", bounds)
        return bounds == "" ? "[]" : "[\"" bounds "\"]"
    }
    /^#/ { next }
    NF != 6 { print FILENAME ":" FNR ": " NF " columns instead of 6" > "/dev/stderr"; exit 1 }
    {
        file = crates "/" $2 ".md"
        print "```toml\n[advisory]\nid = \"" $2 "\"\npackage = \"" $1 "\"\ndate = \"" $3 "\"" > file
        print "url = \"https://rustsec.org/advisories/" $2 ".html\"" > file
        if ($4 != "vulnerability") print "informational = \"" $4 "\"" > file
        print "\n[versions]\npatched = " list($5) "\nunaffected = " list($6) "\n```\n" > file
        print "# " $2 " about " $1 "\n" > file
        close(file)
    }' "$root/scripts/advisories.tsv"

cd "$known"
git init --quiet --initial-branch main
git add crates
git -c user.name=rostergate -c user.email= -c commit.gpgSign=false commit --quiet --message "advisories.tsv"

cd "$root"
GIT_CONFIG_COUNT=1 \
    GIT_CONFIG_KEY_0="url.file://$known.insteadOf" \
    GIT_CONFIG_VALUE_0=https://github.com/RustSec/advisory-db \
    exec "${CARGO:-cargo}" deny check
