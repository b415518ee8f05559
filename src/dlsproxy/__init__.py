"""Put nginx in front of a Dynamsoft License Server on this host, and say first what keeps it from working.

Two verbs: `look` changes nothing and tells everything at once; `apply` does what `look` has told. The deployment
engines pipe this package, dlsfirewall and dlsctl, whose helpers it uses, through the host's Python; none has to be
there. What they ask arrives on standard input, since it may hold a private key. Standard library only, Python 3.6 and
later.
"""
