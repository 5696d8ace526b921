"""What the server answers about an open text: each function answers one request of the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from lsprotocol import types

from yolor_cfg.analysis.editor.complete import Candidate, list_candidates
from yolor_cfg.analysis.editor.hover import describe_place
from yolor_cfg.analysis.editor.outline import OutlineEntry, list_entries, list_folds, list_hints
from yolor_cfg.analysis.editor.places import find_readers, find_targets, header_span, reference_at
from yolor_cfg.cli.lsp.server import CfgServer, OpenText
from yolor_cfg.errors import CfgError
from yolor_cfg.lang.syntax import normalize_document, parse

TRIGGERS = ["[", "=", ",", "-"]
KINDS = {
    "section": types.CompletionItemKind.Class,
    "key": types.CompletionItemKind.Property,
    "value": types.CompletionItemKind.EnumMember,
    "reference": types.CompletionItemKind.Reference,
}


def add_answers(server: CfgServer) -> None:
    """Let the server answer these requests."""
    triggers = types.CompletionOptions(trigger_characters=TRIGGERS)
    server.feature(types.INITIALIZE)(initialize)
    server.feature(types.TEXT_DOCUMENT_HOVER)(hover)
    server.feature(types.TEXT_DOCUMENT_COMPLETION, triggers)(complete)
    server.feature(types.TEXT_DOCUMENT_DEFINITION)(find_definition)
    server.feature(types.TEXT_DOCUMENT_REFERENCES)(find_references)
    server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)(list_symbols)
    server.feature(types.TEXT_DOCUMENT_FOLDING_RANGE)(list_folding_ranges)
    server.feature(types.TEXT_DOCUMENT_INLAY_HINT)(list_inlay_hints)
    server.feature(types.TEXT_DOCUMENT_FORMATTING)(format_text)


def initialize(server: CfgServer, params: types.InitializeParams) -> None:
    """The first request: pygls answers it."""
    server.use_own_workspace(params)


def hover(server: CfgServer, params: types.HoverParams) -> types.Hover | None:
    """What the section, the key or the number under the cursor is."""
    text = server.open_text(params.text_document.uri)
    found = describe_place(text.reading, *text.place_of(params.position))
    if found is None:
        return None
    content = types.MarkupContent(types.MarkupKind.Markdown, found.text)
    return types.Hover(content, text.positions.to_range(found.span))


def complete(server: CfgServer, params: types.CompletionParams) -> list[types.CompletionItem]:
    """What may be written here."""
    text = server.open_text(params.text_document.uri)
    found = list_candidates(text.reading, *text.place_of(params.position))
    return [_to_item(text, one, place) for place, one in enumerate(found)]


def _to_item(text: OpenText, one: Candidate, place: int) -> types.CompletionItem:
    manual = types.MarkupContent(types.MarkupKind.Markdown, one.manual) if one.manual else None
    return types.CompletionItem(
        label=one.label,
        kind=KINDS[one.kind],
        detail=one.detail or None,
        documentation=manual,
        sort_text=f"{one.rank:05d}{place:05d}",
        filter_text=one.label,
        text_edit=types.TextEdit(text.positions.to_range(one.span), one.text),
    )


def find_definition(server: CfgServer, params: types.DefinitionParams) -> list[types.Location]:
    """The sections that are named here, or that this one reads."""
    text = server.open_text(params.text_document.uri)
    return [text.location(span) for span in find_targets(text.reading, *text.place_of(params.position))]


def find_references(server: CfgServer, params: types.ReferenceParams) -> list[types.Location]:
    """All that reads the section that is named here, else the one that the cursor is in."""
    text = server.open_text(params.text_document.uri)
    line, column = text.place_of(params.position)
    named, here = reference_at(text.reading, line, column), text.reading.block_at(line)
    number = named.target if named else here.number if here else None
    block = None if number is None else text.reading.find_block(number)
    if block is None:
        return []
    own = [header_span(block.header)] if params.context.include_declaration else []
    spans = own + [span for _, span in find_readers(text.reading, block.number)]
    return [text.location(span) for span in spans]


def list_symbols(server: CfgServer, params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
    """The outline: sections with number and shape."""
    text = server.open_text(params.text_document.uri)
    return [_to_symbol(text, entry) for entry in list_entries(text.reading)]


def _to_symbol(text: OpenText, entry: OutlineEntry) -> types.DocumentSymbol:
    header, end = text.positions.to_range(entry.header), text.positions.to_range(entry.end)
    kind = types.SymbolKind.Event if entry.is_head else types.SymbolKind.Class
    whole = types.Range(header.start, end.end)
    return types.DocumentSymbol(entry.name, kind, whole, header, detail=entry.detail or None)


def list_folding_ranges(server: CfgServer, params: types.FoldingRangeParams) -> list[types.FoldingRange]:
    """Sections and comments."""
    text = server.open_text(params.text_document.uri)
    return [
        types.FoldingRange(
            text.positions.to_client(fold.first, 0).line,
            text.positions.to_client(fold.last, 0).line,
            kind=types.FoldingRangeKind.Comment if fold.is_comment else types.FoldingRangeKind.Region,
        )
        for fold in list_folds(text.reading)
    ]


def list_inlay_hints(server: CfgServer, params: types.InlayHintParams) -> list[types.InlayHint]:
    """Shapes behind headers, numbers of sections behind those that count back."""
    text = server.open_text(params.text_document.uri)
    (first, _), (last, _) = text.place_of(params.range.start), text.place_of(params.range.end)
    return [
        types.InlayHint(
            text.positions.to_client(hint.line, hint.column), hint.text, tooltip=hint.tip, padding_left=True
        )
        for hint in list_hints(text.reading, first, last)
    ]


def format_text(server: CfgServer, params: types.DocumentFormattingParams) -> Sequence[types.TextEdit]:
    """The text in the normal form of `yolor cfg format`; nothing if it cannot be read."""
    text = server.open_text(params.text_document.uri)
    with suppress(CfgError):
        normal = normalize_document(parse(text.source))
        return [types.TextEdit(text.positions.whole(), normal)] if normal != text.source else []
    return []
