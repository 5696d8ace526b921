#!/usr/bin/env bash
# `import openvino` alone writes a visitor id into the home folder and posts to Google Analytics.
#
# One would guess: the import of an inference library touches no network, and statistics are asked for first, as the
# consent dialog of its package openvino-telemetry suggests.
# What happens: openvino/__init__.py imports the model converter, which starts a telemetry session when it is
# imported, with the dialog turned off. A fork of the process posts to google-analytics.com; an id for all later
# runs is kept in ~/intel/openvino_ga_cid. A program that only runs models does the same at every start.
# sys.modules["openvino_telemetry"] = None before the import prevents both: the converter has a stub for that case.
# Seen with openvino 2026.4.1, openvino-telemetry 2025.2.0 on 2026-11-29. Nothing is sent by this script: urlopen
# is replaced by a function that writes the address down.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 openvino-telemetry==2025.2.0 \
    numpy==2.4.6
cat > "$folder/try.py" <<'PYTHON'
import os
import sys
import time
import urllib.request

asked = sys.argv[1]


def record(request, *arguments, **options):
    address = getattr(request, "full_url", request)
    with open(os.path.join(os.environ["HOME"], "addresses"), "a") as file:
        file.write(address.split("?")[0] + "\n")
    raise OSError("not sent")


urllib.request.urlopen = record
if asked == "without":
    sys.modules["openvino_telemetry"] = None
import openvino  # noqa: E402

time.sleep(3)
PYTHON
unset CI
for how in with without; do
    mkdir "$folder/$how"
    HOME="$folder/$how" "$folder/venv/bin/python" "$folder/try.py" "$how" 2> "$folder/$how/stderr"
    touch "$folder/$how/addresses"
    echo "$how telemetry: id file: $(ls "$folder/$how/intel" 2>/dev/null | grep -c ga_cid || true)," \
        "posts: $(sort -u "$folder/$how/addresses" | tr '\n' ' ')"
done
test -s "$folder/with/intel/openvino_ga_cid"
grep -q '^https://www.google-analytics.com/' "$folder/with/addresses"
test ! -e "$folder/without/intel"
test ! -s "$folder/without/addresses"
echo "seen again: the import posts; a blocked openvino_telemetry prevents it"
