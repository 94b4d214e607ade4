#!/bin/sh
# Makes the certificates of the tests again. Needs openssl 3. See README.md.
set -eu
cd "$(dirname "$0")"
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

leaf='basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = '
names='DNS:localhost, DNS:example.org, DNS:*.example.org, IP:127.0.0.1, IP:::1'

sign ca 20250101000000Z 20490101000000Z 'basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash' -selfsign -keyfile ca.key
sign localhost 20250101000000Z 20490101000000Z "$leaf$names"
sign expired 20200101000000Z 20210101000000Z "$leaf$names"
sign wrong-name 20250101000000Z 20490101000000Z "${leaf}DNS:elsewhere.example"
