"""The door to numba: compiled functions, cached on disk under a name that changes with any of their sources.

Numba checks only the file that holds a cached function, not the functions it calls from other files: after an
upgrade it could run code that no longer fits together. So the cache lies in a folder named after all sources.

Numba itself is imported when the first of the functions is called: who only checks a scenario does not wait for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache, update_wrapper
from pathlib import Path
from threading import RLock
from typing import Any, ClassVar

from platformdirs import user_cache_path

_BY_NUMBA = re.compile(rb"(from|import) (vtrial\.(compiled|lanes)|numba|llvmlite)")
_making = RLock()


@cache
def _folder() -> str:
    import numba

    digest = hashlib.sha256(numba.__version__.encode())
    room = Path(__file__).parent.parent
    for path in sorted(room.rglob("*.py")):
        text = path.read_bytes()
        # beside code that is compiled, what it takes constants and row numbers from without being compiled itself
        if _BY_NUMBA.search(text) or path.is_relative_to(room / "kinetics"):
            digest.update(text)
    return str(user_cache_path("vtrial") / f"numba-{digest.hexdigest()[:16]}")


class _Compiled:
    """Stands for a function: numba's dispatcher, made when it is first called or met in code being compiled."""

    def __init__(self, function: Callable, **options: Any) -> None:
        update_wrapper(self, function)
        self.py_func, self._options = function, options
        self._whole: Any = None
        self._part: Any = None

    def __call__(self, *args: Any) -> Any:
        if self._whole is None:
            with _making:  # threads that come at once share one dispatcher, and so one compilation
                self._whole = self._whole or _whole(self.py_func, self._options)
        return self._whole(*args)

    @property
    def _numba_type_(self) -> Any:  # how numba asks any object for its type: compiled callers see the dispatcher
        with _making:
            self._part = self._part or _part(self.py_func, self._options)
        return self._part


def _part(function: Callable, options: dict[str, Any]) -> Any:
    import numba

    from vtrial.compiled.parts import Part, PartType

    return PartType(numba.njit(nogil=True, pipeline_class=Part, **options)(function))


def _whole(function: Callable, options: dict[str, Any]) -> Any:
    import numba

    configured = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = configured or _folder()  # type: ignore[attr-defined]
    try:
        return numba.njit(nogil=True, cache=True, **options)(function)
    finally:
        numba.config.CACHE_DIR = configured  # type: ignore[attr-defined]


def compiled[F: Callable](function: F) -> F:
    """Compile a function on its first call (no GIL, cached across processes)."""
    return _Compiled(function)  # type: ignore[return-value]


def inlined[F: Callable](function: F) -> F:
    """Compile a short function into its callers, to spare the passing of arrays."""
    return _Compiled(function, forceinline=True)  # type: ignore[return-value]


def plain[F: Callable](function: F) -> F:
    """Return the Python function behind a compiled one: the same equation, for arrays of any kind."""
    return function.py_func  # type: ignore[attr-defined]


def watched(around: Callable[[], AbstractContextManager]) -> AbstractContextManager[None]:
    """Put each compilation that no cache spares into a context of its own; one may hold those of other functions."""
    from numba.core import event

    class Watch(event.Listener):
        inside: ClassVar[list[AbstractContextManager]] = []  # numba compiles in one thread at a time

        def on_start(self, event: Any) -> None:
            self.inside.append(around())
            self.inside[-1].__enter__()

        def on_end(self, event: Any) -> None:
            self.inside.pop().__exit__(None, None, None)

    return event.install_listener("numba:compile", Watch())
