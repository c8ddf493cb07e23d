"""Texts, pictures and equations as parts of a page or of Markdown: what comes from a file never becomes markup."""

from __future__ import annotations

import base64
import io
import re

import latex2mathml.converter
from markupsafe import Markup

from vtrial.report import style

_LINK = re.compile(r"https?://[^\s<>\"')\]]+|\b10\.\d{4,9}/[^\s<>\"',;)\]]+")


def pieces(text: str) -> list[tuple[str, str]]:
    """Cut a text into plain parts and links: pairs of text and address, the address empty for plain parts.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of tuple

    Examples
    --------
    >>> pieces("Wuis 1990, doi 10.1007/BF01970149")
    [('Wuis 1990, doi ', ''), ('10.1007/BF01970149', 'https://doi.org/10.1007/BF01970149')]
    """
    found, at = [], 0
    for match in _LINK.finditer(text):
        address = match[0].rstrip(".,;")
        found.append((text[at : match.start()], ""))
        found.append((address, address if address.startswith("http") else f"https://doi.org/{address}"))
        at = match.start() + len(address)
    return [part for part in [*found, (text[at:], "")] if part[0]]


def formula(latex: str) -> Markup:
    """An equation as MathML, which browsers draw and screen readers read.

    The converter passes text on as it is: what would be markup is made a relation first.

    Examples
    --------
    >>> "<mfrac>" in formula(r"\\frac{a}{b}")
    True
    """
    plain = latex.replace("<", r"\lt ").replace(">", r"\gt ")
    return Markup(latex2mathml.converter.convert(plain, display="block"))


def drawn_formula(latex: str) -> Markup:
    """An equation as a picture, with its LaTeX for who does not see it."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import math_to_image

    drawn = io.BytesIO()
    with style.styled():
        math_to_image(f"${latex.replace(r'\frac', r'\dfrac')}$", drawn, prop=FontProperties(size=9), format="svg")
    return Markup('<img alt="{}" src="{}">').format(latex, inline(drawn.getvalue()))


def inline(svg: bytes) -> str:
    """An SVG as a data address, so that the page needs no other file."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def escape_markdown(text: object) -> str:
    """Make a text plain in Markdown, and in a cell of its tables.

    Examples
    --------
    >>> print(escape_markdown("<b>|x|*"))
    &lt;b&gt;\\|x\\|\\*
    """
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|_#])", r"\\\1", plain)
