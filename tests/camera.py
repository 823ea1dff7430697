"""What a telephone's camera reads."""

from __future__ import annotations

import io

import zxingcpp
from PIL import Image


def scanned(picture: bytes | Image.Image) -> list[str]:
    """Return the texts of the QR codes in a picture.

    Of no other kind: between a QR code's modules there is a bar code now and then, by chance.
    """
    image = Image.open(io.BytesIO(picture)) if isinstance(picture, bytes) else picture
    kind = zxingcpp.BarcodeFormat.QRCode
    return [code.text for code in zxingcpp.read_barcodes(image, formats=kind)]
