"""Formulas as MathML, which browsers render without a script or the network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert


def setup(app: Any) -> dict[str, bool]:
    """Register the math renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _display(translator: Any, node: nodes.math_block) -> None:
    formula = _mathml(node.astext(), "block")
    translator.body.append(f'<div class="math" style="overflow: auto hidden">{formula}</div>')
    raise nodes.SkipNode


def _mathml(formula: str, display: str) -> str:
    """Convert a formula, with bars close to what they enclose."""
    bar = '<mo stretchy="false">&#x0007C;</mo>'
    return convert(formula, display=display).replace(
        bar, f'{bar[:3]} lspace="0" rspace="0"{bar[3:]}'
    )
