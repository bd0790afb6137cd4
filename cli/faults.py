"""What is wrong with an installation."""


class Faulty(Exception):
    """What is wrong, and how to mend it."""

    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.fix = fix
