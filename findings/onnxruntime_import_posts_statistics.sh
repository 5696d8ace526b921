#!/usr/bin/env bash
# `import onnxruntime` alone writes an id and a database into the home folder and posts to Microsoft after nine seconds.
#
# One would guess: the import of an inference library touches no network, at least on Linux, where its wheels had no
# telemetry for years; and disable_telemetry_events(), which its module offers, turns it off.
# What happens: from 1.29 on the wheels for Linux and macOS hold Microsoft's 1DS uploader. Importing them starts a
# thread that sends to mobile.events.data.microsoft.com; disable_telemetry_events() after the import does not stop it.
# ORT_DISABLE_TELEMETRY=1 in the environment before the import does: no id, no database, no connection.
# Seen with onnxruntime 1.32.0 on 2026-11-29. Nothing is sent by this script: it runs where there is no network
# (unshare --net), and counts there what found no way out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0
cat > "$folder/try.sh" <<'SHELL'
how=$1
export HOME=$folder/$how XDG_CACHE_HOME=$folder/$how
mkdir "$HOME"
program="import time, onnxruntime as ort; '$how' == 'asked' and ort.disable_telemetry_events(); time.sleep(15)"
"$folder/venv/bin/python" -c "$program"
awk '/^Ip: [0-9]/ {print $13}' /proc/net/snmp > "$folder/count-$how"
echo "$how: files at home: $(find "$HOME" -type f | wc -l), without a way out: $(cat "$folder/count-$how")"
SHELL
export folder
unset CI
unshare --net bash "$folder/try.sh" plain
unshare --net bash "$folder/try.sh" asked
ORT_DISABLE_TELEMETRY=1 unshare --net bash "$folder/try.sh" told
test "$(cat "$folder/count-plain")" -gt 0
test "$(cat "$folder/count-asked")" -gt 0
test "$(cat "$folder/count-told")" -eq 0
test -z "$(find "$folder/told" -type f)"
echo "seen again: the import posts; ORT_DISABLE_TELEMETRY=1 before it prevents that"
