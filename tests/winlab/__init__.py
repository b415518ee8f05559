"""A Windows host of one's own: Wine with its real service manager, real NSSM, and modules that act on it.

docs/testing.md says what of it is real, what is only written down, and what is refused.
"""
