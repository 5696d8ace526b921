#!/usr/bin/env bash
# pygls, the Python library for language servers, puts an editor's change into the wrong line where a form feed or U+2028 stands before it.
# One would guess: lines are those of the protocol, ended by \n, \r\n or \r alone.
# What happens: the text is divided by str.splitlines, which ends lines at \v, \f, \x1c to \x1e, \x85, U+2028 and U+2029 too. After a line with one
# of them the server counts one line more than the editor: an incremental change lands a line too early, silently, and from then on the server works on
# another text than the one on the screen. Form feeds stand in old C-like sources and cfg files, U+2028 in text pasted from the web.
# The way out: a TextDocument of one's own whose `lines` divide at \n, \r\n and \r, or full text sync.
# Seen on 2026-11-29 with pygls 2.1.1, lsprotocol 2025.0.0, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install pygls==2.1.1 lsprotocol==2025.0.0
cat > "$folder/try.py" <<'PY'
from lsprotocol import types
from pygls.workspace import TextDocument

for name, mark in (("none", ""), ("tab", "\t"), ("form feed", "\f"), ("U+2028", "\u2028")):
    text = f"# a{mark} b\nsize=3\npad=1\n"
    document = TextDocument("file:///a.cfg", text, version=1, sync_kind=types.TextDocumentSyncKind.Incremental)
    third = types.Range(types.Position(2, 4), types.Position(2, 5))  # the 1 of pad=1, as an editor counts
    document.apply_change(types.TextDocumentContentChangePartial(range=third, text="0"))
    print(name, repr(document.source))
PY
found=$("$folder/venv/bin/python" "$folder/try.py")
echo "$found"
diff <(echo "$found") - <<'OUT'
none '# a b\nsize=3\npad=0\n'
tab '# a\t b\nsize=3\npad=0\n'
form feed '# a\x0c b\nsize03\npad=1\n'
U+2028 '# a\u2028 b\nsize03\npad=1\n'
OUT
