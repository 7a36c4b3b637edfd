"""The ``next_page`` tokens of a listing: opaque, different on every call, valid for 48 hours.

Quay encrypts a JSON object with Fernet. These tokens have the same layout (version byte, time,
nonce, masked content, signature), but need only the standard library. Their content is the id of
the first repository of the page, so every namespace and every user can use them.
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
    """An encoder and decoder of page tokens, with a random key."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def encode(self, first_id: int, now: float) -> str:
        """Return a token, issued at `now`, for the page that starts at repository `first_id`."""
        nonce = os.urandom(16)
        signed = _HEADER.pack(_VERSION, int(now), nonce) + self._masked(_ID.pack(first_id), nonce)
        return base64.urlsafe_b64encode(signed + self._digest(signed)).decode()

    def decode(self, token: str, now: float) -> int | None:
        """Return the repository id in `token`, or None if it is malformed, foreign or expired."""
        try:
            raw = base64.urlsafe_b64decode(token)
        except (binascii.Error, ValueError):
            return None
        if len(raw) != _HEADER.size + _ID.size + _SIGNATURE_SIZE:
            return None
        signed, signature = raw[:-_SIGNATURE_SIZE], raw[-_SIGNATURE_SIZE:]
        if not hmac.compare_digest(signature, self._digest(signed)):
            return None
        _, issued_at, nonce = _HEADER.unpack_from(signed)
        if int(now) > issued_at + TOKEN_LIFETIME:
            return None
        first_id: int = _ID.unpack(self._masked(signed[_HEADER.size :], nonce))[0]
        return first_id

    def _digest(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, "sha256")

    def _masked(self, data: bytes, nonce: bytes) -> bytes:
        mask = self._digest(nonce)
        return bytes(byte ^ cover for byte, cover in zip(data, mask, strict=False))
