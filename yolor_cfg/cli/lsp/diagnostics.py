"""What is wrong in an open text, sent to the editor a moment after a change, and ways to mend it."""

from __future__ import annotations

import asyncio

from lsprotocol import types

from yolor_cfg.analysis.cfg_check import Remark
from yolor_cfg.analysis.editor.faults import Remedy, list_remarks, list_remedies, locate, name_fault
from yolor_cfg.cli.lsp.server import NAME, CfgServer, OpenText
from yolor_cfg.errors import CfgError

DELAY = 0.08  # seconds without a change before a text is judged: typing is not disturbed
SEVERITIES = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "note": types.DiagnosticSeverity.Information,
}
IDLE = "has no effect"


class Publisher:
    """Sends what is wrong in each text: at once when it is opened, later when it has not changed for
    `DELAY`."""

    def __init__(self, server: CfgServer) -> None:
        self._server = server
        self._waiting: dict[str, asyncio.TimerHandle] = {}
        self._judged: dict[str, tuple[OpenText, list[Remark]]] = {}

    def judge(self, uri: str) -> tuple[OpenText, list[Remark]]:
        """The text as it stands now, and what is wrong in it."""
        text = self._server.open_text(uri)
        if uri not in self._judged or self._judged[uri][0] is not text:
            self._judged[uri] = text, list_remarks(text.reading)
        return self._judged[uri]

    def publish(self, uri: str) -> None:
        """Send what is wrong in the text as it stands now."""
        self._stop_waiting(uri)
        text, remarks = self.judge(uri)
        found = [to_diagnostic(text, remark) for remark in remarks]
        version = self._server.workspace.get_text_document(uri).version
        self._send(uri, found, version=version)

    def plan(self, uri: str) -> None:
        """Do so if nothing comes first."""
        self._stop_waiting(uri)
        self._waiting[uri] = asyncio.get_running_loop().call_later(DELAY, self.publish, uri)

    def clear(self, uri: str) -> None:
        """Take back what was said about a text that was closed."""
        self._stop_waiting(uri)
        self._server.forget(uri)
        self._judged.pop(uri, None)
        self._send(uri, [], version=None)

    def _stop_waiting(self, uri: str) -> None:
        waiting = self._waiting.pop(uri, None)
        if waiting:
            waiting.cancel()

    def _send(self, uri: str, found: list[types.Diagnostic], *, version: int | None) -> None:
        params = types.PublishDiagnosticsParams(uri, found, version)
        self._server.text_document_publish_diagnostics(params)


def add_diagnostics(server: CfgServer) -> None:
    """Let the server tell what is wrong, and how to mend it."""
    publisher = Publisher(server)

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def open_(params: types.DidOpenTextDocumentParams) -> None:
        publisher.publish(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def change(params: types.DidChangeTextDocumentParams) -> None:
        publisher.plan(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def close(params: types.DidCloseTextDocumentParams) -> None:
        publisher.clear(params.text_document.uri)

    kinds = types.CodeActionOptions([types.CodeActionKind.QuickFix])

    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION, kinds)
    def list_actions(params: types.CodeActionParams) -> list[types.CodeAction]:
        return find_actions(*publisher.judge(params.text_document.uri), params.range)


def to_diagnostic(text: OpenText, remark: Remark) -> types.Diagnostic:
    """A remark as the editor shows it."""
    fault = remark.fault
    idle = [types.DiagnosticTag.Unnecessary] if fault.message.startswith(IDLE) else None
    return types.Diagnostic(
        text.positions.to_range(locate(text.reading, fault)),
        format_message(fault),
        severity=SEVERITIES[remark.kind],
        code=name_fault(fault),
        source=NAME,
        tags=idle,
    )


def format_message(fault: CfgError) -> str:
    """The message with what was found, what is allowed and a hint, without the place."""
    subject = f"{fault.key}: " if fault.key else ""
    rows = (("found", fault.found), ("allowed", fault.allowed), ("hint", fault.hint))
    return "\n".join([subject + fault.message, *(f"{label}: {words}" for label, words in rows if words)])


def find_actions(text: OpenText, remarks: list[Remark], place: types.Range) -> list[types.CodeAction]:
    """The ways to mend what is wrong in this range."""
    told = [(remark, to_diagnostic(text, remark)) for remark in remarks]
    return [
        _to_action(text, remedy, diagnostic)
        for remark, diagnostic in told
        if _overlap(diagnostic.range, place)
        for remedy in list_remedies(text.reading, remark.fault)
    ]


def _overlap(one: types.Range, other: types.Range) -> bool:
    return one.start <= other.end and other.start <= one.end


def _to_action(text: OpenText, fix: Remedy, diagnostic: types.Diagnostic) -> types.CodeAction:
    edit = types.TextEdit(text.positions.to_range(fix.edit.span), fix.edit.text)
    return types.CodeAction(
        fix.title,
        types.CodeActionKind.QuickFix,
        [diagnostic],
        is_preferred=fix.is_sure,
        edit=types.WorkspaceEdit({text.uri: [edit]}),
    )
