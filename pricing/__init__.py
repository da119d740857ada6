"""Price lists and billing meters: what a decision costs, exactly.

`load_prices` reads a dated list of prices (VMs, functions, edge, egress), each with its source. The meters count in
integers by the providers' rules and turn the counts into dollars without drift. `unit_prices` gives the kernel the
price of each thing that it counts. `compare` finds the rate above which a VM is cheaper than functions.
"""

from .indifference import Indifference, compare, indifference_rate_rph, request_usd
from .loading import DEFAULT_PRICES, EdgePrice, PriceList, list_prices, load_prices
from .meters import EgressMeter, FaasMeter, VmMeter, exact_usd, faas_billed_ms, tiered_usd, vm_billed_s
from .models import (
    EgressPrice,
    EgressTier,
    FaasPrice,
    FaasTier,
    MemoryRange,
    Source,
    VmPrice,
)
from .units import UnitPrices, unit_prices

__all__ = [
    "DEFAULT_PRICES",
    "EdgePrice",
    "EgressMeter",
    "EgressPrice",
    "EgressTier",
    "FaasMeter",
    "FaasPrice",
    "FaasTier",
    "Indifference",
    "MemoryRange",
    "PriceList",
    "Source",
    "UnitPrices",
    "VmMeter",
    "VmPrice",
    "compare",
    "exact_usd",
    "faas_billed_ms",
    "indifference_rate_rph",
    "list_prices",
    "load_prices",
    "request_usd",
    "tiered_usd",
    "unit_prices",
    "vm_billed_s",
]
