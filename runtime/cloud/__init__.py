"""The cloud's two kinds of server, for real: functions that start cold, and a pool of long-lived VM workers.

`FunctionPool` runs functions-framework instances, `VmPool` worker processes with a boot delay; both run a `HandlerSpec`
(bytes to bytes) in processes of their own and bill it by a price list. `Dispatcher` routes between them.
"""

from .backend import Answer, Backend, BackendError, BusyError, CrashError, DeadlineError, Invocation
from .dispatcher import Dispatcher, DispatcherStats
from .functions import FunctionPool, FunctionSettings, FunctionStats
from .handlers import HandlerSpec
from .vms import VmPool, VmSettings, VmStats, lognormal_boot

__all__ = [
    "Answer",
    "Backend",
    "BackendError",
    "BusyError",
    "CrashError",
    "DeadlineError",
    "Dispatcher",
    "DispatcherStats",
    "FunctionPool",
    "FunctionSettings",
    "FunctionStats",
    "HandlerSpec",
    "Invocation",
    "VmPool",
    "VmSettings",
    "VmStats",
    "lognormal_boot",
]
