"""What `dlskit portal` does, with real Chromium at the portal of a real stand-in."""
