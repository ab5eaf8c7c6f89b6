#!/bin/sh
# make-secrets.sh DIRECTORY [FLEET]: makes up what the overlay there needs in DIRECTORY/secrets, and overwrites nothing.
#
# The broker's users are those of docs/operations.md, with a password each. API keys are yours to write into keys.env.
set -eu
umask 077
deploy=$(cd "$(dirname "$0")" && pwd)
secrets=${1:?usage: make-secrets.sh DIRECTORY [FLEET]}/secrets
fleet=${2:-main}

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

if [ -e "$secrets" ]; then
    echo "make-secrets.sh: $secrets is there already; remove it to make all passwords anew" >&2
    exit 1
fi
mkdir -p "$secrets"
echo 'user default reset on nopass +ping' > "$secrets/users.acl"
sed -n 's/^ACL SETUSER //p' "$deploy/../../docs/operations.md" | while read -r user rules; do
    name=${user#keyfleet-}
    password=$(random)
    printf %s "$password" > "$secrets/$name-password"
    printf 'user %s %s\n' "$user" "$rules" |
        sed "s/>[A-Z]*-PASSWORD/>$password/; s/{keyfleet}:main:/{keyfleet}:$fleet:/g" >> "$secrets/users.acl"
done
printf 'admin:%s\n' "$(random)" > "$secrets/flower-users"
random > "$secrets/gateway-api-keys"
echo 'research-1=' > "$secrets/keys.env"
echo "made $secrets; now write each API key into $secrets/keys.env, as NAME=KEY"
