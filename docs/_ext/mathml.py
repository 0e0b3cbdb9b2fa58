"""Formulas as MathML, which browsers draw by themselves: no script, no network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert


def setup(app: Any) -> dict[str, bool]:
    """Register as a renderer of formulas."""
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
    """The formula, with bars that stand close to what is between them."""
    bar = '<mo stretchy="false">&#x0007C;</mo>'
    return convert(formula, display=display).replace(
        bar, f'{bar[:3]} lspace="0" rspace="0"{bar[3:]}'
    )
