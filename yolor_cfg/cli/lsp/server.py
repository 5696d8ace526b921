"""The open texts of a language server, each read once for a version."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import unquote

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument, Workspace

from yolor_cfg.analysis.editor.places import TextSpan
from yolor_cfg.analysis.editor.reading import Reading, read_text
from yolor_cfg.cli.lsp.positions import CfgDocument, Positions
from yolor_cfg.graph import ReadOptions

NAME = "yolor"


class OpenText(NamedTuple):
    """A text that is open in the editor: where it is, what it says, and its places in the editor's units."""

    uri: str
    source: str
    reading: Reading
    positions: Positions

    def place_of(self, position: types.Position) -> tuple[int, int]:
        """Line, counted from 1, and character."""
        return self.positions.from_client(position)

    def location(self, span: TextSpan) -> types.Location:
        """A span of this text, for the editor."""
        return types.Location(self.uri, self.positions.to_range(span))


class CfgWorkspace(Workspace):
    """The open texts, with lines as the protocol counts them."""

    def check_open(self, uri: str) -> None:
        """Raise JsonRpcInvalidParams for a text that is not open."""
        if unquote(uri) not in self.text_documents:
            raise JsonRpcInvalidParams(f"this text is not open: {uri}")

    def update_text_document(
        self,
        text_doc: types.VersionedTextDocumentIdentifier,
        change: types.TextDocumentContentChangeEvent,
    ) -> None:
        """Change an open text; raises JsonRpcInvalidParams for another."""
        self.check_open(text_doc.uri)
        super().update_text_document(text_doc, change)

    def _create_text_document(self, *facts: Any, **named: Any) -> TextDocument:
        made = super()._create_text_document(*facts, **named)
        content = made.uri, made._source, made.version, made.language_id
        return CfgDocument(*content, sync_kind=self._sync_kind, position_codec=made.position_codec)


class CfgServer(LanguageServer):
    """A language server for cfgs in the dialect stated, or else in that of each text."""

    def __init__(self, version: str, dialect: str | None = None) -> None:
        super().__init__(NAME, version)
        self._options = ReadOptions(dialect=dialect)
        self._known: dict[str, OpenText] = {}

    def use_own_workspace(self, params: types.InitializeParams) -> None:
        """Take over the workspace that pygls made for this client."""
        made = self.protocol.workspace
        folders = params.workspace_folders
        own = CfgWorkspace(made.root_uri, self._text_document_sync_kind, folders, made.position_encoding)
        self.protocol._workspace = own

    @property
    def workspace(self) -> CfgWorkspace:
        """The open texts."""
        own = self.protocol.workspace
        assert isinstance(own, CfgWorkspace)
        return own

    def open_text(self, uri: str) -> OpenText:
        """The text of this address as it stands now; raises JsonRpcInvalidParams if it is not open: files are
        not read from here."""
        self.workspace.check_open(uri)
        document = self.workspace.get_text_document(uri)
        known = self._known.get(uri)
        if known is None or known.source != document.source:
            reading = read_text(document.source, document.path or uri, self._options)
            positions = Positions([line.text for line in reading.lines], document.position_codec)
            known = self._known[uri] = OpenText(uri, document.source, reading, positions)
        return known

    def forget(self, uri: str) -> None:
        """The text was closed."""
        self._known.pop(uri, None)
