"""One objective per framework, behind one protocol."""
