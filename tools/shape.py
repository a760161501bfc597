"""Keep the code small: fails when a module or a function grows past what one can take in at a glance."""

import ast
import statistics
import sys
from pathlib import Path

MODULE = 400
FUNCTION = 60
MEDIAN = 7


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a module, methods and nested ones too."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the signature and the body; a docstring is not counted, since nobody should write less of it."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return lines - ((first.end_lineno or first.lineno) - first.lineno + 1 if documented else 0)


def main(*roots: str) -> int:
    """Measure every module under the roots; print what is too long, and the figures."""
    problems, lengths = [], []
    for path in sorted(path for root in roots for path in Path(root).rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if (lines := source.count("\n")) > MODULE:
            problems.append(f"{path}: {lines} lines, at most {MODULE}")
        for function in functions(ast.parse(source)):
            lengths.append(lines := length(function))
            if lines > FUNCTION:
                problems.append(f"{path}:{function.lineno}: {function.name} has {lines} lines, at most {FUNCTION}")
    if (median := statistics.median(lengths)) > MEDIAN:
        problems.append(f"the median function has {median} lines, at most {MEDIAN}")
    print(*problems, f"{len(lengths)} functions, median {median}, longest {max(lengths)} lines", sep="\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
