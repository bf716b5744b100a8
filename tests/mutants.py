"""Small faults in the package, each of which a named test file has to notice.

``python tests/mutants.py`` makes them one at a time in a copy of the checkout, builds
that and runs the tests. A fault that they pass with is a test to be written.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Mutant(NamedTuple):
    """A fault: in a file of the package, one piece of text in place of another."""

    file: str
    old: str
    new: str
    tests: str


FAULTS = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())["faults"]
MUTANTS = [
    Mutant(faults["file"], old, new, faults["tests"])
    for faults in FAULTS
    for old, new in faults["texts"]
]


def check_texts():
    """Each text is in its file once."""
    for mutant in MUTANTS:
        n = (ROOT / "medsgd" / mutant.file).read_text().count(mutant.old)
        assert n == 1, f"{mutant.old!r} stands {n} times in {mutant.file}"


def copied(folder):
    """A copy of the checkout, built."""
    folder.mkdir()
    subprocess.run([ROOT / ".ci" / "copy", folder], check=True)
    build(folder)
    return folder


def run(folder, *args):
    """Run Python in a copy; the vectors' loops need not be fast."""
    extra = {"PYTHONPATH": str(folder), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *args],
        cwd=folder,
        env=os.environ | extra | {"MEDSGD_BUILD": "quick"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def build(folder):
    """Build what has changed in a copy."""
    run(folder, "setup.py", "build_ext", "--inplace").check_returncode()


def run_tests(folder, names):
    """Run test files in a copy."""
    tests = [f"tests/{name}.py" for name in names]
    return run(folder, "-m", "pytest", "-q", "-x", *tests)


def survives(folder, mutant):
    """Whether the tests pass with a fault."""
    path = folder / "medsgd" / mutant.file
    right = path.read_text()
    path.write_text(right.replace(mutant.old, mutant.new))
    try:
        # Also of a fault in Python, for the one before it may not have been.
        build(folder)
        try:
            result = run_tests(folder, mutant.tests.split())
        except subprocess.TimeoutExpired:
            return False
    finally:
        path.write_text(right)
    # Neither of these is a failure or a crash.
    assert result.returncode not in (2, 3, 4, 5), result.stdout + result.stderr
    return result.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1, help="copies to work in")
    parser.add_argument("--first", type=int, default=0, help="faults to leave out")
    parser.add_argument("--only", default="", help="a part of the files' names")
    args = parser.parse_args()
    check_texts()
    mutants = [mutant for mutant in MUTANTS[args.first :] if args.only in mutant.file]
    with tempfile.TemporaryDirectory() as root, ThreadPoolExecutor(args.jobs) as pool:
        folders = SimpleQueue()
        for k in range(args.jobs):
            folders.put(copied(Path(root) / str(k)))

        @contextmanager
        def borrowed():
            folder = folders.get()
            try:
                yield folder
            finally:
                folders.put(folder)

        def check_passes(name):
            with borrowed() as folder:
                result = run_tests(folder, [name])
            assert result.returncode == 0, result.stdout + result.stderr

        # Or a failure would say nothing of a fault.
        list(pool.map(check_passes, {n for m in mutants for n in m.tests.split()}))

        def try_out(mutant):
            with borrowed() as folder:
                alive = survives(folder, mutant)
            word = "SURVIVED" if alive else "noticed"
            print(
                f"{word}: {mutant.file}: {mutant.old!r} -> {mutant.new!r}", flush=True
            )
            return alive

        n_alive = sum(pool.map(try_out, mutants))
    print(f"{len(mutants)} faults, {n_alive} survived")
    sys.exit(bool(n_alive))


if __name__ == "__main__":
    main()
