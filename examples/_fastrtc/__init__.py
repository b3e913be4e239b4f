"""What the two FastRTC examples share: the program around them, a web page, and a caller."""
