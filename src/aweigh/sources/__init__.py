"""Models that lie elsewhere: an address becomes a file or folder on this machine, before `pack` looks at it. One file per kind of place.

Found by scheme in the plug-in table; nothing of what comes is run or read here.
"""

from aweigh.sources.guard import checked_addresses, is_allowed
from aweigh.sources.terms import SCHEMES, Budget, Fetched, Terms, inside, scheme_of

__all__ = ["SCHEMES", "Budget", "Fetched", "Terms", "checked_addresses", "inside", "is_allowed", "scheme_of"]
