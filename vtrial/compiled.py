"""The door to numba: compiled functions, cached on disk under a name that changes with any of their sources.

Numba checks only the file that holds a cached function, not the functions it calls from other files: after an
upgrade it could run code that no longer fits together. So the cache lies in a folder named after all sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numba
from platformdirs import user_cache_path


@cache
def _folder() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        text = path.read_bytes()
        if b"vtrial.compiled" in text:
            digest.update(text)
    return str(user_cache_path("vtrial") / f"numba-{digest.hexdigest()[:16]}")


def compiled[F: Callable](function: F) -> F:
    """Compile a function on its first call (no GIL, cached across processes)."""
    configured = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = configured or _folder()  # type: ignore[attr-defined]
    try:
        return numba.njit(nogil=True, cache=True)(function)  # type: ignore[return-value]
    finally:
        numba.config.CACHE_DIR = configured  # type: ignore[attr-defined]


def inlined[F: Callable](function: F) -> F:
    """Compile a short function into its callers, to spare the passing of arrays."""
    return numba.njit(nogil=True, forceinline=True)(function)  # type: ignore[return-value]


def plain[F: Callable](function: F) -> F:
    """Return the Python function behind a compiled one: the same equation, for arrays of any kind."""
    return function.py_func  # type: ignore[attr-defined]
