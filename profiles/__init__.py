"""Model profiles (what stages cost, when exits fire, what activations leak) and the catalogue of machines.

Here is what every user of a profile needs. How one comes about has packages of its own, and each imports only those
before it: `images`, `networks` (with exits, trained), `privacy` (what cuts leak), `measuring` (the profile of a trained
network), then `machines` (how long layers take where) and `profiler` (any model, cut anywhere). Most of that needs
torch; importing this package loads none of it. Names are loaded when they are first used: a function that starts cold
needs a network's shape, and neither the catalogue nor the file format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .catalogue import Catalogue, Compute, Delay, Radio, load_catalogue
    from .files import list_profiles, load_profile, save_profile
    from .profile import NEVER, Exit, Profile, Protection, Reference, Stage

__all__ = [
    "NEVER",
    "Catalogue",
    "Compute",
    "Delay",
    "Exit",
    "Profile",
    "Protection",
    "Radio",
    "Reference",
    "Stage",
    "list_profiles",
    "load_catalogue",
    "load_profile",
    "save_profile",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "catalogue": ("Catalogue", "Compute", "Delay", "Radio", "load_catalogue"),
        "files": ("list_profiles", "load_profile", "save_profile"),
        "profile": ("NEVER", "Exit", "Profile", "Protection", "Reference", "Stage"),
    },
)
