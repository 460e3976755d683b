"""Machine code of LLVM's language, for whatever processor this is, in a few milliseconds; numba is made of the same."""

from __future__ import annotations

from threading import Lock
from typing import Any

_making = Lock()


def compiled(code: str) -> Any:
    """An engine that knows the addresses of the code's functions, and is what these live as long as."""
    import llvmlite.binding as llvm

    with _making:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
        )
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(code), machine)
        engine.finalize_object()
    return engine
