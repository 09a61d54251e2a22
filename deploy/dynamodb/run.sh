#!/usr/bin/env bash
# What `make run-dynamodb` does: runs Amazon's DynamoDB Local on loopback, creates the tables, and serves the Caddyfile
# beside this file on them. Everything it keeps is in stepgate-data/ of the working directory: the tables in
# dynamodb-local/, the grant key in dynamodb.keys. Ctrl-C ends all of it.
#
#	run.sh <stepgate binary> <folder of DynamoDBLocal.jar> <Loopback.java>
set -euo pipefail
stepgate=$1 jars=$2 loopback=$3
here=$(cd "$(dirname "$0")" && pwd)
data=$PWD/stepgate-data
port=${DYNAMODB_PORT:-8000}
mkdir -p -m 700 "$data/dynamodb-local"

if [ ! -s "$data/dynamodb.keys" ]; then
	echo "== making a grant key in stepgate-data/dynamodb.keys"
	(umask 077 && "$stepgate" keygen >"$data/dynamodb.keys")
fi

echo "== starting DynamoDB Local on 127.0.0.1:$port"
answer=$(mktemp -u)
mkfifo -m 600 "$answer"
java -Xmx256m -Djava.library.path="$jars/DynamoDBLocal_lib" -cp "$jars/DynamoDBLocal.jar:$jars/DynamoDBLocal_lib/*" \
	"$loopback" "$port" "$data/dynamodb-local" >"$answer" &
dynamodb=$!
trap 'rm -f "$answer"; kill $dynamodb 2>/dev/null || true; wait $dynamodb 2>/dev/null || true' EXIT
if ! read -r DYNAMODB_ENDPOINT <"$answer"; then
	echo "DynamoDB Local did not start; is port $port in use? DYNAMODB_PORT chooses another one." >&2
	exit 1
fi
export DYNAMODB_ENDPOINT

# DynamoDB Local takes any credentials. Nothing here may reach AWS by accident: not with these, and not at this endpoint.
export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_EC2_METADATA_DISABLED=true
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL AWS_ENDPOINT_URL_DYNAMODB
STEPGATE_GRANT_KEYS=$(cat "$data/dynamodb.keys")
export STEPGATE_GRANT_KEYS

"$stepgate" tables create --config "$here/Caddyfile" --adapter caddyfile
echo "== serving deploy/dynamodb/Caddyfile: open ${STEPGATE_ORIGIN:-http://localhost:8080}/admin/ and sign in as alice, password: correct horse"
"$stepgate" run --config "$here/Caddyfile" --adapter caddyfile
