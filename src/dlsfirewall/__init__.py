"""Open the ports of the proxy in the firewall that runs on this host, and nothing else.

Called by dlsproxy, with which it is piped through the host's Python; helpers come from dlsctl. Standard library only,
Python 3.6 and later. What was opened here is known again by its mark, so that it can be closed; rules of others are
never changed. No firewall is started: that would close everything else on the host, which is the operator's decision.
"""
