#!/bin/sh
# Takes the symbols out of a program, into a file of their own, which debuggers find by its name.
#
#   scripts/strip.sh PROGRAM STRIPPED SYMBOLS      with the OBJCOPY of the program's architecture
set -eu
program=$(realpath "$1")
stripped=$(realpath "$2")
objcopy=${OBJCOPY:-objcopy}
"$objcopy" --only-keep-debug --compress-debug-sections "$program" "$3"
chmod 644 "$3"
cd "$(dirname "$3")"
"$objcopy" --strip-all --add-gnu-debuglink="$(basename "$3")" "$program" "$stripped"
