"""The errors of the domain. What is transient is worth a retry; what is not says why in words for the sender."""


class Unavailable(Exception):
    """A database, object store or other server that does not answer now, and may answer later."""

    code = "unavailable"
    """A stable word for programs."""


class Overloaded(Unavailable):
    """No more submissions are taken for now: the queue is too long, or the disk too full."""


class NotPermitted(Unavailable):
    """A server that answers, and does not let Facet do this."""


class ObjectNotFound(Exception):
    """The object store holds nothing under this key."""


class ImageError(Exception):
    """An image that cannot be processed, however often it is tried.

    `code` is a stable word for programs (`not-a-picture`, `unsupported`, `undecodable`, …); the message is for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def unsupported(name: str) -> ImageError:
    """The refusal of a picture of a kind that is not read."""
    return ImageError("unsupported", f"The file is {name}, which is not read here.")
