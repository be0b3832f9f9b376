#!/usr/bin/env bash
# The way before this project: create, stat, md5sum, one curl -F, complete, detail.
# Usage: seed_flow.sh FILE URL
set -euo pipefail
file=$1
url=$2
keys=(-H "stream-public-key: key" -H "stream-secret-key: key")
answer=$(curl -s -X POST "$url/create" "${keys[@]}" -H "Content-Type: application/json" -d '{"title": "t", "type": "audio"}')
id=$(sed 's/.*"id": "\([^"]*\)".*/\1/' <<<"$answer")
size=$(stat -c%s "$file" 2>/dev/null || stat -f%z "$file")
md5=$(md5sum "$file" | awk '{print $1}')
curl -s -X POST "$url/$id/part" "${keys[@]}" -H "Content-Range: bytes 0-$((size - 1))/$size" \
    -F "file=@$file" -F "index=0" -F "hash=$md5" >/dev/null
curl -s "$url/$id/complete" "${keys[@]}" >/dev/null
curl -s "$url/$id" "${keys[@]}" >/dev/null
