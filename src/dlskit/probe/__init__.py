"""Look at a license server, or a pair, as clients on this machine do: over the network, without a login.

Checks of one URL are in ``http``, those with the vendor's own SDK in ``sdk``.
"""
