"""The site: Sphinx, MyST and furo. `nox -s docs` builds it; nothing here needs the network.

Three things are ours: the pictures are drawn before the pages are read, the docstrings (Markdown fences and backticks,
Google's sections) are told to Sphinx in its own tongue, and an `<a id="..."></a>` in a page is a target of links.
"""

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from html import escape
from pathlib import Path
from typing import Any, cast

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject

import resilience
import resilience.errors
import resilience.events
import resilience.http
import resilience.saga
import resilience.saga.barrier
import resilience.testing

HERE = Path(__file__).parent

project = "resilience"
author = "The authors of resilience"
html_title = "resilience"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_design"]
exclude_patterns = ["_build", "_pictures"]
nitpicky = True
language = "en"

# What signatures name, and what has its home in the documentation of others: Python's own, and type variables.
nitpick_ignore_regex = [
    ("py:.*", r"(collections\.abc|concurrent\.futures|datetime|typing)\..+"),
    ("py:.*", r"Any|Awaitable|Callable|Coroutine|Future|Iterator|AsyncIterator|Literal|NoReturn|Self|Unpack"),
    ("py:.*", r"BaseException|Exception|TimeoutError|UserWarning|TracebackType|timedelta"),
    ("py:.*", r"(.*\.)?(F|J|P|R|S|T|U|P\.args|P\.kwargs|Input|Made|Output)"),
    ("py:.*", r"(os\.)?PathLike|(pathlib\.)?Path|(array\.)?array"),
    ("py:.*", r"sqlite3\.Connection|types\.EllipsisType|OnEnd|Connection|Headers"),
    # Nobody makes one.
    ("py:.*", r"(resilience\.saga\.(_step|_declaration|_parts)\.)?(Step|Nested|Declared|Definition|Part)"),
    ("py:.*", r"RetryCallState"),  # tenacity's
    ("py:.*", r"(resilience\._pipeline\.)?FallbackPipeline"),  # `Pipeline(fallback(...), ...)` makes it
    ("py:.*", r"resilience\._core\.windows\.Rate"),  # what `FailureRate` and `SlowRate` have in common
]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_numpy_docstring = False
add_module_names = False
python_maximum_signature_line_length = 80
python_display_short_literal_types = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5d57",
        "color-brand-content": "#0b5d57",
        "color-code-background": "#f5f7f8",
        "color-api-name": "#0b5d57",
        "color-api-pre-name": "#5b6b6a",
    },
    "dark_css_variables": {
        "color-code-background": "#1a1f24",
        "color-brand-primary": "#6fd0c5",
        "color-brand-content": "#6fd0c5",
        "color-api-name": "#6fd0c5",
        "color-api-pre-name": "#9fb0ae",
    },
}
pygments_style = "vs"
pygments_dark_style = "github-dark"


def draw(app: Sphinx) -> None:
    """Draw the pictures anew if a script, or the library that they show, is younger than they are."""
    scripts, out = HERE / "pictures", HERE / "_pictures"
    if not (scripts / "__main__.py").exists():
        return
    package = Path(resilience.__file__).parent
    sources = [*scripts.rglob("*.py"), *package.rglob("*.py")]
    drawn = [picture.stat().st_mtime for picture in out.glob("*.svg")]
    if not drawn or max(source.stat().st_mtime for source in sources) > min(drawn):
        subprocess.run([sys.executable, str(scripts), str(out)], check=True, stdout=subprocess.DEVNULL)


# Docstrings

PUBLIC = {
    **{name: f"resilience.{name}" for name in resilience.__all__},
    **{name: f"resilience.events.{name}" for name in resilience.events.__all__},
    **{name: f"resilience.http.{name}" for name in resilience.http.__all__},
    **{name: f"resilience.simulate.{name}" for name in resilience.simulate.__all__},
    **{name: f"resilience.saga.{name}" for name in resilience.saga.__all__ if name not in resilience.errors.__all__},
    **{name: f"resilience.testing.{name}" for name in resilience.testing.__all__},
}
MODULES = ("errors", "events", "http", "presets", "saga", "simulate", "testing")
FENCE = re.compile(r"^( *)```(\w+)$")
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def linked(code: str, about: str) -> str:
    """A code span as reStructuredText: a link if it is a public name, and not the one that is being described."""
    target = PUBLIC.get(code) or PUBLIC.get(code.removeprefix("resilience."))
    if target is None or target == about or about.startswith(f"{target}."):
        return f"``{code}``"
    return f":py:mod:`{target}`" if code in MODULES else f":py:obj:`{code} <{target}>`"


def translate(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Turn Markdown's fences and backticks into reStructuredText, in place."""
    translated: list[str] = []
    fenced: str | None = None
    borders = 0  # of a table: above the head, below it, at the end
    for line in lines:
        if fenced is not None:
            if line.strip() == "```":
                fenced = None
            else:
                translated.append(f"   {line}" if line else "")
        elif line.lstrip().startswith("|"):  # a table of Markdown's stays as it is written
            if not translated or "|" not in translated[-1]:
                translated += [f"{line.partition('|')[0]}.. code-block:: text", ""]
            translated.append(f"   {line}")
        elif match := FENCE.match(line):
            fenced = match[1]
            translated += [f"{fenced}.. code-block:: {match[2]}", ""]
        elif line.startswith("=="):
            borders += 1
            translated.append(line)
        elif borders % 3:
            # The columns stay where they are: what a span grows by, the padding after it loses.
            words = CODE.sub(lambda found: f"``{found[1]}``", line)
            translated.append(re.sub(f" {{{len(words) - len(line)}}}(?=  )", "", words, count=1))
        else:
            translated.append(CODE.sub(lambda found: linked(found[1], name), line))
    lines[:] = translated


Function = ast.FunctionDef | ast.AsyncFunctionDef


def written(function: Any) -> tuple[str, str] | None:
    """A function's parameters and what it returns, in the words of the source: `Seconds`, not what that stands for."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
        node = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))
    except (OSError, TypeError, StopIteration, SyntaxError):
        return None
    values = {key: parameter.default for key, parameter in inspect.signature(function).parameters.items()}
    arguments = node.args
    first = [*arguments.posonlyargs, *arguments.args][:1]
    if first and first[0].arg in ("self", "cls"):
        (arguments.posonlyargs or arguments.args).pop(0)
    named = [*arguments.posonlyargs, *arguments.args]
    with_default = named[len(named) - len(arguments.defaults) :]
    arguments.defaults = [_value(values[one.arg]) for one in with_default]
    arguments.kw_defaults = [
        None if values[one.arg] is inspect.Parameter.empty else _value(values[one.arg]) for one in arguments.kwonlyargs
    ]
    for argument in [*named, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
        if argument is not None and argument.annotation is not None:
            argument.annotation = _plain(argument.annotation)
    returns = "" if node.returns is None else ast.unparse(_plain(node.returns))
    return f"({ast.unparse(arguments)})", returns


def _value(default: object) -> ast.expr:
    """A default as one would write it."""
    shown = getattr(default, "__name__", None) or repr(default)
    return ast.parse(shown, mode="eval").body


def _plain(annotation: ast.expr) -> ast.expr:
    """An annotation without quotes, and without the names of our modules."""
    text = ast.unparse(annotation)
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        text = annotation.value
    return ast.parse(re.sub(r"\b_[a-z]+\.", "", text), mode="eval").body


def sign(
    app: Sphinx, what: str, name: str, obj: Any, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    """Show a signature as the source has it."""
    if what == "module" or signature is None:
        return None
    if name in HANDED_OUT:
        return "", None
    function = obj
    if what in ("class", "exception"):
        function = next((vars(kind)["__init__"] for kind in obj.__mro__ if "__init__" in vars(kind)), None)
    found = None if function is None else written(function)
    if found is None:
        return None
    return found if what not in ("class", "exception") else (found[0], None)


# Nobody makes one: a policy hands it out, so how it is made is nobody's business.
HANDED_OUT = {
    f"resilience.{name}" for name in ("Attempt", "BreakerStats", "BudgetStats", "BulkheadStats", "Guard", "Lease")
}
HANDED_OUT |= {"resilience.Policy", "resilience.SupportsBind", "resilience._explain.Explanation"}
HANDED_OUT |= {
    "resilience._breaking.WindowStats",
    "resilience._timeout.TimeoutGuard",
    "resilience._pipeline.PipelineGuard",
}
HANDED_OUT |= {f"resilience.events.{name}" for name in resilience.events.__all__}
HANDED_OUT |= {"resilience.ResilienceError", "resilience.ResilienceWarning", "resilience.testing.VirtualClock"}
HANDED_OUT |= {f"resilience.saga.{name}" for name in ("Diagram", "SagaHandle", "SagaStatus", "SyncSagaHandle")}
HANDED_OUT |= {f"resilience.saga.{name}" for name in ("Journal", "Letter", "Opened", "Pending", "Row", "Summary")}
HANDED_OUT |= {"resilience.saga.Saga", "resilience.saga.barrier.Call", "resilience.testing.Stories"}
PRIVATE = {name.rpartition(".")[2] for name in HANDED_OUT if "._" in name}
HIDDEN = {"Recipe": "Policy", "Shared": "Policy", "_Composition": "Policy"}


def bases(app: Sphinx, name: str, obj: Any, options: object, found: list[Any]) -> None:
    """Name the public base for a private one."""
    named = (HIDDEN.get(base.__name__, base.__name__) for base in found)
    found[:] = [f":py:obj:`~{PUBLIC[name]}`" if name in PUBLIC else f"``{name}``" for name in named]


_plain_words: dict[str, list[str]] = {}


def remember(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keep a property's text from napoleon, which would take what stands before a colon for a type."""
    if what in ("property", "attribute"):
        _plain_words[name] = list(lines)


def restore(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Give a property its text back."""
    lines[:] = _plain_words.pop(name, lines)


def find(app: Sphinx, env: Any, node: Any, child: nodes.Node) -> nodes.Node | None:
    """Find the few types that are documented, and that no module exports, by their last name."""
    domain = env.domains.python_domain
    for full in HANDED_OUT if node["reftarget"] in PRIVATE else ():
        if full.endswith(f".{node['reftarget']}"):
            found = domain.resolve_any_xref(env, node.get("refdoc"), app.builder, full, node, child)
            return found[0][1] if found else None
    return None


# Anchors

ANCHOR = re.compile(r'<a id="([^"]+)">')


def plant(app: Sphinx, doctree: nodes.document) -> None:
    """Make a target of every `<a id="..."></a>`: such an anchor is one on a plain code host too."""
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", cast("Any", {}))
    for raw in list(doctree.findall(nodes.raw)):
        if not (match := ANCHOR.fullmatch(raw.astext())):
            continue
        name = match[1]
        slugs[name] = (raw.line or 0, name, name.replace("-", " "))
        parent, place = raw.parent, raw.parent.index(raw)
        after = [node for node in parent[place + 1 :] if node.astext() not in ("", "</a>")]
        if after and isinstance(after[0], nodes.strong):  # a number links to itself: so its address can be copied
            number = nodes.reference("", "", after[0].deepcopy(), refid=name, classes=["law"], internal=True)
            after = [number, *after[1:]]
        parent[place:] = [nodes.target("", "", ids=[name]), *after]


LONG = 16


def loosen(app: Sphinx, doctree: nodes.document) -> None:
    """Let long names in tables break after their dots."""
    for entry in doctree.findall(nodes.entry):
        for code in list(entry.findall(nodes.literal)):
            words = code.astext()
            if len(words) > LONG and "." in words and " " not in words:
                text = escape(words).replace(".", ".<wbr>")
                code.replace_self(
                    nodes.raw("", f'<code class="docutils literal notranslate">{text}</code>', format="html")
                )


for field in PyObject.doc_field_types:
    if field.name == "variable":
        field.label = "Attributes"


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect what is ours."""
    app.connect("builder-inited", draw)
    app.connect("autodoc-process-docstring", translate, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", remember, priority=450)
    app.connect("autodoc-process-docstring", restore, priority=600)
    app.connect("missing-reference", find)
    app.connect("autodoc-process-signature", sign)
    app.connect("autodoc-process-bases", bases)
    app.connect("doctree-read", plant)
    app.connect("doctree-read", loosen)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
