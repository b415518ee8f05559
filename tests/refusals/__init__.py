"""What the playbooks refuse, on hosts of the lab: the Molecule scenario refuses_bad_input runs these."""
