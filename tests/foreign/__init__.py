"""A second author's archive of the server: the documented layout, built without any code of the kit or the stand-in."""
