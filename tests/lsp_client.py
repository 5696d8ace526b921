"""An editor that speaks to a real `yolor lsp`, for tests: each call waits for its answer."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from lsprotocol import types
from pygls.lsp.client import LanguageClient

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60  # seconds for an answer, on a machine that does much else


class Editor:
    """A client with a server process of its own."""

    def __init__(self, *options: str, encodings: list[str] | None = None) -> None:
        self._runner = asyncio.Runner()
        self._client = LanguageClient("test", "1")
        self._told: dict[str, asyncio.Queue[types.PublishDiagnosticsParams]] = defaultdict(asyncio.Queue)
        self._versions: dict[str, int] = {}

        def keep(params: types.PublishDiagnosticsParams) -> None:
            self._told[params.uri].put_nowait(params)

        self._client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(keep)
        self._runner.run(self._start(options))
        general = types.GeneralClientCapabilities(position_encodings=encodings) if encodings else None
        params = types.InitializeParams(types.ClientCapabilities(general=general))
        self.initialized = self.ask(self._client.initialize_async(params))
        self._client.initialized(types.InitializedParams())

    async def _start(self, options: tuple[str, ...]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = ("-m", "yolor_cfg", "lsp", *options)
        await self._client.start_io(sys.executable, *command, env=environment)

    def ask(self, answer: Coroutine[Any, Any, T]) -> T:
        """The answer to a request."""
        return self._runner.run(asyncio.wait_for(answer, PATIENCE))

    def open(self, uri: str, text: str) -> list[types.Diagnostic]:
        """Open a text: what is wrong in it."""
        self._versions[uri] = 1
        item = types.TextDocumentItem(uri, "darknet-cfg", 1, text)
        self._client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        return self._hear(uri, 1)

    def change(self, uri: str, *changes: types.TextDocumentContentChangeEvent) -> list[types.Diagnostic]:
        """Change an open text: what is wrong in it then."""
        self._versions[uri] += 1
        named = types.VersionedTextDocumentIdentifier(self._versions[uri], uri)
        self._client.text_document_did_change(types.DidChangeTextDocumentParams(named, changes))
        return self._hear(uri, self._versions[uri])

    def replace(self, uri: str, text: str) -> list[types.Diagnostic]:
        """Another text in its place, as a whole."""
        return self.change(uri, types.TextDocumentContentChangeWholeDocument(text))

    def close(self, uri: str) -> list[types.Diagnostic]:
        """Close a text: what is said of it from then on."""
        named = types.TextDocumentIdentifier(uri)
        self._client.text_document_did_close(types.DidCloseTextDocumentParams(named))
        return self._hear(uri, None)

    def _hear(self, uri: str, version: int | None) -> list[types.Diagnostic]:
        async def wait() -> list[types.Diagnostic]:
            while True:
                told = await self._told[uri].get()
                if told.version == version:
                    return list(told.diagnostics)

        return self.ask(wait())

    def hover(self, uri: str, line: int, column: int) -> types.Hover | None:
        """What is told of a place; lines and characters count from 0, as in the protocol."""
        return self.ask(self._client.text_document_hover_async(types.HoverParams(*_place(uri, line, column))))

    def tell(self, uri: str, line: int, column: int) -> str:
        """The text of what is told there."""
        found = self.hover(uri, line, column)
        assert found is not None and isinstance(found.contents, types.MarkupContent)
        assert found.contents.kind == types.MarkupKind.Markdown
        return found.contents.value

    def complete(self, uri: str, line: int, column: int) -> list[types.CompletionItem]:
        """What may be written there, in the order in which an editor shows it."""
        params = types.CompletionParams(*_place(uri, line, column))
        found = self.ask(self._client.text_document_completion_async(params))
        assert not isinstance(found, types.CompletionList)
        return sorted(found or (), key=lambda item: item.sort_text or item.label)

    def definition(self, uri: str, line: int, column: int) -> list[int]:
        """The lines that it leads to."""
        params = types.DefinitionParams(*_place(uri, line, column))
        found: Any = self.ask(self._client.text_document_definition_async(params))
        return [place.range.start.line for place in found]

    def references(self, uri: str, line: int, column: int) -> list[types.Range]:
        """The places that read it."""
        context = types.ReferenceContext(include_declaration=False)
        params = types.ReferenceParams(context, *_place(uri, line, column))
        found: Any = self.ask(self._client.text_document_references_async(params))
        return [place.range for place in found or ()]

    def symbols(self, uri: str) -> list[types.DocumentSymbol]:
        """The outline."""
        params = types.DocumentSymbolParams(types.TextDocumentIdentifier(uri))
        found: Any = self.ask(self._client.text_document_document_symbol_async(params))
        return list(found)

    def folds(self, uri: str) -> list[types.FoldingRange]:
        """What can be folded."""
        params = types.FoldingRangeParams(types.TextDocumentIdentifier(uri))
        found: Any = self.ask(self._client.text_document_folding_range_async(params))
        return list(found or ())

    def hints(self, uri: str, first: int = 0, last: int = 10_000) -> list[types.InlayHint]:
        """What is shown beside the text in these lines."""
        lines = types.Range(types.Position(first, 0), types.Position(last, 0))
        params = types.InlayHintParams(types.TextDocumentIdentifier(uri), lines)
        found: Any = self.ask(self._client.text_document_inlay_hint_async(params))
        return list(found or ())

    def actions(self, uri: str, fault: types.Diagnostic) -> list[types.CodeAction]:
        """The ways to mend a fault."""
        context = types.CodeActionContext([fault])
        params = types.CodeActionParams(types.TextDocumentIdentifier(uri), fault.range, context)
        found: Any = self.ask(self._client.text_document_code_action_async(params))
        return list(found or ())

    def format(self, uri: str) -> list[types.TextEdit]:
        """The changes that format the text."""
        options = types.FormattingOptions(tab_size=4, insert_spaces=True)
        params = types.DocumentFormattingParams(types.TextDocumentIdentifier(uri), options)
        found: Any = self.ask(self._client.text_document_formatting_async(params))
        return list(found or ())

    def end(self) -> tuple[int | None, str]:
        """Shut the server down: its exit code and what it wrote to standard error."""
        self.ask(self._client.shutdown_async(None))
        self._client.exit(None)
        code, words = self.ask(self._finish())
        self._runner.close()
        return code, words

    async def _finish(self) -> tuple[int | None, str]:
        process = self._client._server
        assert process is not None and process.stderr is not None
        words = await process.stderr.read()
        return await process.wait(), words.decode()


def _place(uri: str, line: int, column: int) -> tuple[types.TextDocumentIdentifier, types.Position]:
    return types.TextDocumentIdentifier(uri), types.Position(line, column)


def apply_edits(text: str, edits: list[types.TextEdit]) -> str:
    """The text after the edits of an editor that counts in UTF-16; lines end with LF."""
    lines = [line.encode("utf-16-le") for line in text.split("\n")]
    data = text.encode("utf-16-le")

    def offset(position: types.Position) -> int:
        return sum(len(line) + 2 for line in lines[: position.line]) + 2 * position.character

    for edit in sorted(edits, key=lambda edit: offset(edit.range.start), reverse=True):
        start, end = offset(edit.range.start), offset(edit.range.end)
        data = data[:start] + edit.new_text.encode("utf-16-le") + data[end:]
    return data.decode("utf-16-le")
