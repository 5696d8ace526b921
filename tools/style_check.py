"""Check the style limits that a machine can check: `path:line: what` for each fault, exit code 1 on any.

Choices where the limits leave one open:
- a code line holds more than a comment or a docstring; a function counts from `def`, inner ones included;
- nesting is measured in each function for itself; `match` counts, a comprehension does not, an `elif` is
  as deep as its `if`;
- two parameters may be positional, the rest are keyword-only; a third is let through, since
  `forward(self, x, y, z)` is natural, and so is `*inputs`;
- an `elif` chain may have four `elif`s;
- names of functions are looked at one by one; a bare participle is one word (`added`), properties are free;
- tests/ is held to the line length only.
"""

import ast
import io
import statistics
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from style_names import Name, function_name_fault, is_named_freely, twin_faults, type_names
from style_structure import structure_faults, structure_summary

FUNCTION_LINES, FILE_LINES, NESTING, PARAMETERS, POSITIONAL = 46, 400, 3, 6, 3
LINE_LENGTH, ELIFS, REPEATED_LINES = 110, 4, 6
P95_LINES = 17
"""So many code lines at most have 95 of 100 functions."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPE = (*FUNCTION, ast.ClassDef, ast.Lambda)
BLOCK = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)
BLANK = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
CLICK_DECORATORS = {"command", "group", "option", "argument", "pass_context", "pass_obj"}


class Fault(NamedTuple):
    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


class Source(NamedTuple):
    """One file: `code` maps the row of each code line to its text, without comment, blanks normalised."""

    path: str
    lines: list[str]
    tree: ast.Module
    code: dict[int, str]

    def fault(self, place: ast.AST, what: str) -> Fault:
        return Fault(self.path, getattr(place, "lineno", 1), what)


class Signature(NamedTuple):
    """A function and the class around it ("" for none)."""

    function: Function
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
    sources = [read(path, root) for folder in ("yolor_cfg", "tools") for path in python_files(root / folder)]
    faults = [fault for source in sources for check in CHECKS for fault in check(source)]
    faults += repeated(sources)
    for path in python_files(root / "tests"):
        faults += long_lines(path.relative_to(root).as_posix(), split(path.read_text(encoding="utf-8")))
    for fault in sorted(faults):
        print(fault)
    lengths = [length(source, function) for source in sources for function, _ in signatures(source.tree)]
    print(summary(len(sources), lengths, len(faults)))
    return 1 if faults else 0


def summary(files: int, lengths: list[int], faults: int) -> str:
    ranked = sorted(lengths) or [0]
    p95 = ranked[round(0.95 * (len(ranked) - 1))]
    return (
        f"{files} files, {len(lengths)} functions: median {statistics.median(ranked):g} lines, "
        f"p95 {p95}, longest {ranked[-1]}; {faults} faults"
    )


def python_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def split(text: str) -> list[str]:
    """The lines as Python numbers them; str.splitlines would also split at a form feed."""
    return text.removesuffix("\n").split("\n")


def read(path: Path, root: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, filename=str(path))
    return Source(path.relative_to(root).as_posix(), split(text), tree, code_lines(text, tree))


def code_lines(text: str, tree: ast.Module) -> dict[int, str]:
    lines = split(text)
    busy: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
        elif token.type not in BLANK:
            busy.update(range(token.start[0], token.end[0] + 1))
    for docstring in docstrings(tree):
        busy.difference_update(rows(docstring))
    return {row: " ".join(lines[row - 1].split()) for row in sorted(busy)}


def docstrings(tree: ast.Module) -> Iterator[ast.Expr]:
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, *FUNCTION)):
            continue
        match node.body[:1]:
            case [ast.Expr(value=ast.Constant(value=str())) as docstring]:
                yield docstring


def signatures(tree: ast.Module) -> Iterator[Signature]:
    for node in ast.walk(tree):
        owner = node.name if isinstance(node, ast.ClassDef) else ""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, FUNCTION):
                yield Signature(child, owner)


def decorators(function: Function) -> set[str]:
    """The last names of the decorators: `option` for `@click.option(...)`."""
    calls = [item.func if isinstance(item, ast.Call) else item for item in function.decorator_list]
    return {ast.unparse(call).rpartition(".")[2] for call in calls}


def length(source: Source, function: Function) -> int:
    return sum(row in source.code for row in rows(function))


def check_sizes(source: Source) -> Iterator[Fault]:
    yield from long_lines(source.path, source.lines)
    if len(source.lines) > FILE_LINES:
        yield Fault(source.path, FILE_LINES + 1, f"file has {len(source.lines)} lines, at most {FILE_LINES}")
    for function, _ in signatures(source.tree):
        lines = length(source, function)
        if lines > FUNCTION_LINES:
            yield source.fault(function, f"{function.name} has {lines} code lines, at most {FUNCTION_LINES}")


def long_lines(path: str, lines: list[str]) -> Iterator[Fault]:
    for row, line in enumerate(lines, start=1):
        if len(line) > LINE_LENGTH:
            yield Fault(path, row, f"line has {len(line)} characters, at most {LINE_LENGTH}")


def check_signatures(source: Source) -> Iterator[Fault]:
    for signature in signatures(source.tree):
        function = signature.function
        bare = [parameter.arg for parameter in signature.parameters if parameter.annotation is None]
        if bare:
            yield source.fault(function, f"{function.name}: parameter without annotation: {', '.join(bare)}")
        if function.returns is None:
            yield source.fault(function, f"{function.name}: return value without annotation")
        if not signature.is_free:
            yield from crowded(source, signature)


def crowded(source: Source, signature: Signature) -> Iterator[Fault]:
    function, total, positional = signature.function, len(signature.parameters), len(signature.positional)
    if total > PARAMETERS:
        yield source.fault(function, f"{function.name} has {total} parameters, at most {PARAMETERS}")
    if positional > POSITIONAL:
        what = f"{function.name} has {positional} positional parameters: keyword-only from the third"
        yield source.fault(function, what)


def check_nesting(source: Source) -> Iterator[Fault]:
    yield from too_deep(source, source.tree, 0)


def too_deep(source: Source, node: ast.AST, depth: int) -> Iterator[Fault]:
    """Faults below `node`, which lies inside `depth` blocks; only the first block past the limit is named."""
    for child in ast.iter_child_nodes(node):
        inside = depth + (isinstance(child, BLOCK) and not is_elif(source, child))
        if inside > NESTING:
            yield source.fault(child, f"nested {inside} blocks deep, at most {NESTING}")
        else:
            yield from too_deep(source, child, 0 if isinstance(child, SCOPE) else inside)


def is_elif(source: Source, node: ast.AST) -> bool:
    return isinstance(node, ast.If) and source.lines[node.lineno - 1][node.col_offset :].startswith("elif")


def check_chains(source: Source) -> Iterator[Fault]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.If) and not is_elif(source, node):
            elifs = sum(1 for _ in chain(source, node)) - 1
            if elifs > ELIFS:
                yield source.fault(node, f"chain of {elifs} elif, at most {ELIFS}")


def chain(source: Source, node: ast.If) -> Iterator[ast.If]:
    yield node
    for following in node.orelse[:1]:
        if isinstance(following, ast.If) and is_elif(source, following):
            yield from chain(source, following)


def check_statements(source: Source) -> Iterator[Fault]:
    may_print = source.path.startswith(("tools/", "yolor_cfg/cli/"))
    for node in ast.walk(source.tree):
        match node:
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                yield source.fault(node, "star import")
            case ast.ExceptHandler(type=None):
                yield source.fault(node, "bare except")
            case ast.Global():
                yield source.fault(node, "global")
            case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
                yield source.fault(node, f"{name} call")
            case ast.Call(func=ast.Name(id="print")) if not may_print:
                yield source.fault(node, "print outside cli/")


def repeated(sources: Iterable[Source]) -> Iterator[Fault]:
    """Each run of lines that stands elsewhere already; a longer run is one fault, at its first line."""
    seen: dict[tuple[str, ...], tuple[str, int, int]] = {}
    for source in sources:
        lines = comparable(source)
        before = False
        for start in range(len(lines) - REPEATED_LINES + 1):
            run = tuple(text for _, text in lines[start : start + REPEATED_LINES])
            path, row, index = seen.setdefault(run, (source.path, lines[start][0], start))
            again = path != source.path or start - index >= REPEATED_LINES
            if again and not before:
                yield Fault(source.path, lines[start][0], f"repeats {REPEATED_LINES} lines of {path}:{row}")
            before = again


def comparable(source: Source) -> list[tuple[int, str]]:
    """Row and text of the code lines that can repeat: no import, no line of brackets alone."""
    imports = [node for node in ast.walk(source.tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    skipped = {row for node in imports for row in rows(node)}
    kept = [(row, text) for row, text in source.code.items() if row not in skipped]
    return [(row, text) for row, text in kept if text.strip("()[]{},: ")]


def rows(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


CHECKS = (check_sizes, check_signatures, check_nesting, check_chains, check_statements)

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[1]))
