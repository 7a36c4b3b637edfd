"""The ``next_page`` tokens of a listing: opaque, never twice the same bytes, good for 48 hours.

Quay's are Fernet tokens around a JSON object. These have the same shape (version byte, time,
nonce, hidden content, signature), made with the standard library, and hide only where to go on:
a token is bound to no namespace and no user.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import struct

TOKEN_LIFETIME = 48 * 3600

_VERSION = 0x80
_HEADER = struct.Struct(">BQ16s")
_ID = struct.Struct(">Q")
_SIGNATURE_SIZE = 32


class PageTokens:
    """Makes and reads tokens, with a key of its own."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def encode(self, first_id: int, now: float) -> str:
        """A token for the page that starts at the repository `first_id`, made at `now`."""
        nonce = os.urandom(16)
        signed = _HEADER.pack(_VERSION, int(now), nonce) + self._masked(_ID.pack(first_id), nonce)
        return base64.urlsafe_b64encode(signed + self._digest(signed)).decode()

    def decode(self, token: str, now: float) -> int | None:
        """The repository id in `token`; None if it is malformed, not ours, or too old at `now`."""
        try:
            raw = base64.urlsafe_b64decode(token)
        except (binascii.Error, ValueError):
            return None
        if len(raw) != _HEADER.size + _ID.size + _SIGNATURE_SIZE:
            return None
        signed, signature = raw[:-_SIGNATURE_SIZE], raw[-_SIGNATURE_SIZE:]
        if not hmac.compare_digest(signature, self._digest(signed)):
            return None
        _, made_at, nonce = _HEADER.unpack_from(signed)
        if int(now) > made_at + TOKEN_LIFETIME:
            return None
        first_id: int = _ID.unpack(self._masked(signed[_HEADER.size :], nonce))[0]
        return first_id

    def _digest(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, "sha256")

    def _masked(self, data: bytes, nonce: bytes) -> bytes:
        mask = self._digest(nonce)
        return bytes(byte ^ cover for byte, cover in zip(data, mask, strict=False))
