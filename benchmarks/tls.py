"""CPU of one poll over TLS through all layers, over a bare aiohttp GET and orjson.loads of the same reply.

The same as `overhead`, with a certificate of an authority made for it.
"""

import argparse
import ssl
import tempfile
from pathlib import Path
from typing import Final

from .overhead import compare
from .overhead import configure as configure  # noqa: PLC0414 - the same options
from .server import serving

_AIM: Final = 0.75


def run(options: argparse.Namespace) -> None:
    """Measure round by round, both sides in each."""
    import trustme  # noqa: PLC0415 - of the extra dev

    authority = trustme.CA()
    client = ssl.create_default_context()
    authority.configure_trust(client)
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder, "server.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        with serving(certificate=certificate) as url:
            compare("tls", url, options, aim=_AIM, tls=client)
