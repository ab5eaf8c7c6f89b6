#!/usr/bin/env bash
# Tries docker-compose.yml out with whatever Docker engine is at hand: builds the image, runs a fleet on secrets of its
# own against the provider stand-in, and lets a job of 5,000 lines live through a worker that is cut off, a worker and a
# Redis that are killed, and a stop. Prints every check with ok or FAILED; the exit code is 0 if all are ok.
#
#   deploy/try-compose.sh        takes about six minutes, and leaves nothing behind but the image
set -euo pipefail
cd "$(dirname "$0")/.."

LINES=5000
PROJECT=keyfleet-try
KEYS=5
place=$(mktemp -d)
export COMPOSE_PROJECT_NAME=$PROJECT COMPOSE_PROGRESS=quiet FLEET_IMAGE=$PROJECT FLEET_SECRETS=$place/secrets
export FLEET_FLOWER_PORT=0 FLEET_GATEWAY_PORT=0
failed=0

compose() { docker compose -f docker-compose.yml -f "$place/sim.override.yml" --profile demo "$@"; }
say() { printf '\n%s\n' "$*"; }

end() {
  docker rm --force --volumes "$PROJECT-job" "$PROJECT-second" >/dev/null 2>&1 || true
  compose down --volumes --timeout 5 >/dev/null 2>&1 || true
  rm -rf "$place"
}
trap end EXIT

# check NAME COMMAND...: what the command says is shown where it fails.
check() {
  local name=$1 said; shift
  if said=$("$@" 2>&1); then printf 'ok      %s\n' "$name"
  else printf 'FAILED  %s\n%s\n' "$name" "${said:0:2000}"; failed=1; fi
}

# wait_for SECONDS COMMAND...: whether the command succeeds within that time.
wait_for() {
  local until=$((SECONDS + $1)); shift
  until "$@"; do
    ((SECONDS < until)) || return 1
    sleep 1
  done
}

# Python in a container that reaches Redis, Flower and the stand-in.
python_inside() { compose exec -T gateway python -c "$@"; }

# Random secrets, and keys that only the stand-in knows. Others can't get into the directory, but containers may read.
make_secrets() {
  mkdir -m 700 "$FLEET_SECRETS"
  random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
  redis_tail=$(random) flower_password=$(random) gateway_key=$(random)
  redis_password="a\"b\\c'd\$e f$redis_tail"
  printf '%s\n' "$redis_password" >"$FLEET_SECRETS/redis-password"
  printf 'me:%s\n' "$flower_password" >"$FLEET_SECRETS/flower-users"
  printf '%s\n' "$gateway_key" >"$FLEET_SECRETS/gateway-keys"
  printf 'defaults: {base_url: "http://sim:8787/v1", provider: compatible}\nkeys:\n' >"$FLEET_SECRETS/keys.yaml"
  printf 'latency: {latency_ms: 1500, jitter_ms: 500}\nkeys:\n' >"$place/sim.yaml"
  for number in $(seq $KEYS); do
    key=sk-$(random)
    limit="80/10 second"
    echo "  - {name: key-$number, api_key: $key, models: {demo: {requests: $limit}}}" >>"$FLEET_SECRETS/keys.yaml"
    echo "  - {name: key-$number, api_key: $key, requests: [$limit]}" >>"$place/sim.yaml"
    printf '%s\n' "$key" >>"$place/values"
  done
  # The password's tail reads the same where the rest is escaped, in JSON or in a URL.
  printf '%s\n' "$redis_password" "$redis_tail" "$flower_password" "$gateway_key" >>"$place/values"
  printf 'configs:\n  sim.yaml: {file: "%s"}\n' "$place/sim.yaml" >"$place/sim.override.yml"
  chmod 444 "$FLEET_SECRETS"/* "$place/sim.yaml"
}

# Hosts that serve keys, and how many keys are served: "5 hosts, 5 keys".
served() {
  compose exec -T gateway keyfleet status --json | python_inside '
import json, sys
keys = [key for fleet in json.load(sys.stdin) for key in fleet["keys"] if key["workers"]]
print(len({host for key in keys for host in key["workers"]}), "hosts,", len(keys), "keys")'
}
is_served_by() { [ "$(served)" = "$1 hosts, $KEYS keys" ]; }

sim_reset() { python_inside 'import urllib.request as r; r.urlopen(r.Request("http://sim:8787/sim/reset", b""))'; }
sim_count() { python_inside 'import json, sys, urllib.request as r
print(json.load(r.urlopen("http://sim:8787/sim/stats"))[sys.argv[1]])' "$1"; }

# start_job NAME LINES: its rows go to /data/NAME.out.jsonl in the volume.
start_job() {
  seq "$2" | sed 's/.*/{"custom_id": "'"$1"'-&", "method": "POST", "url": "\/v1\/chat\/completions", "body": {"model": "demo", "messages": [{"role": "user", "content": "Question & of '"$1"'"}], "max_tokens": 20}}/' |
    compose run --rm -T --no-deps --entrypoint sh producer -c "cat > /data/$1.jsonl"
  compose run -d --no-deps --name "$PROJECT-$1" producer \
    run "/data/$1.jsonl" --output "/data/$1.out.jsonl" --no-workers >/dev/null
}
rows() { docker exec "$PROJECT-$1" cat "/data/$1.out.jsonl" 2>/dev/null | wc -l; }
has_rows() { (($(rows "$1") >= $2)); }
ends_well() { timeout 900 docker wait "$PROJECT-$1" | grep -qx 0 || { docker logs --tail 20 "$PROJECT-$1"; false; }; }
has_each_line_once() {
  compose run --rm -T --no-deps --entrypoint cat producer "/data/$1.out.jsonl" >"$place/rows"
  grep -oE "\"custom_id\": *\"$1-[0-9]+\"" "$place/rows" | grep -oE '[0-9]+"$' | tr -d '"' | sort -n >"$place/ids"
  [ "$(wc -l <"$place/rows")" = "$2" ] && seq "$2" | cmp - "$place/ids"
}

container() { compose ps -q --no-trunc "$1" | sed -n "${2:-1}p"; }
# A crash, not a stop: all that runs in the container is killed from inside, so that its restart policy is met.
kill_inside() { docker exec "$1" sh -c 'kill -KILL -1' || true; }
has_restarted() { [ "$(docker inspect -f '{{.RestartCount}} {{.State.Status}}' "$1")" = "1 running" ]; }
is_healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$1")" = healthy ]; }
# inspect_all FORMAT [SERVICE...]: a line for each container.
inspect_all() {
  local format=$1 id; shift
  for id in $(compose ps -aq "$@"); do docker inspect -f "$format" "$id"; done
}
# Whether there are lines, and each is TEXT; shows them.
all_are() { sort | uniq -c | tee "$place/lines" && [ "$(sed 's/^ *[0-9]* //' "$place/lines")" = "$1" ]; }
all_ended_with_0() {
  inspect_all 'exit code {{.State.ExitCode}}' "$@" | all_are 'exit code 0'
}

is_absent() { if grep -E "$1" "$2"; then return 1; fi; }
holds_no_secret() { [ -s "$1" ] && [ "$(grep -cFf "$place/values" "$1")" = 0 ]; }
# What every process of a container was started with. redis-cli is the health check's, and gone in a moment.
started_with() {
  docker exec "$1" sh -c 'for process in /proc/[0-9]*; do
    case $(tr "\0" " " <$process/cmdline) in redis-cli*) ;; *) cat $process/cmdline $process/environ ;; esac
  done 2>/dev/null; true' | tr '\0' '\n'
}
runs_without_root() {
  for id in $(compose ps -q); do docker exec "$id" sh -c 'cat /proc/[0-9]*/status 2>/dev/null; true'; done >"$place/status"
  grep -q '^Uid:' "$place/status" && is_absent '^(Uid|Gid):.*[[:space:]]0([[:space:]]|$)' "$place/status"
}
is_contained() {
  inspect_all 'read-only: {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}' |
    all_are 'read-only: true [ALL] [no-new-privileges:true]'
}
publishes_on_loopback_only() {
  inspect_all '{{.Name}} {{json .HostConfig.PortBindings}}' | tee "$place/ports"
  if grep -E 'redis|worker|sim' "$place/ports" | grep HostPort; then return 1; fi
  [ "$(grep -oE '"HostIp":"[^"]*"' "$place/ports" | sort -u)" = '"HostIp":"127.0.0.1"' ]
}
# answers CODE URL [AUTHORIZATION]
answers() {
  python_inside 'import sys, urllib.error, urllib.request as r
given = sys.stdin.read().strip()
body = b"{\"model\": \"demo\", \"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"max_tokens\": 5}"
call = r.Request(sys.argv[2], body if "completions" in sys.argv[2] else None, {"Content-Type": "application/json"})
if given: call.add_header("Authorization", given)
try: code = r.urlopen(call, timeout=30).status
except urllib.error.HTTPError as error: code = error.code
print(code)
sys.exit(code != int(sys.argv[1]))' "$1" "$2" <<<"${3:-}"
}

make_secrets
say "The image"
check "it is built" compose build
docker image inspect -f 'its size is {{.Size}} bytes' "$PROJECT" || exit 1
check "its user is not root" sh -c "docker image inspect -f '{{.Config.User}}' $PROJECT | grep -E '^[1-9]'"
check "it has neither pip's cache nor a compiler" docker run --rm --entrypoint sh "$PROJECT" -c \
  '! ls /root/.cache 2>/dev/null && ! command -v cc gcc && ! ls /opt/keyfleet/bin/pip* 2>/dev/null'

say "One worker, then $KEYS"
check "everything comes up healthy" compose up -d --wait --wait-timeout 180 redis worker flower gateway sim
check "one worker serves all keys" wait_for 60 is_served_by 1
check "more workers start" compose up -d --no-recreate --scale worker=$KEYS worker
check "each of them serves one key" wait_for 60 is_served_by $KEYS

say "Who gets in, and what is to be seen"
basic="Basic $(printf 'me:%s' "$flower_password" | base64 | tr -d '\n')"
check "the gateway answers who has its key" answers 200 http://gateway:8000/v1/chat/completions "Bearer $gateway_key"
check "the gateway refuses who hasn't" answers 401 http://gateway:8000/v1/chat/completions
check "Flower opens to its user" answers 200 http://flower:5555/workers "$basic"
check "its page of keys too" answers 200 http://flower:5555/keys "$basic"
check "Flower refuses others" answers 401 http://flower:5555/workers
check "Flower's metrics are closed too" answers 401 http://flower:5555/metrics
check "workers say that they are ready" answers 200 http://worker:9464/readyz
check "workers' metrics are there for whoever is inside" answers 200 http://worker:9464/metrics
check "Redis is published nowhere, the others on loopback" publishes_on_loopback_only
check "no process is root's" runs_without_root
check "containers are read-only, without capabilities" is_contained
inspect_all '{{json .}}' >"$place/inspected"
docker history --no-trunc "$PROJECT" >>"$place/inspected"
check "no secret stands in what Docker knows of the containers" holds_no_secret "$place/inspected"
for id in $(compose ps -q); do started_with "$id"; done >"$place/started"
check "nor in what any process was started with" holds_no_secret "$place/started"

say "A job of $LINES lines, and what happens to it"
start_job job $LINES
check "it runs" wait_for 60 has_rows job 300
cut_off=$(container worker 2)
check "a worker is cut off from Redis" docker network disconnect "${PROJECT}_backend" "$cut_off"
check "others serve its key" wait_for 90 is_served_by $((KEYS - 1))
check "it is connected again" docker network connect "${PROJECT}_backend" "$cut_off"
check "and serves a key again" wait_for 60 is_served_by $KEYS
killed=$(container worker 3)
kill_inside "$killed"
check "a worker that is killed comes back" wait_for 60 has_restarted "$killed"
redis=$(container redis)
kill_inside "$redis"
check "Redis that is killed comes back" wait_for 60 has_restarted "$redis"
check "and is healthy" wait_for 60 is_healthy "$redis"
check "after that the job was not over yet" sh -c "docker inspect -f '{{.State.Status}}' $PROJECT-job | grep -x running"
check "the job ends, and all of it succeeded" ends_well job
check "each line is there once" has_each_line_once job $LINES
check "no limit was exceeded" test "$(sim_count over_limit)" = 0
echo "        $(sim_count requests) calls for $LINES lines and the gateway's one"

say "A stop in the midst of a job"
sim_reset
start_job second 1500
check "it runs" wait_for 60 has_rows second 200
check "the workers stop" compose stop worker
check "each with exit code 0" all_ended_with_0 worker
check "they start again" compose start worker
check "the job ends, and all of it succeeded" ends_well second
check "each line is there once" has_each_line_once second 1500
check "no call was lost or sent twice" test "$(sim_count sent_after_success) $(sim_count requests)" = "0 1500"
compose logs --no-color >"$place/logs" 2>&1
check "no secret stands in any log" holds_no_secret "$place/logs"
check "everything stops" compose stop redis worker flower gateway
check "each with exit code 0" all_ended_with_0 redis worker flower gateway

say "$([ $failed = 0 ] && echo "All of it holds." || echo "Something FAILED.")"
exit $failed
