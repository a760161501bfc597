"""Everything public says what it is: a docstring on each module, class, function and method without an underscore.

Private modules count too, since public names are made there; what is defined inside a function does not.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Documented]]:
    """The public classes and functions of a module or class, by their full names."""
    for node in body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            yield f"{prefix}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{prefix}.{node.name}")


def is_signature(node: Documented) -> bool:
    """Whether it is one of several signatures of a function, which is documented once, with its body."""
    return any(isinstance(decorator, ast.Name) and decorator.id == "overload" for decorator in node.decorator_list)


def main(*roots: str) -> int:
    """Look into every module under the roots; print what says nothing."""
    silent, count = [], 0
    for path in sorted(path for root in roots for path in Path(root).rglob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        named: list[tuple[str, ast.Module | Documented]] = [(str(path), module)]
        named += [(name, node) for name, node in public(module.body, str(path)) if not is_signature(node)]
        count += len(named)
        silent += [f"{name}: no docstring" for name, node in named if not ast.get_docstring(node)]
    print(*silent, f"{count - len(silent)} of {count} documented", sep="\n")
    return bool(silent)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
