"""torch's own files: a program of torch.export, and what AOTInductor compiles from it for this processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from yolor_cfg.errors import MissingExtra


def write_program(program: ExportedProgram, path: Path, *, facts: dict[str, Any]) -> None:
    """A program: `torch.export.load(path).module()` is a function of images; the facts are files in it."""
    texts = {f"{name}.json": str(value) for name, value in facts.items()}
    torch.export.save(program, path, extra_files=texts)


def write_package(program: ExportedProgram, path: Path, *, facts: dict[str, Any]) -> None:
    """Compiled code: `torch._inductor.aoti_load_package(path)` is a function of images, also in C++ without
    Python."""
    metadata = {name: str(value) for name, value in facts.items()}
    with torch.no_grad():
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(path), inductor_configs={"aot_inductor.metadata": metadata}
        )


def check_compiler() -> None:
    """Raise MissingExtra where torch finds no C++ compiler."""
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as cause:
        hint = "this format is compiled: it needs g++ or clang++ (the environment variable CXX names another)"
        raise MissingExtra(line="no C++ compiler", hint=hint) from cause
