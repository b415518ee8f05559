"""``dlskit portal``: the steps that the vendor documents for a person at the portal."""
