"""Offline bundles: a signed folder that holds all that a control node and its servers need.

``verify`` and ``media`` are programs of their own, too: standard library, Python 3.6 and later, nothing of the kit.
"""
