"""Model profiles (what stages cost, when exits fire, what activations leak) and the catalogue of machines.

Measuring and training need torch and live in submodules of their own (`profiles.runs`, `profiles.training`,
`profiles.measuring`); importing this package does not load them.
"""

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
