"""Reads a QR code by ISO/IEC 18004: versions 6 to 9 at error correction level L, in bytes."""

import numpy as np

# By version: centers of the alignment patterns, data codewords of each of the two blocks.
_LAYOUT = {6: ((6, 34), 68), 7: ((6, 22, 38), 78), 8: ((6, 24, 42), 97), 9: ((6, 26, 46), 116)}
_MASKS = (
    lambda r, c: (r + c) % 2,
    lambda r, c: r % 2,
    lambda r, c: c % 3,
    lambda r, c: (r + c) % 3,
    lambda r, c: (r // 2 + c // 3) % 2,
    lambda r, c: r * c % 2 + r * c % 3,
    lambda r, c: (r * c % 2 + r * c % 3) % 2,
    lambda r, c: ((r + c) % 2 + r * c % 3) % 2,
)
_FORMAT_MASK = 0x5412
_FIELD = 0x11D  # the polynomial of GF(256)


def text_of(dark: np.ndarray) -> str:
    """Return the text of a code's modules, ``dark[row, column]``; its correction must be right."""
    n = len(dark)
    version = (n - 17) // 4
    column = [*range(6), 7, 8]
    bits = [*dark[8, column], *dark[[7, *range(5, -1, -1)], 8]]
    told = int("".join(map(str, bits)), 2) ^ _FORMAT_MASK
    assert told >> 13 == 0b01, "level L"
    words = np.packbits(_stream(dark, version, mask=(told >> 10) & 7))
    two, data = 2, _LAYOUT[version][1]
    total = len(words) // two * two
    own = words[: two * data].reshape(data, two).T
    for block in np.hstack([own, words[two * data : total].reshape(-1, two).T]):
        assert _is_corrected(block, len(block) - data)
    bits = np.unpackbits(own)
    assert np.packbits(bits[:4])[0] >> 4 == 0b0100, "a segment of bytes"
    length, *content = np.packbits(bits[4:])
    return bytes(content[:length]).decode()


def _stream(dark: np.ndarray, version: int, mask: int) -> list[int]:
    """Bits of all modules that carry data, in their order, without the mask."""
    n, centers = len(dark), _LAYOUT[version][0]
    fixed = np.zeros((n, n), bool)
    fixed[6, :] = fixed[:, 6] = fixed[:9, :9] = fixed[:9, -8:] = fixed[-8:, :9] = True
    for r in centers:
        for c in centers:
            if (r, c) not in ((6, 6), (6, centers[-1]), (centers[-1], 6)):
                fixed[r - 2 : r + 3, c - 2 : c + 3] = True
    if version >= 7:
        fixed[:6, -11:-8] = fixed[-11:-8, :6] = True
    found, up = [], True
    for right in [*range(n - 1, 6, -2), *range(5, 0, -2)]:
        for r in range(n - 1, -1, -1) if up else range(n):
            for c in (right, right - 1):
                if not fixed[r, c]:
                    found.append(int(dark[r, c]) ^ (_MASKS[mask](r, c) == 0))
        up = not up
    return found[: len(found) // 8 * 8]


def _is_corrected(block: np.ndarray, n_roots: int) -> bool:
    """Whether the block's polynomial is zero at the first powers of 2."""
    root = 1
    for _ in range(n_roots):
        value = 0
        for word in block:
            value = _times(value, root) ^ int(word)
        if value:
            return False
        root = _times(root, 2)
    return True


def _times(a: int, b: int) -> int:
    product = 0
    while b:
        product ^= a * (b & 1)
        a, b = (a << 1) ^ (_FIELD if a & 0x80 else 0), b >> 1
    return product
