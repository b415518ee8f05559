"""What is judged on the control node for Windows hosts, which have no Python: facts come in, decisions go out."""
