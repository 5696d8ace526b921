"""Check the style limits that a machine can check: `path:line: what` for each fault, exit code 1 on any.

Where the limits leave a choice:
- a code line holds more than a comment or a docstring; a function counts from `def`, inner functions
  included;
- nesting is measured in each function for itself; `match` counts, a comprehension does not, an `elif` is
  as deep as its `if`;
- two parameters may be positional, the rest are keyword-only; a third is allowed, since
  `forward(self, x, y, z)` is natural, and so is `*inputs`;
- an `elif` chain may have four `elif`s;
- a bare participle is a function name of one word (`added`); properties may be named freely;
- tests/ is held to the line length and to the rules for `type: ignore` only.
"""

import ast
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from style_names import Definition, function_name_fault, is_named_freely, twin_faults, type_names
from style_structure import structure_faults, structure_summary

FUNCTION_LINES, FILE_LINES, NESTING, PARAMETERS, POSITIONAL = 46, 400, 3, 6, 3
LINE_LENGTH, ELIFS, REPEATED_LINES = 110, 4, 6
TYPE_IGNORES = 12
"""`type: ignore` comments in yolor_cfg, tools and tests together."""
P95_LINES = 17
"""At most this many code lines in 95 of 100 functions."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTION_TYPES = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPE_TYPES = (*FUNCTION_TYPES, ast.ClassDef, ast.Lambda)
BLOCK_TYPES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Try,
    ast.TryStar,
    ast.Match,
)
BLANK_TOKENS = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
TYPE_IGNORE = re.compile(r"#\s*type:\s*ignore(?P<code>\[[a-z][a-z, -]*\])?(?P<rest>.*)")
CLICK_DECORATORS = {"command", "group", "option", "argument", "pass_context", "pass_obj"}


class StyleFault(NamedTuple):
    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class SourceFile(NamedTuple):
    """One file: `code` maps the row of each code line to its text, without comment, blanks normalised;
    `comments` maps the row of each comment to its text; `nodes` are all of the tree, `signatures` those of
    its functions."""

    path: str
    lines: list[str]
    tree: ast.Module
    code: dict[int, str]
    comments: dict[int, str]
    nodes: list[ast.AST]
    signatures: list["Signature"]

    def make_fault(self, place: ast.AST, what: str) -> StyleFault:
        return StyleFault(self.path, getattr(place, "lineno", 1), what)


class Signature(NamedTuple):
    """A function and the class around it ("" for none)."""

    function: FunctionNode
    owner: str

    @property
    def positional(self) -> list[ast.arg]:
        """Positional parameters without self or cls."""
        arguments = self.function.args
        named = [*arguments.posonlyargs, *arguments.args]
        bound = self.owner and "staticmethod" not in decorators(self.function)
        return named[1:] if bound else named

    @property
    def parameters(self) -> list[ast.arg]:
        arguments = self.function.args
        starred = [star for star in (arguments.vararg, arguments.kwarg) if star]
        return [*self.positional, *arguments.kwonlyargs, *starred]

    @property
    def is_free(self) -> bool:
        """Click callbacks and Detector may take as many parameters as their users have choices."""
        if (self.owner, self.function.name) == ("Detector", "__init__"):
            return True
        return bool(CLICK_DECORATORS & decorators(self.function))


def main(root: Path) -> int:
    sources = [
        read_source(path, root) for folder in ("yolor_cfg", "tools") for path in python_files(root / folder)
    ]
    faults = [fault for source in sources for check in CHECKS for fault in check(source)]
    faults += [*find_repeated_lines(sources), *find_twins(sources)]
    faults += [StyleFault("yolor_cfg", 1, what) for what in structure_faults(root)]
    tests = [read_source(path, root) for path in python_files(root / "tests")]
    faults += [fault for source in tests for fault in find_long_lines(source.path, source.lines)]
    faults += find_type_ignores([*sources, *tests])
    lengths = [count_code_lines(source, function) for source in sources for function, _ in source.signatures]
    if p95(lengths) > P95_LINES:
        what = f"p95 of the functions is {p95(lengths)} lines, at most {P95_LINES}"
        faults.append(StyleFault("yolor_cfg", 1, what))
    for fault in sorted(faults):
        print(fault)
    print(format_summary(len(sources), lengths, len(faults)))
    if (root / "yolor_cfg").is_dir():
        print(structure_summary(root))
    return 1 if faults else 0


def p95(lengths: list[int]) -> int:
    ranked = sorted(lengths) or [0]
    return ranked[round(0.95 * (len(ranked) - 1))]


def format_summary(files: int, lengths: list[int], faults: int) -> str:
    return (
        f"{files} files, {len(lengths)} functions: median {statistics.median(lengths or [0]):g} lines, "
        f"p95 {p95(lengths)}, longest {max(lengths, default=0)}; {faults} faults"
    )


def python_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def split_lines(text: str) -> list[str]:
    """The lines as Python numbers them; str.splitlines would also split at a form feed."""
    return text.removesuffix("\n").split("\n")


def read_source(path: Path, root: Path) -> SourceFile:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, filename=str(path))
    name = path.relative_to(root).as_posix()
    nodes, tokens = list(ast.walk(tree)), list(tokenize.generate_tokens(io.StringIO(text).readline))
    lines = split_lines(text)
    code, comments = code_lines(lines, tokens, nodes), find_comments(tokens)
    return SourceFile(name, lines, tree, code, comments, nodes, list(list_signatures(nodes)))


def find_comments(tokens: list[tokenize.TokenInfo]) -> dict[int, str]:
    """Each comment by its row; a string that only looks like one does not count."""
    return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


def code_lines(whole: list[str], tokens: list[tokenize.TokenInfo], nodes: list[ast.AST]) -> dict[int, str]:
    lines, busy = list(whole), set[int]()
    for token in tokens:
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
        elif token.type not in BLANK_TOKENS:
            busy.update(range(token.start[0], token.end[0] + 1))
    for docstring in docstrings(nodes):
        busy.difference_update(row_range(docstring))
    return {row: " ".join(lines[row - 1].split()) for row in sorted(busy)}


def docstrings(nodes: list[ast.AST]) -> Iterator[ast.Expr]:
    for node in nodes:
        if not isinstance(node, (ast.Module, ast.ClassDef, *FUNCTION_TYPES)):
            continue
        match node.body[:1]:
            case [ast.Expr(value=ast.Constant(value=str())) as docstring]:
                yield docstring


def list_signatures(nodes: list[ast.AST]) -> Iterator[Signature]:
    for node in nodes:
        owner = node.name if isinstance(node, ast.ClassDef) else ""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, FUNCTION_TYPES):
                yield Signature(child, owner)


def decorators(function: FunctionNode) -> set[str]:
    """The last names of the decorators: `option` for `@click.option(...)`."""
    calls = [item.func if isinstance(item, ast.Call) else item for item in function.decorator_list]
    return {ast.unparse(call).rpartition(".")[2] for call in calls}


def count_code_lines(source: SourceFile, function: FunctionNode) -> int:
    return sum(row in source.code for row in row_range(function))


def check_sizes(source: SourceFile) -> Iterator[StyleFault]:
    yield from find_long_lines(source.path, source.lines)
    if len(source.lines) > FILE_LINES:
        yield StyleFault(
            source.path, FILE_LINES + 1, f"file has {len(source.lines)} lines, at most {FILE_LINES}"
        )
    for function, _ in source.signatures:
        lines = count_code_lines(source, function)
        if lines > FUNCTION_LINES:
            yield source.make_fault(
                function, f"{function.name} has {lines} code lines, at most {FUNCTION_LINES}"
            )


def find_long_lines(path: str, lines: list[str]) -> Iterator[StyleFault]:
    for row, line in enumerate(lines, start=1):
        if len(line) > LINE_LENGTH:
            yield StyleFault(path, row, f"line has {len(line)} characters, at most {LINE_LENGTH}")


def find_type_ignores(sources: Iterable[SourceFile]) -> Iterator[StyleFault]:
    """Each `type: ignore` without its code or without a reason behind it, and the first one too many."""
    count = 0
    for source in sources:
        for row, comment in source.comments.items():
            match = TYPE_IGNORE.match(comment)
            if match is None:
                continue
            count += 1
            if not match["code"] or not match["rest"].strip("# "):
                what = "type: ignore without its [code] or without a reason: `# type: ignore[code]  # why`"
                yield StyleFault(source.path, row, what)
            if count == TYPE_IGNORES + 1:
                yield StyleFault(source.path, row, f"more than {TYPE_IGNORES} type: ignore")


def check_signatures(source: SourceFile) -> Iterator[StyleFault]:
    for signature in source.signatures:
        function = signature.function
        bare = [parameter.arg for parameter in signature.parameters if parameter.annotation is None]
        if bare:
            yield source.make_fault(
                function, f"{function.name}: parameter without annotation: {', '.join(bare)}"
            )
        if function.returns is None:
            yield source.make_fault(function, f"{function.name}: return value without annotation")
        if not signature.is_free:
            yield from check_parameters(source, signature)


def check_parameters(source: SourceFile, signature: Signature) -> Iterator[StyleFault]:
    function, total, positional = signature.function, len(signature.parameters), len(signature.positional)
    if total > PARAMETERS:
        yield source.make_fault(function, f"{function.name} has {total} parameters, at most {PARAMETERS}")
    if positional > POSITIONAL:
        what = f"{function.name} has {positional} positional parameters: keyword-only from the third"
        yield source.make_fault(function, what)


def check_nesting(source: SourceFile) -> Iterator[StyleFault]:
    yield from find_deep_blocks(source, source.tree, 0)


def find_deep_blocks(source: SourceFile, node: ast.AST, depth: int) -> Iterator[StyleFault]:
    """Faults below `node`, which lies inside `depth` blocks; only the first block past the limit is named."""
    for child in ast.iter_child_nodes(node):
        inside = depth + (isinstance(child, BLOCK_TYPES) and not is_elif(source, child))
        if inside > NESTING:
            yield source.make_fault(child, f"nested {inside} blocks deep, at most {NESTING}")
        else:
            yield from find_deep_blocks(source, child, 0 if isinstance(child, SCOPE_TYPES) else inside)


def is_elif(source: SourceFile, node: ast.AST) -> bool:
    return isinstance(node, ast.If) and source.lines[node.lineno - 1][node.col_offset :].startswith("elif")


def check_chains(source: SourceFile) -> Iterator[StyleFault]:
    for node in source.nodes:
        if isinstance(node, ast.If) and not is_elif(source, node):
            elifs = sum(1 for _ in elif_chain(source, node)) - 1
            if elifs > ELIFS:
                yield source.make_fault(node, f"chain of {elifs} elif, at most {ELIFS}")


def elif_chain(source: SourceFile, node: ast.If) -> Iterator[ast.If]:
    yield node
    for following in node.orelse[:1]:
        if isinstance(following, ast.If) and is_elif(source, following):
            yield from elif_chain(source, following)


def check_statements(source: SourceFile) -> Iterator[StyleFault]:
    may_print = source.path.startswith(("tools/", "yolor_cfg/cli/"))
    for node in source.nodes:
        match node:
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                yield source.make_fault(node, "star import")
            case ast.ExceptHandler(type=None):
                yield source.make_fault(node, "bare except")
            case ast.Global():
                yield source.make_fault(node, "global")
            case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
                yield source.make_fault(node, f"{name} call")
            case ast.Call(func=ast.Name(id="print")) if not may_print:
                yield source.make_fault(node, "print outside cli/")


def find_repeated_lines(sources: Iterable[SourceFile]) -> Iterator[StyleFault]:
    """Each run of lines that occurs earlier; a longer run is one fault, at its first line."""
    seen: dict[tuple[str, ...], tuple[str, int, int]] = {}
    for source in sources:
        lines = comparable_lines(source)
        before = False
        for start in range(len(lines) - REPEATED_LINES + 1):
            run = tuple(text for _, text in lines[start : start + REPEATED_LINES])
            path, row, index = seen.setdefault(run, (source.path, lines[start][0], start))
            again = path != source.path or start - index >= REPEATED_LINES
            if again and not before:
                yield StyleFault(
                    source.path, lines[start][0], f"repeats {REPEATED_LINES} lines of {path}:{row}"
                )
            before = again


def comparable_lines(source: SourceFile) -> list[tuple[int, str]]:
    """Row and text of the code lines that can repeat: no import, no line of brackets alone."""
    imports = [node for node in source.nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    skipped = {row for node in imports for row in row_range(node)}
    kept = [(row, text) for row, text in source.code.items() if row not in skipped]
    return [(row, text) for row, text in kept if text.strip("()[]{},: ")]


def row_range(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def check_names(source: SourceFile) -> Iterator[StyleFault]:
    for function, _ in source.signatures:
        what = "" if is_named_freely(function) else function_name_fault(function.name)
        if what:
            yield source.make_fault(function, what)


def find_twins(sources: Iterable[SourceFile]) -> Iterator[StyleFault]:
    types = [name for source in sources for name in type_names(source.path, source.tree)]
    functions = [
        Definition(function.name, source.path, function.lineno)
        for source in sources
        for function in source.tree.body
        if isinstance(function, ast.FunctionDef)
    ]
    for name, what in twin_faults(types, functions):
        yield StyleFault(name.path, name.line, what)


CHECKS = (check_sizes, check_signatures, check_nesting, check_chains, check_statements, check_names)

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[1]))
