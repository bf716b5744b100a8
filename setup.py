"""The compiled part; everything else is declared in pyproject.toml."""

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = "medsgd/_core"
C_SOURCES = [f"{CORE}/vector.c"]
C_FILES = C_SOURCES + glob(f"{CORE}/*.h")
# Without contraction, which MSVC only does when asked to, results are the same on every
# instruction set. Nobody reads errno or traps, which would cost branches; NaN and
# infinity keep their meaning. MSVC has `restrict` from C11 on. Debugging symbols, which
# the interpreter's own flags ask for, would be most of a wheel.
COMPILE_ARGS = (
    ["/O2", "/std:c11"]
    if os.name == "nt"
    else ["-O3", "-g0", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"]
)
# How else it is built for checks, which MEDSGD_BUILD chooses (see doc/developer.md).
SANITIZE = [
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
    "-fno-omit-frame-pointer",
    "-O1",
    "-g",
]
BUILDS = {
    "": ([], [], {}),
    "sanitize": (SANITIZE, SANITIZE, {}),
    "boundscheck": (
        [],
        [],
        {"boundscheck": True, "initializedcheck": True, "nonecheck": True},
    ),
    "quick": (["-O0"], [], {}),
    "coverage": (["-O0", "--coverage"], ["--coverage"], {}),
}
compile_args, link_args, directives = BUILDS[os.environ.get("MEDSGD_BUILD", "")]


class BuildExt(build_ext):
    """Build the C library first, also when only ``build_ext`` is asked for."""

    def run(self):
        self.run_command("build_clib")
        super().run()


# Linked into every extension; the linker takes what the extension uses.
libraries = [
    (
        "medsgd_core",
        {
            "sources": C_SOURCES,
            "obj_deps": {"": C_FILES},
            "include_dirs": [CORE],
            "cflags": COMPILE_ARGS + compile_args,
        },
    )
]

extensions = [
    Extension(
        "medsgd._core.*",
        [f"{CORE}/*.pyx"],
        include_dirs=[CORE],
        depends=C_FILES,
        extra_compile_args=COMPILE_ARGS + compile_args,
        extra_link_args=link_args,
    )
]

# cythonize starts processes, which import this file where they cannot fork.
if __name__ == "__main__":
    setup(
        cmdclass={"build_ext": BuildExt},
        libraries=libraries,
        ext_modules=cythonize(
            extensions,
            build_dir="build/cython",
            nthreads=os.cpu_count() or 1,
            compiler_directives={
                "language_level": 3,
                "boundscheck": False,
                "wraparound": False,
                "initializedcheck": False,
                "cdivision": True,
                # Passes write to what they were given and to memory of their own;
                # globals are constants, the table of loops from loading on.
                "freethreading_compatible": True,
                **directives,
            },
        ),
        options={"build_ext": {"parallel": True}},
    )
