"""Functions that exist only inside of others: compiled with their callers, and not for themselves as well.

Numba optimises each function and translates it to machine code, then takes it into its callers and does the same with
those: what lies at the bottom of ten callers is translated ten times. Most of our functions are never called from
Python. Those are typed and written down, no more; the outermost optimises and translates the whole.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.datamodel import models
from numba.extending import register_model


class _Draft(JITCodeLibrary):
    """The code of a function, and of all that it calls, as it was written down."""

    def finalize(self) -> None:
        """Take in what is called, and leave it at that."""
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Nothing to point at."""
        return 0

    @property
    def codegen(self) -> Any:
        """What numba tells where the function's environment is: there is no machine code to read it."""
        return _NoMachineCode()


class _NoMachineCode:
    def set_env(self, env_name: str, env: Any) -> None:
        pass


class Part(Compiler):
    """Numba's compiler, for a function that only compiled code calls."""

    def compile_extra(self, func: Any) -> Any:
        """Compile, but for the last steps."""
        state = self.state
        state.flags.no_cpython_wrapper = state.flags.no_cfunc_wrapper = True
        state.library = _Draft(state.targetctx.codegen(), func.__qualname__)
        return super().compile_extra(func)


class PartType(types.Dispatcher):
    """How such a function is seen by the code that calls it: not compiled again for an argument that is a constant.

    Constants reach it all the same, once it has been taken into its caller.
    """

    def __init__(self, dispatcher: Any) -> None:
        super().__init__(dispatcher)
        self.kept = dispatcher  # numba's own type does not keep it alive

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        """Its signature for arguments of these types."""
        plain = {name: types.unliteral(kind) for name, kind in dict(kws).items()}
        return super().get_call_type(context, tuple(map(types.unliteral, args)), plain)


register_model(PartType)(models.OpaqueModel)
