"""Archives made byte by byte, where the standard library is too polite to write what an attacker would."""
