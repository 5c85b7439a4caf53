"""What the tests of clients share: a running server, ears, and sound as both understand it."""
