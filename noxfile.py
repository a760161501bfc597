"""One door to everything that can be run: `nox -s tests`, `nox -s demo`, `nox -l` for the rest.

Every session takes what follows `--` as arguments of its main command: `nox -s tests -- -k retry`.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "floors", "tests", "docs", "demo"]

# Over all cores; a page of the documentation is one story, so a file stays with one worker.
SPREAD = ("-n", "auto", "--dist", "loadfile")
# Pages and pictures are looked after by `docs`, once.
TESTS = ("tests", "--ignore=tests/test_pictures.py")
AGAIN = {"HYPOTHESIS_PROFILE": "again"}  # fewer examples, where the first interpreter has seen them all
NESTED = {**AGAIN, "RESILIENCE_FUSE": "0"}
BENCHED = ("3.11", "3.13")  # the oldest that is supported, and the newest that most have
RESULTS = ".nox/bench-results"
PROJECT = nox.project.load_toml("pyproject.toml")
CANDIDATES = [f"3.{minor}{build}" for minor in range(11, 16) for build in ("", "t")]
PROBE = "import sys; print(sys.implementation.name, *sys.version_info[:2])"


def places(version: str) -> Iterator[Path]:
    """Where an interpreter of this version may be: on the PATH, where pyenv keeps those it has built, beside nox."""
    name = f"python{version}"
    if on_path := shutil.which(name):
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    yield from sorted(pyenv.glob(f"versions/*/bin/{name}"))
    yield Path(sys.executable).with_name(name)


def works(python: Path, version: str) -> bool:
    """Whether it starts and is a CPython of this version: a pyenv shim may stand for one that is not selected."""
    try:
        probe = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.stdout.split() == ["cpython", *version.rstrip("t").split(".")]


def interpreters() -> list[str]:
    """The versions of CPython that this machine has, each made reachable by its plain name."""
    found = []
    for version in CANDIDATES:
        if python := next((place for place in places(version) if works(place, version)), None):
            found.append(version)
            if shutil.which(f"python{version}") != str(python):
                os.environ["PATH"] = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    return found


PYTHONS = interpreters()


def install(session: nox.Session, *groups: str) -> None:
    """Install the project as users get it, and the named dependency groups."""
    session.install(".", *nox.project.dependency_groups(PROJECT, *groups))


@nox.session
def demo(session: nox.Session) -> None:
    """Two hundred orders at three services, run by a process that is killed again and again; none is left half-done."""
    install(session, "demo")
    session.run("python", "-m", "examples.order_saga", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The tests, on every CPython that the machine has: in full on the first, the others only tell what differs.

    What holds for pipelines that are written out has to hold for nested ones: the second runs all nested.
    """
    install(session, "test")
    first, second = session.python == PYTHONS[0], session.python in PYTHONS[1:2]
    command = "pytest", *SPREAD, *(session.posargs or TESTS)
    session.run(*command, env=None if first else NESTED if second else AGAIN)
    if len(PYTHONS) == 1:
        session.run(*command, env=NESTED)


@nox.session
def laws(session: nox.Session) -> None:
    """The laws again, with many more examples, drawn anew in each run."""
    install(session, "test")
    session.run("pytest", *SPREAD, "-m", "law", "--timeout=1800", *session.posargs, env={"HYPOTHESIS_PROFILE": "full"})


@nox.session(python=[version for version in BENCHED if version in PYTHONS])
def bench(session: nox.Session) -> None:
    """What everything costs, beside others: measured on each CPython in turn, and written into docs/performance.md."""
    install(session, "bench")
    brief = [] if session.python == BENCHED[0] else ["--brief"]
    session.run("python", "-m", "benchmarks", "--results", RESULTS, *(session.posargs or brief))
    if not session.posargs:
        session.run("python", "-m", "benchmarks", "--results", RESULTS, "--page", "docs")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, spelling, and a docstring on everything public."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check", *session.posargs)
    session.run("codespell")
    session.run("python", "tools/docstrings.py", "src", "examples", "tools")


@nox.session
def types(session: nox.Session) -> None:
    """Two strict checkers over the package, its good uses and its bad ones; every public name fully typed."""
    install(session, "types")
    session.run("mypy", "-p", "resilience", *session.posargs)
    session.run("mypy", "tests/typing/good.py", "tests/typing/good_flow.py", "tests/typing/good_sagas.py")
    session.run("pyright", *session.posargs)
    session.run("python", "tools/expected_errors.py", "tests/typing/bad.py")
    session.run("python", "tools/expected_errors.py", "tests/typing/bad_flow.py")
    session.run("python", "tools/expected_errors.py", "tests/typing/bad_sagas.py")
    session.run("pyright", "--verifytypes", "resilience", "--ignoreexternal")


@nox.session
def floors(session: nox.Session) -> None:
    """Imports go down only, and modules and functions stay small."""
    install(session, "floors")
    session.run("lint-imports", *session.posargs)
    session.run("python", "tools/shape.py", "src")


@nox.session
def docs(session: nox.Session) -> None:
    """Every example of the documentation runs, every link leads somewhere, and the site builds without a warning."""
    install(session, "docs")
    session.run("pytest", *SPREAD, "README.md", "docs", "tests/test_pictures.py", *session.posargs)
    session.run("python", "tools/links.py", *(str(page) for page in Path().glob("*.md")), "docs")
    session.run("sphinx-build", "-W", "-n", "-q", "-E", "docs", "docs/_build/html")
    session.log(f"the site: file://{Path('docs/_build/html/index.html').resolve()}")


@nox.session(python=PYTHONS[:1])
def lowest(session: nox.Session) -> None:
    """The tests with exactly the lowest versions that the metadata promises, on the lowest CPython there is."""
    promised = [re.sub(">=([^,]+).*", r"==\1", requirement) for requirement in PROJECT["project"]["dependencies"]]
    # OpenTelemetry's instrumentations of that age ask for `pkg_resources`, which setuptools has given up since.
    session.install(*promised, ".", *nox.project.dependency_groups(PROJECT, "test"), "setuptools<81")
    old = ("-W", "ignore:pkg_resources is deprecated")
    session.run("pytest", *old, *SPREAD, *(session.posargs or TESTS), env=AGAIN)
