"""A whole site, as an operator has it: a pair behind TLS, its keys in Ansible Vault."""
