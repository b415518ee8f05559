"""The control node's side of DLS Kit: vendor archives, the roles' variables, and the command line for them."""

__version__ = "0.1.0"
