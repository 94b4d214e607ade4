#!/bin/sh
# Makes certificates for tests and development. Needs openssl 3. See README.md.
#
#   make.sh                  the certificates of the tests, here
#   make.sh FOLDER NAME...   a set for development, in FOLDER: an authority, a server's for each NAME
#                            (and for every name one label below it), a client's for "backend"
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here}
[ $# -eq 0 ] || shift
mkdir -p "$folder"
cd "$folder"
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch "$work/index.txt"
cat >"$work/ca.cnf" <<CNF
[ca]
default_ca = test
[test]
database = $work/index.txt
new_certs_dir = $work
certificate = ca.crt
private_key = ca.key
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
copy_extensions = none
[any]
commonName = supplied
[req]
distinguished_name = dn
[dn]
CNF

key() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

# sign NAME FROM UNTIL EXTENSIONS [OPTION...]: makes NAME.key, and NAME.crt valid from and until.
sign() {
    name=$1 from=$2 until=$3 extensions=$4
    shift 4
    key "$name.key"
    openssl req -new -key "$name.key" -subj "/CN=rostergate test $name" \
        -config "$work/ca.cnf" -out "$work/$name.csr"
    printf '%s\n' "$extensions" >"$work/$name.ext"
    openssl ca -batch -notext -config "$work/ca.cnf" -in "$work/$name.csr" -out "$name.crt" \
        -extfile "$work/$name.ext" -startdate "$from" -enddate "$until" "$@" 2>"$work/log" || {
        cat "$work/log" >&2
        exit 1
    }
}

authority='basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash'
# leaf PURPOSE NAMES
leaf() {
    printf 'basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n'
    printf 'extendedKeyUsage = %s\nsubjectAltName = %s' "$1" "$2"
}

if [ $# -gt 0 ]; then
    yesterday=$(date -u -d yesterday +%Y%m%d000000Z)
    next_year=$(date -u -d '+1 year' +%Y%m%d000000Z)
    sign ca "$yesterday" "$next_year" "$authority" -selfsign -keyfile ca.key
    for server; do
        names="DNS:$server, DNS:*.$server"
        sign "$server" "$yesterday" "$next_year" "$(leaf serverAuth "$names")"
    done
    sign client "$yesterday" "$next_year" "$(leaf clientAuth DNS:backend)"
else
    valid='20250101000000Z 20490101000000Z'
    names='DNS:localhost, DNS:example.org, DNS:*.example.org, IP:127.0.0.1, IP:::1'
    # shellcheck disable=SC2086 # from and until
    {
        sign ca $valid "$authority" -selfsign -keyfile ca.key
        sign localhost $valid "$(leaf serverAuth "$names")"
        sign expired 20200101000000Z 20210101000000Z "$(leaf serverAuth "$names")"
        sign wrong-name $valid "$(leaf serverAuth DNS:elsewhere.example)"
        sign client $valid "$(leaf clientAuth DNS:backend)"
    }
    # Public anyway, and other users' servers read them.
    chmod 644 ./*.key
fi
chmod 644 ./*.crt
