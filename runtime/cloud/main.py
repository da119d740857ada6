"""The function, as functions-framework and Cloud Run load it: ``functions-framework --source main.py --target handle``.

The same file serves in a `FunctionPool` on this machine and in the container of ``deploy/``. The framework loads it by
its path and not as part of the package, hence the import by name.
"""

import importlib
import os
import time

_STARTED_S = time.monotonic()

if "FUNCTION_TARGET" in os.environ:  # set by the framework: this is an instance, and not somebody who imports us
    _function = importlib.import_module("edgecloud.runtime.cloud.function")
    handle = _function.make_function(os.environ, _STARTED_S)
