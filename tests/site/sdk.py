"""A client of the vendor's own: `sdk.py < KEY` starts a license with the installed SDK and prints its answer.

Needs the package dbr in this Python; run it in a process of its own, with HOME set to an empty folder for its cache.
"""

import sys

from dbr import BarcodeReader, BarcodeReaderError  # type: ignore[import-not-found]

try:
    code, message = BarcodeReader.init_license(sys.stdin.read())
except BarcodeReaderError as error:
    code, message = error.error_code, str(error)
print(code, message)
