"""The lab: Linux test hosts in systemd containers, reached over real SSH.

engine   is a container engine there; install and start one when told to
images   the systemd images, built from Debian's packages or taken from a registry
hosts    containers of a lab, their network, keys and Ansible inventory

Results on these images are called "lab": docs/testing.md says what each of them proves.
"""
