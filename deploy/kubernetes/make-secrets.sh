#!/bin/sh
# make-secrets.sh DIRECTORY [FLEET]: makes up what the overlay there needs in DIRECTORY/secrets, and overwrites nothing.
#
# The broker's users are those of docs/operations.md, with a password each. API keys are yours to write into keys.env,
# which gets a line for each key of DIRECTORY/keys.yaml. Whatever fails, nothing is left half made.
set -eu
umask 077
deploy=$(cd "$(dirname "$0")" && pwd)
overlay=${1:?usage: make-secrets.sh DIRECTORY [FLEET]}
fleet=${2:-main}
secrets=$overlay/secrets
operations=$deploy/../../docs/operations.md

fail() {
    echo "make-secrets.sh: $1" >&2
    exit 1
}
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

case $fleet in
*[!A-Za-z0-9_-]*) fail "FLEET: expected letters, digits, _ or -" ;;
esac
[ ! -e "$secrets" ] || fail "$secrets is there already; remove it to make all passwords anew"
for file in "$operations" "$overlay/keys.yaml"; do
    [ -r "$file" ] || fail "$file can't be read"
done
users=$(sed -n 's/^ACL SETUSER //p' "$operations")

mkdir "$secrets"
trap 'rm -rf "$secrets"' EXIT
echo 'user default reset on nopass +ping' > "$secrets/users.acl"
while read -r user rules; do
    name=${user#keyfleet-}
    password=$(random)
    printf %s "$password" > "$secrets/$name-password"
    printf 'user %s %s\n' "$user" "$rules" |
        sed "s/>[A-Z]*-PASSWORD/>$password/; s/{keyfleet}:main:/{keyfleet}:$fleet:/g" >> "$secrets/users.acl"
done <<END
$users
END
printf 'admin:%s\n' "$(random)" > "$secrets/flower-users"
random > "$secrets/gateway-api-keys"
sed -n "s/^ *- *{\{0,1\} *name: *[\"']\{0,1\}\([A-Za-z0-9._-]\{1,\}\).*/\1=/p" "$overlay/keys.yaml" > "$secrets/keys.env"

for part in worker producer flower; do
    grep -q "^user keyfleet-$part " "$secrets/users.acl" || fail "$operations has no ACL SETUSER keyfleet-$part"
    grep -q "^user keyfleet-$part reset on >[0-9a-f]\{48\} " "$secrets/users.acl" ||
        fail "no password for keyfleet-$part was made"
    [ -s "$secrets/$part-password" ] || fail "$secrets/$part-password is empty"
done
[ "$(wc -c < "$secrets/flower-users")" -eq 55 ] || fail "no password for Flower was made"
[ "$(wc -c < "$secrets/gateway-api-keys")" -eq 48 ] || fail "no key for the gateway was made"
[ -s "$secrets/keys.env" ] || fail "$overlay/keys.yaml has no line '- name: NAME'"
trap - EXIT
echo "made $secrets; now write each API key behind its name into $secrets/keys.env, and add a line for each key to come"
