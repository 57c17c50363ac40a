"""The documentation site: `make docs` writes it to build/site.

The source is the whole checkout, so that a link from one document to another holds here as it does on the forge. Pages
about plug-ins are written from the plug-ins themselves, into docs/plugins/, which git ignores.
"""

from __future__ import annotations

import inspect
import os
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import kdstudy  # noqa: E402
from kdstudy import plugins  # noqa: E402
from kdstudy.cli.type_words import type_words  # noqa: E402
from kdstudy.study import flow_text  # noqa: E402

project = "kdstudy"
author = "The kdstudy maintainers"
copyright = "the kdstudy maintainers, Apache-2.0"  # noqa: A001
version = release = kdstudy.__version__

root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "*/README.md"]
exclude_patterns = [
    ".*", "build", "data", "kdstudy", "kdstudy-data", "tests/**", "docker/**", "*.egg-info", "gpu-results", "docs/site",
]  # fmt: skip
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "sphinx_copybutton"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4  # README.md#what-makes-the-comparison-fair, as the forge makes them
suppress_warnings = ["myst.header"]  # a page written for the forge may begin where it likes
nb_execution_mode = "force"  # notebooks are kept without outputs; these are made with the site
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_in_temp = True  # what a notebook writes is not left among the documents
nb_merge_streams = True
nb_number_source_lines = False

# A page then loads plotly's script instead of holding its 5 MB.
os.environ.setdefault("PLOTLY_RENDERER", "notebook_connected")

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_class_signature = "mixed"
add_module_names = False
default_role = "code"  # `name` in a docstring is a name
nitpicky = False

html_theme = "furo"
html_title = f"kdstudy {release}"
html_extra_path = ["site"]  # the root's index.html leads to docs/index.html
html_show_sphinx = False
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"

KINDS = {
    "transfers": ("Transfer methods", plugins.TRANSFERS),
    "policies": ("Policies", plugins.POLICIES),
    "models": ("Networks", plugins.MODELS),
    "datasets": ("Data sets", plugins.DATASETS),
    "augmentations": ("Augmentations", plugins.AUGMENTATIONS),
    "samplers": ("Samplers", plugins.SAMPLERS),
    "optimizers": ("Optimizers", plugins.OPTIMIZERS),
    "schedules": ("Schedules", plugins.SCHEDULES),
    "pruners": ("Pruners", plugins.PRUNERS),
}


def plugin_page(registry: plugins.Registry, name: str, command: str) -> str:
    """Return the page of one plug-in: options with types and defaults, then what its docstring says."""
    plugin = registry.load(name)
    target = f"{plugin.__module__}.{plugin.__qualname__}"
    lines = [f"# {name}", "", f"`kdstudy {command} {name}` prints this page.", ""]
    options = registry.options(name).values()
    if options:
        lines += ["| option | type | default |", "|---|---|---|"]
    for option in options:
        default = "required" if option.required else f"`{flow_text(option.default)}`"
        words = type_words(option.annotation).replace("|", "\\|")
        lines.append(f"| `{option.name}` | {words} | {default} |")
    directive = "autoclass" if inspect.isclass(plugin) else "autofunction"
    return "\n".join([*lines, "", "```{eval-rst}", f".. {directive}:: {target}", "```", ""])


def write_plugin_pages(_: Sphinx) -> None:
    """Write a page for every plug-in of the registries, and one that lists them."""
    folder = ROOT / "docs" / "plugins"
    shutil.rmtree(folder, ignore_errors=True)
    for command, (title, registry) in KINDS.items():
        (folder / command).mkdir(parents=True)
        entries = "\n".join(f"{name} <{command}/{name}>" for name in registry)
        listing = ["# " + title, "", "```{toctree}", ":maxdepth: 1", "", entries, "```", ""]
        (folder / f"{command}.md").write_text("\n".join(listing), encoding="utf-8")
        for name in registry:
            (folder / command / f"{name}.md").write_text(plugin_page(registry, name, command), encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Connect what is generated to the build."""
    app.connect("builder-inited", write_plugin_pages)
