"""A recorded link replayed between two processes, and how faithfully.

`Shaper` is a TCP proxy that needs no privileges; `RateSchedule` is the exact integral that it follows;
`NamespaceLink` has the kernel shape the rate, where root and tbf are there.
"""

from .netns import NamespaceLink
from .pipe import PipeStats
from .schedule import RateSchedule
from .shaper import Shaper, ShaperStats

__all__ = ["NamespaceLink", "PipeStats", "RateSchedule", "Shaper", "ShaperStats"]
