"""Small image files, made here: those that every road must read alike, and those that every road must refuse."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 19, 26
ORIENTATION = 0x0112


def scene(channels=3, height=HEIGHT, width=WIDTH):
    """Smooth colours with corners that differ, and an alpha that falls from left to right."""
    y, x = np.mgrid[0:height, 0:width]
    alpha = 255 - x * 255 // (width - 1)
    return np.stack([y * 9 + 40, x * 7 + 20, 200 - y * 4 - x, alpha], axis=-1).astype(np.uint8)[..., :channels]


def encode(kind, mode="RGB", height=HEIGHT, width=WIDTH, **options):
    file = io.BytesIO()
    Image.fromarray(scene(4 if "A" in mode else 3, height, width)).convert(mode).save(file, kind, **options)
    return file.getvalue()


def tiff(orientation, order="II", kind=3, before=0, late=0):
    """An EXIF block: `before` other entries, the directory `late` bytes further on."""
    mark = "<" if order == "II" else ">"
    value = struct.pack(mark + ("I" if kind == 4 else "H"), orientation).ljust(4, b"\0")
    entries = [struct.pack(mark + "HHI", 0x8000 + n, 4, 1) + b"\0\0\0\1" for n in range(before)]
    entries.append(struct.pack(mark + "HHI", ORIENTATION, kind, 1) + value)
    directory = struct.pack(mark + "H", len(entries)) + b"".join(entries) + bytes(4)
    return order.encode() + struct.pack(mark + "HI", 42, 8 + late) + bytes(late) + directory


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def in_jpeg(*parts):
    jpeg = encode("JPEG", quality=95)
    return jpeg[:2] + b"".join(parts) + jpeg[2:]


def exif_segment(*args, **options):
    return segment(0xE1, b"Exif\0\0" + tiff(*args, **options))


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def in_png(*chunks, after=b"", mode="RGB"):
    png = encode("PNG", mode)
    end = png.index(b"IEND") - 4
    return png[:33] + b"".join(chunks) + png[33:end] + after + png[end:]


def bmp(bits, pixels, header=40, compression=0, masks=(), table=b"", height=HEIGHT, width=WIDTH, used=0):
    """A BMP of packed rows; `header` is the size of its header."""
    if header == 12:
        head = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        head = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, 0, 0, 0, used, 0)
        packed = b"".join(struct.pack("<I", mask) for mask in masks)
        head = head[: header if header < 40 else 40] + packed.ljust(max(header - 40, 0), b"\0")
    start = 14 + len(head) + len(table)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + head + table + pixels


def rows(values, bits):
    """Packs `(h, w)` values of `bits` each into rows of whole words, the last row first."""
    packed = []
    for row in np.asarray(values, np.int64)[::-1]:
        if bits >= 8:
            data = b"".join(int(value).to_bytes(bits // 8, "little") for value in row)
        else:
            text = "".join(f"{value:0{bits}b}" for value in row)
            data = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8))
        packed.append(data.ljust(-(-len(data) // 4) * 4, b"\0"))
    return b"".join(packed)


def masked(*masks):
    """`scene` packed by masks of red, green, blue (and alpha)."""
    value = np.zeros((HEIGHT, WIDTH), np.int64)
    for channel, mask in zip(np.moveaxis(scene(4).astype(np.int64), -1, 0), masks, strict=False):
        low = mask & -mask
        value |= (channel * (mask // low) // 255) * low if mask else 0
    return value


def table(count, entry=4):
    return b"".join(bytes([(37 * n) % 256, (91 * n + 5) % 256, (13 * n + 60) % 256, 0][:entry]) for n in range(count))


def places(count):
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return (3 * y + x) % count


def gif(width=WIDTH, height=HEIGHT, left=0, top=0, screen=None, clear=None, local=False):
    """A GIF of one frame, perhaps smaller than its screen, with or without a clear colour."""
    made = Image.fromarray(places(16).astype(np.uint8)[:height, :width], "P")
    made.putpalette(table(16, 3))
    file = io.BytesIO()
    made.save(file, "GIF", optimize=False)
    data = file.getvalue()
    flags = data[10]
    size = 3 * 2 ** (flags % 8 + 1)
    colors, frame = data[13 : 13 + size], data.index(b"\x2c", 13 + size)
    control = b"" if clear is None else b"\x21\xf9\x04\x01\0\0" + bytes([clear]) + b"\0"
    place = struct.pack("<HHHH", left, top, width, height)
    own = bytes([0x80 | flags % 8]) + colors if local else b"\0"
    body = b"\x2c" + place + own + data[frame + 10 :]
    return (
        b"GIF89a"
        + struct.pack("<HH", *(screen or (width, height)))
        + (b"\0\0\0" if local else bytes([flags]) + b"\0\0" + colors)
        + control
        + body
    )


def webp_chunks(data):
    place, found = 12, []
    while place < len(data):
        size = struct.unpack_from("<I", data, place + 4)[0]
        found.append(data[place : place + 8 + size + size % 2])
        place += 8 + size + size % 2
    return found


def webp(flags, *chunks):
    sides = (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<IB", 10, flags) + bytes(3) + sides + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def readable():
    """Dict of name -> bytes of files that every road reads, with the pixels of Pillow."""
    cases = {f"jpeg exif {n}": in_jpeg(exif_segment(n)) for n in range(1, 9)}
    first = {
        "jfif": b"",
        "icc": segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(3000)),
        "app13": segment(0xED, b"Photoshop 3.0\0" + bytes(40)),
        "app14": segment(0xEE, b"Adobe\0" + bytes(6)),
        "comment": segment(0xFE, b"hello"),
        "xmp": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
        "fill": b"\xff" * 20,
        "many": segment(0xFE, b"x") * 90,
    }
    cases |= {f"jpeg exif after {name}": in_jpeg(part, exif_segment(6)) for name, part in first.items()}
    cases |= {
        "jpeg exif late": in_jpeg(exif_segment(8, late=5001)),
        "jpeg exif big-endian long": in_jpeg(exif_segment(3, "MM", 4)),
        "jpeg exif last of many": in_jpeg(exif_segment(5, "MM", before=60)),
        "jpeg exif odd": in_jpeg(exif_segment(77)),
        "jpeg exif nonsense": in_jpeg(segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 16)),
        "jpeg progressive": encode("JPEG", quality=95, progressive=True),
        "jpeg grey": encode("JPEG", "L", quality=95),
        "jpeg trailer": encode("JPEG", quality=95) + b"MotionPhoto" + b"\xff\xda" * 99,
        "png": encode("PNG"),
        "png exif": in_png(chunk(b"eXIf", tiff(6))),
        "png exif at end": in_png(after=chunk(b"eXIf", tiff(7, "MM"))),
        "png alpha": encode("PNG", "RGBA"),
        "png grey alpha": encode("PNG", "LA"),
        "png clear colour": in_png(chunk(b"tRNS", struct.pack(">HHH", *scene()[3, 4]))),
        "png text": in_png(*[chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(10**6), 9))] * 5, mode="RGBA"),
        "png many data": encode("PNG"),
        "webp alpha lossless": encode("WEBP", "RGBA", lossless=True, exact=True),
        "webp alpha lossy": encode("WEBP", "RGBA", quality=95),
        "webp alpha, extended, lossless": encode("WEBP", "RGBA", lossless=True, icc_profile=bytes(200)),
        "webp exif": encode("WEBP", lossless=True, exif=b"Exif\0\0" + tiff(6)),
        "webp exif alpha": encode("WEBP", "RGBA", quality=95, exif=tiff(8, "MM", 4)),
        "webp flag of alpha without any": webp(0x10, *webp_chunks(encode("WEBP", quality=95))),
        "gif": gif(),
        "gif clear": gif(clear=3),
        "gif part": gif(20, 11, 3, 4, (26, 19)),
        "gif part clear": gif(20, 11, 3, 4, (26, 19), clear=0),
        "gif local": gif(clear=5, local=True),
        "gif moving": encode("GIF", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))]),
        "bmp 24": encode("BMP"),
        "bmp grey": encode("BMP", "L"),
        "bmp 1": bmp(1, rows(places(2), 1), table=table(2)),
        "bmp 4": bmp(4, rows(places(16), 4), table=table(16)),
        "bmp 4 of few colours": bmp(4, rows(places(5), 4), table=table(5), used=5),
        "bmp 8": bmp(8, rows(places(256), 8), table=table(256)),
        "bmp 8 os2": bmp(8, rows(places(256), 8), 12, table=table(256, 3)),
        "bmp 24 os2": bmp(24, rows(masked(0xFF0000, 0xFF00, 0xFF), 24), 12),
        "bmp 8 os2 2": bmp(8, rows(places(256), 8), 64, table=table(256)),
        "bmp 16": bmp(16, rows(masked(0x7C00, 0x3E0, 0x1F), 16)),
        "bmp 565": bmp(16, rows(masked(0xF800, 0x7E0, 0x1F), 16), 40, 3, (0xF800, 0x7E0, 0x1F)),
        "bmp 32": bmp(32, rows(masked(0xFF0000, 0xFF00, 0xFF), 32)),
        "bmp from the top": bmp(32, rows(masked(0xFF0000, 0xFF00, 0xFF), 32), height=-HEIGHT),
    }
    orders = {"rgba": (0xFF, 0xFF00, 0xFF0000, 0xFF000000), "abgr": (0xFF000000, 0xFF0000, 0xFF00, 0xFF)}
    orders["bgra"] = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for name, masks in orders.items():
        cases[f"bmp {name}"] = bmp(32, rows(masked(*masks), 32), 108, 3, masks)
    return cases


def refused():
    """Dict of name -> `(bytes, words of the reason)` of files that every road refuses."""
    jpeg, frame = encode("JPEG", quality=95), encode("JPEG").index(b"\xff\xc0")
    false = segment(0xC0, struct.pack(">BHHB", 8, 3, 3, 3) + bytes(9))
    scan = jpeg[jpeg.index(b"\xff\xda") : -2]
    progressive = encode("JPEG", progressive=True)
    last = progressive[progressive.rindex(b"\xff\xda") : -2]

    def kind(marker):
        return jpeg[: frame + 1] + bytes([marker]) + jpeg[frame + 2 :]

    def changed(data, place, value):
        return data[:place] + bytes([value]) + data[place + 1 :]

    def iso(brand):
        return struct.pack(">I", 24) + b"ftyp" + brand + bytes(40)

    changed_size = encode("PNG").replace(struct.pack(">II", WIDTH, HEIGHT), b"\xff" * 8)
    moving = encode("WEBP", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))])
    return {
        "empty": (b"", "empty: there are no image bytes"),
        "html": (b"<html>", "no JPEG, PNG, GIF, BMP or WebP"),
        "heic": (iso(b"heic"), "HEIC images are not decoded; convert"),
        "avif": (iso(b"avif"), "AVIF images are not decoded; convert"),
        "tiff": (encode("TIFF"), "TIFF images are not decoded; convert"),
        "jpeg 2000": (encode("JPEG2000"), "JPEG 2000 images are not decoded; convert"),
        "lossless jpeg": (kind(0xC3), "lossless JPEG"),
        "hierarchical jpeg": (kind(0xC5), "hierarchical JPEG"),
        "jpeg of 12 bits": (changed(jpeg, frame + 4, 12), "JPEG of this number of bits"),
        "jpeg of two channels": (changed(jpeg, frame + 9, 2), "JPEG of this number of channels"),
        "jpeg with a false frame": (in_jpeg(b"\xff\x00" + struct.pack(">H", 21), false), "where a segment must begin"),
        "jpeg with two frames": (in_jpeg(false), "where a segment must begin"),
        "jpeg with two frames, cut": (in_jpeg(false)[:21] + false[:9], "where a segment must begin"),
        "jpeg with an end in front": (in_jpeg(b"\xff\xd9\0\x02"), "where a segment must begin"),
        "jpeg cut": (jpeg[:-90], "the JPEG is cut short"),
        "jpeg cut before its size": (jpeg[:60], "the JPEG is cut short"),
        "jpeg of many scans": (progressive[:-2] + last * 99 + b"\xff\xd9", "more than 64 scans"),
        "jpeg of many scans of one channel": (
            changed(jpeg[: -len(scan) - 2], frame + 9, 4) + scan * 99 + b"\xff\xd9",
            "more than 64 scans",
        ),
        "jpeg with much fill": (in_jpeg(b"\xff" * 5000), "too many parts"),
        "jpeg of many segments": (in_jpeg(segment(0xFE, b"") * 9000), "too many parts"),
        "png cut": (encode("PNG")[:-60], "the PNG is cut short"),
        "png broken": (encode("PNG").replace(b"IDAT", b"IDAU"), "the PNG cannot be decoded"),
        "png of many chunks": (in_png(*[chunk(b"tEXt", b"k\0v")] * 2000), "too many parts"),
        "png too large": (changed_size, "4294967295x4294967295"),
        "webp moving": (moving, "animated WebP"),
        "webp cut": (encode("WEBP")[:-90], "the WebP cannot be decoded"),
        "gif beyond its screen": (gif(screen=(9, 9)), "reaches beyond its screen"),
        "gif cut": (gif()[:-90], "the GIF is cut short"),
        "gif without colours": (gif()[:10] + b"\0" + gif()[11:13] + gif()[61:], "without a table of colours"),
        "bmp rle": (bmp(8, bytes(99), compression=1, table=table(256)), "a compressed BMP"),
        "bmp of png": (bmp(24, bytes(99), compression=5), "a compressed BMP"),
        "bmp of 2 bits": (bmp(2, bytes(999)), "BMP of this number of bits"),
        "bmp header": (bmp(24, bytes(9999), 44), "BMP with a header of this kind"),
        "bmp masks": (bmp(32, bytes(9999), 40, 3, (0xF0F, 0xF000, 0xFF0000)), "bit masks have gaps"),
        "bmp cut": (encode("BMP")[:-200], "the BMP is cut short"),
    }
