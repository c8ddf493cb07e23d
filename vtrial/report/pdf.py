"""The report on paper: the page, laid out and numbered by WeasyPrint."""

from __future__ import annotations

from typing import Any

from vtrial.problem import InputError


def converter() -> Any:
    """The class of WeasyPrint that converts a page.

    Raises
    ------
    InputError
        If WeasyPrint is not installed, or the libraries of the system that it needs are not.
    """
    try:
        from weasyprint import HTML
    except ImportError as error:
        raise InputError(["a PDF needs WeasyPrint, which is not installed: pip install 'vtrial[pdf]'"]) from error
    except OSError as error:
        raise InputError(
            ["a PDF needs the library Pango, which is not there (Debian: apt-get install libpango-1.0-0 "
             "libharfbuzz-subset0 libpangoft2-1.0-0)"]
        ) from error  # fmt: skip
    return HTML


def to_pdf(page: str) -> bytes:
    """Convert a page of `render_html`, made for paper, into a tagged PDF (PDF/UA-1).

    Parameters
    ----------
    page : str

    Returns
    -------
    bytes
        The same for the same page.

    Raises
    ------
    InputError
        As `converter` does.
    """
    return converter()(string=page).write_pdf(pdf_variant="pdf/ua-1")
