"""Builds the kernels of the native engine. Everything else stands in setup.cfg.

They are optional: without a compiler, or on another processor than x86-64, the package installs without them.
"""

import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = Path("yolor_cfg/engines/native/src")
FLAGS = ["-std=c++17", "-O3", "-g0", "-fPIC", "-fvisibility=hidden", "-pthread", "-Wall"]
FLAGS += ["-Wno-uninitialized", "-Wno-maybe-uninitialized"]  # of the headers of GCC 12


class BuildKernels(build_ext):
    """The library is loaded with ctypes and exports no module."""

    def get_export_symbols(self, ext):
        """None: there is no PyInit function."""
        return []


def kernels():
    """The library, where there are kernels for the processor."""
    if platform.machine().lower() not in ("x86_64", "amd64") or platform.system() == "Windows":
        return []
    return [
        Extension(
            "yolor_cfg.engines.native._kernels",
            sources=sorted(str(path) for path in FOLDER.glob("*.cpp")),
            depends=sorted(str(path) for path in FOLDER.iterdir()),
            extra_compile_args=FLAGS,
            extra_link_args=["-pthread"],
            language="c++",
            optional=True,
        )
    ]


setup(ext_modules=kernels(), cmdclass={"build_ext": BuildKernels})
