#!/usr/bin/env bash
# Lets the bundled voice speak for MINUTES to several listeners and fails when the server's memory grows: when the median
# of its resident memory in the last tenth of the time is more than 5% above that in the second tenth (the first tenth
# is warm-up), or when a request fails. In less than 20 minutes a tenth is too short to meet every length: of one server a
# run of 12 minutes was 5.09% apart, one of 20 0.15%.
#
#   tests/soak.sh [MINUTES] [options of bench, default: --streams 3]
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:-20}
shift || true
binary=${COSYSERVE_TEST_BINARY:-${CARGO_TARGET_DIR:-target}/release/cosyserve}
limit_percent=5
work=$(mktemp -d)
server=
cleanup() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

"$binary" serve --host 127.0.0.1 --port 0 --no-grpc --data-dir "$work/data" >"$work/ready" 2>"$work/log" &
server=$!
for _ in $(seq 600); do
  [ -s "$work/ready" ] && break
  kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
url=$(sed -n 's/.* ready on \(http:[^ ]*[0-9]\):.*/\1/p' "$work/ready")
[ -n "$url" ] || { echo "the server did not get ready" >&2; cat "$work/log" >&2; exit 1; }

# Lengths from a word to several sentences, both languages.
cat onnx/mini/eval/test_en.txt onnx/mini/eval/test_zh.txt >"$work/texts"
paste -sd' ' onnx/mini/eval/test_en.txt | cut -c1-600 >>"$work/texts"
echo 'Yes.' >>"$work/texts"
# Round after round in another order (always the same ones). In one order the streams would stay in step for minutes, so
# that long sentences always, or never, meet, and two times of measurement would differ by that alone.
awk '{ text[NR] = $0 }
  END {
    srand(1)
    for (round = 0; round < 200; round++)
      for (i = NR; i > 0; i--) {
        j = 1 + int(rand() * i)
        swap = text[i]; text[i] = text[j]; text[j] = swap
        print text[i]
      }
  }' "$work/texts" >"$work/script"

seconds=$(awk "BEGIN { print int($minutes * 60) }")
(while kill -0 "$server" 2>/dev/null; do
  awk '/^VmRSS:/ { print $2 }' "/proc/$server/status" 2>/dev/null || true
  sleep 1
done) >"$work/resident" &
sampler=$!
"$binary" bench --url "$url" --pid "$server" --duration "$seconds" --text-file "$work/script" ${@:---streams 3} | tee "$work/report"
kill "$sampler"

# Requests that began in time end after it: only the samples of the planned time count.
median() { head -n "$2" "$work/resident" | tail -n "+$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
samples=$(wc -l <"$work/resident")
[ "$samples" -lt "$seconds" ] || samples=$seconds
[ "$samples" -ge 20 ] || { echo "too short to judge: $samples samples of memory" >&2; exit 1; }
before=$(median $((samples / 10 + 1)) $((samples / 5)))
after=$(median $((samples - samples / 10)) "$samples")
growth=$(awk "BEGIN { printf \"%.2f\", 100 * ($after - $before) / $before }")
echo "memory: $((before / 1024)) MiB after warm-up, $((after / 1024)) MiB at the end: $growth%"
! grep '^failed' "$work/report" >&2 || { echo "requests failed" >&2; tail "$work/log" >&2; exit 1; }
awk "BEGIN { exit !($growth <= $limit_percent) }" || { echo "memory grew by more than $limit_percent%" >&2; exit 1; }
