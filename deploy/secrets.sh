#!/bin/sh
# Makes the passwords and keys that docker-compose.yml reads, where they are missing: what exists is left as it is.
#
#   sh deploy/secrets.sh [FOLDER]      FOLDER: ./secrets, or what EVERDRAFT_SECRETS says
set -eu
folder=${1:-${EVERDRAFT_SECRETS:-./secrets}}
umask 077
mkdir -p "$folder"

random() { od -An -tx1 -N 24 /dev/urandom | tr -d ' \n'; }

make() { # NAME VALUE
    if [ -e "$folder/$1" ]; then
        echo "$folder/$1: was there"
    else
        printf '%s\n' "$2" >"$folder/$1"
        echo "$folder/$1: made"
    fi
}

make redis_password "$(random)"
make grafana_password "$(random)"
make admin_key "$(random)"
key=$(random)
make api_keys "$key = default"
make api_key "$(sed -n 's/ *=.*//p;q' "$folder/api_keys")"
# the containers run as users of their own, who must be able to read them
chmod 0755 "$folder"
chmod 0644 "$folder"/*
