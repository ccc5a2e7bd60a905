"""Bearer tokens: who may ask. Only their hashes are kept in memory."""

from __future__ import annotations

import hmac
import re
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from neuromfa.errors import BadInputError, UsageError

ANYONE = "anyone"
"""Owner of all jobs of a service without tokens."""

LEAST_CHARACTERS = 32
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_OWNER = re.compile(r"[\w.@-]{1,64}", re.ASCII)


class Tokens:
    """The tokens of a service.

    Parameters
    ----------
    hashes : mapping of str to bytes
        By owner, the SHA-256 of the token. Without any, everyone is `ANYONE`.
    """

    def __init__(self, hashes: Mapping[str, bytes] | None = None) -> None:
        self._hashes = dict(hashes or {})

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def owner(self, token: str | None) -> str | None:
        """Whose token this is; None if it is nobody's.

        Hashes are compared in constant time, and always all of them.
        """
        if not self._hashes:
            return ANYONE
        given = sha256((token or "").encode("utf-8", "surrogatepass")).digest()
        found = None
        for owner, known in self._hashes.items():
            if hmac.compare_digest(given, known):
                found = owner
        return found


def read_tokens(path: Path) -> Tokens:
    """Read a token file: ``OWNER TOKEN`` or ``OWNER sha256:HASH`` on each line.

    Empty lines and those that begin with ``#`` are passed over.

    Raises
    ------
    BadInputError
        If it cannot be read.
    UsageError
        If a line is something else, a token is shorter than 32 characters, there are none, or
        others may read the file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read ({error}); give a token file") from None
    hashes: dict[str, bytes] = {}
    plain = False
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        owner, _, token = line.strip().partition(" ")
        token, where = token.strip(), f"{path}:{number}"
        if not _OWNER.fullmatch(owner) or not token or " " in token:
            raise UsageError(f"{where}: write OWNER TOKEN or OWNER sha256:HASH")
        if owner in hashes:
            raise UsageError(f"{where}: {owner} has a token already; give each its own name")
        if known := _HASH.fullmatch(token):
            hashes[owner] = bytes.fromhex(known[1])
            continue
        if len(token) < LEAST_CHARACTERS:
            raise UsageError(
                f"{where}: the token of {owner} has {len(token)} characters; make one of at least "
                f"{LEAST_CHARACTERS}: openssl rand -hex 32"
            )
        plain, hashes[owner] = True, sha256(token.encode()).digest()
    if not hashes:
        raise UsageError(f"{path}: has no tokens; write OWNER TOKEN")
    if plain and stat.S_IMODE(mode) & 0o077:
        raise UsageError(f"{path}: others can read it; chmod 600 {path}")
    return Tokens(hashes)
