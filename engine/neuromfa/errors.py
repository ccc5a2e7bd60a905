"""The five ways an analysis can fail, each with its exit code.

A message has the form *where: what, with both values; the way out*. Code that works on arrays
raises plain ``TypeError`` or ``ValueError`` with the fact; the analysis adds file and tensor.
"""


class NeuromfaError(Exception):
    """Base of everything that neuromfa raises on purpose."""

    exit_code = 1


class UsageError(NeuromfaError):
    """The call or the protocol makes no sense."""

    exit_code = 2


class PartialError(NeuromfaError):
    """Part of the work failed; what was finished has been written."""

    exit_code = 3


class UnsupportedError(NeuromfaError):
    """A format, dtype or architecture that is not read yet."""

    exit_code = 4


class BadInputError(NeuromfaError):
    """A file or tensor is missing, incomplete, or not what it says it is."""

    exit_code = 5


class ResourceError(NeuromfaError):
    """Not enough memory or disk, or a device or package that is not there."""

    exit_code = 6
