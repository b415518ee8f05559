"""The two engines compared: Ansible's roles, and the deploys by pyinfra."""
