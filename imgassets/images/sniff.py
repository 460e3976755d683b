"""What kind of file some bytes are, by their first bytes: names lie."""

from __future__ import annotations

SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tif"),
    (b"MM\x00*", "tif"),
    (b"\x93NUMPY", "npy"),
    (b"P1", "pbm"),
    (b"P4", "pbm"),
    (b"P2", "pgm"),
    (b"P5", "pgm"),
    (b"P3", "ppm"),
    (b"P6", "ppm"),
)


def extension(data: bytes | memoryview) -> str:
    """The usual extension of an image file, `bin` for anything unknown."""
    head = bytes(data[:12])
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return "webp"
    return next((name for signature, name in SIGNATURES if head.startswith(signature)), "bin")


HEAD = 64
"""Bytes of a file that tell its kind."""
LOSSY = {"jpg": "JPEG", "heic": "HEIC", "avif": "AVIF", "jp2": "lossy JPEG 2000", "webp": "lossy WebP"}
COD, REVERSIBLE = b"\xff\x52", 13
"""The marker of a JPEG 2000 stream's coding style, and how far behind it a 1 says that its wavelet is the reversible
one (ISO 15444-1, A.6.1)."""
STRONG = frozenset({"jpg", "png", "gif", "tif", "webp"})
NEWER: tuple[tuple[bytes, str], ...] = (
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    (b"\xff\x0a", "jxl"),
    (b"8BPS\0\x01", "psd"),
    (b"II+\0", "tif"),
    (b"MM\0+", "tif"),
    (b"DDS |\0\0\0", "dds"),
    (b"qoif", "qoi"),
    (b"\x76\x2f\x31\x01", "exr"),
)
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def image_kind(head: bytes) -> str:
    """What kind of image begins with these bytes, also of kinds that not every decoder reads; empty for anything else.

    Stricter than `extension`, which is asked about images: a text may begin with `BM` or `P1`.
    """
    kind = extension(head)
    if kind in STRONG:
        return kind
    if kind == "bmp":
        return kind if head[14:18] in {bytes([size, 0, 0, 0]) for size in (12, 40, 52, 56, 64, 108, 124)} else ""
    if head[:1] == b"P" and kind != "bin":
        return kind if head[2:3].isspace() and head[3:4] in b"#0123456789" else ""
    if head[4:8] == b"ftyp":
        brands = head[8 : max(12, int.from_bytes(head[:4], "big"))]
        return "avif" if b"avif" in brands or b"avis" in brands else "heic" if _any(HEIF_BRANDS, brands) else ""
    return next((name for signature, name in NEWER if head.startswith(signature)), "")


def _any(brands: tuple[bytes, ...], found: bytes) -> bool:
    return any(brand in found for brand in brands)


def lossy_kind(data: bytes) -> str:
    """The name of a format, if these bytes are an image whose pixels it has changed; else empty."""
    kind = image_kind(data[:HEAD])
    if kind == "webp" and b"VP8 " not in data:  # the chunk of lossy pixels
        return ""
    if kind == "jp2":
        at = data.find(COD) + REVERSIBLE
        return "" if data[at : at + 1] == b"\x01" else LOSSY[kind]
    return LOSSY.get(kind, "")
