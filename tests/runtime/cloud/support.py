"""Pools of tiny handlers: short boots, no model."""

from typing import Any

from edgecloud.pricing import load_prices
from edgecloud.runtime.cloud import FunctionSettings, HandlerSpec, VmSettings

ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
PATIENCE_S = 60.0  # a cold start on a busy machine


def echo(**arguments: Any) -> HandlerSpec:
    return HandlerSpec("edgecloud.runtime.cloud.echo:make_handler", arguments)


def functions(handler: HandlerSpec, **settings: Any) -> FunctionSettings:
    price = load_prices().faas("lambda-x86")
    return FunctionSettings(handler, price, memory_mb=1024, environment=ENVIRONMENT, **settings)


def vms(handler: HandlerSpec, **settings: Any) -> VmSettings:
    price = load_prices().vm("c6i.large")
    return VmSettings(handler, price, environment=ENVIRONMENT, **{"boot_s": 0.0, **settings})
