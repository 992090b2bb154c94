"""Authentication: credentials from the environment, and a token cache that shares one token among many callers."""

from .cache import Spawn, TokenCache, TokenSource
from .credentials import basic_header, check_endpoint_name, endpoint_names, read_settings
from .store import FileTokenStore, MemoryTokenStore, StoredToken, TokenStore

__all__ = [
    "FileTokenStore",
    "MemoryTokenStore",
    "Spawn",
    "StoredToken",
    "TokenCache",
    "TokenSource",
    "TokenStore",
    "basic_header",
    "check_endpoint_name",
    "endpoint_names",
    "read_settings",
]
