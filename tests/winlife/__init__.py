"""The life of a server on the Windows host of the lab, by the kit's playbooks; run by the scenario windows_lab."""
