"""The one error type a user sees."""


class ExportError(Exception):
    """Something about the checkpoint, the bundle or the goldens that the user can act on."""
