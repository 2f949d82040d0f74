"""The one exception whose message is written for the person who runs the project."""


class ProjectError(Exception):
    """A mistake that a person can mend.

    The message names the input and says what to do instead; it is shown without a traceback.
    """
