"""A client of the vendor's: `client.py < KEY` starts a license with the installed SDK dbr and prints {code, message}.

Run in a process of its own by a Python that has the SDK: a crash of the SDK is one of the answers.
"""

import json
import sys

from dbr import BarcodeReader, BarcodeReaderError  # type: ignore[import-not-found]

try:
    code, message = BarcodeReader.init_license(sys.stdin.read())
except BarcodeReaderError as error:
    code, message = error.error_code, str(error)
print(json.dumps({"code": code, "message": message}))
