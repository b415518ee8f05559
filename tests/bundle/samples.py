"""Keys and small bundles for tests."""

import base64
import struct
from pathlib import Path

from dlskit import minisign
from dlskit.bundle import build, verify
from dlskit.bundle.content import Content, Source

KEY = minisign.SecretKey(b"bundle-1", bytes(range(32)))
OTHER_KEY = minisign.SecretKey(b"bundle-2", bytes(range(1, 33)))
FILES = {
    "archives/dls.tar.gz": b"archive" * 30_000,
    "docs/empty": b"",
    "kit/a file, with (odd) letters+.txt": b"text",
    "wheels/a-1.0-py3-none-any.whl": bytes(range(256)) * 2,
    "wheels/" + "long_" * 35 + ".whl": b"long",
}


def public_file(path: Path, key: minisign.SecretKey = KEY) -> Path:
    """Write the public half of a key as minisign does."""
    record = base64.b64encode(b"Ed" + key.id + key.public.key).decode()
    path.write_text(f"untrusted comment: minisign public key\n{record}\n")
    return path


def secret_file(path: Path, key: minisign.SecretKey = KEY) -> Path:
    """Write the secret half of a key, without a password, as minisign does."""
    start = struct.pack("<2s2s2s32sQQ", b"Ed", b"\0\0", b"B2", bytes(32), 0, 0)
    record = base64.b64encode(start + key.id + key.seed + key.public.key + bytes(32)).decode()
    path.write_text(f"untrusted comment: minisign secret key\n{record}\n")
    return path


def make(folder: Path, files: dict[str, bytes] | None = None, name: str = "sample", **more: object) -> Path:
    """Write a signed bundle of these files; `more` goes into the manifest."""
    content = Content()
    for path, data in (FILES if files is None else files).items():
        content.add(path, Source("pkg:generic/sample@1", data=data))
    folder.mkdir()
    entries = content.write(folder)
    manifest = {"kind": verify.KIND, "schema": verify.SCHEMA, "name": name, "kit": "1.0", "files": entries}
    lists: dict[str, object] = {key: [] for key in ("vendor", "pythons", "platforms", "targets")}
    return sign(folder, {**manifest, **lists, **more})


def sign(folder: Path, manifest: dict[str, object], key: minisign.SecretKey = KEY) -> Path:
    """Write a manifest into a folder, and its signature."""
    build.write_signed(folder / verify.MANIFEST, manifest, key, "bundle sample")
    return folder
