"""Keyed hashes with a secret that the policy never sees. Needs the capability ``crypto``."""

from itertools import accumulate
from typing import Sequence

from portcullis._bindings import interface

_crypto = interface("crypto")


def hmac_each(values: Sequence[bytes], length: int = 32) -> list[bytes]:
    """The first ``length`` (1 to 32) bytes of HMAC-SHA-256 of each value, under the gateway's masking key."""
    joined = _crypto.hmac_each(list(accumulate(map(len, values))), b"".join(values), length)
    return [joined[at : at + length] for at in range(0, len(joined), length)]
