"""The proxy on a Windows host, IIS: whether it can become what the variables say, and what is due for that."""
