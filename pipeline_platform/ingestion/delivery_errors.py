"""Why a delivered file can't be read as a whole: one class, one rule name per cause.

A fault of a single line is no error: it becomes a rejected line and the rest goes on.
"""

from typing import ClassVar

from pipeline_platform.failures import BadInputError


class DeliveryError(BadInputError):
    """A file that can't be read; `rule` is the reason's name in quarantine and reports."""

    rule: ClassVar[str] = "unreadable_file"


class UnknownVendorError(DeliveryError):
    """No mapping, or more than one, claims the file name."""

    rule = "unknown_vendor"


class EmptyFileError(DeliveryError):
    """The file holds no line at all, or nothing but blank ones."""

    rule = "empty_file"


class HeaderOnlyError(DeliveryError):
    """The file holds a header (and trailer) but no data record."""

    rule = "header_only"


class WrongEncodingError(DeliveryError):
    """The file is not written in the encoding that the mapping names."""

    rule = "wrong_encoding"


class UnreadableHeaderError(DeliveryError):
    """The header line can't be split into column names."""

    rule = "unreadable_header"


class DuplicateHeaderError(DeliveryError):
    """A column name stands twice in the header."""

    rule = "duplicate_header"


class MissingColumnError(DeliveryError):
    """The header lacks a column that the mapping needs."""

    rule = "missing_column"


class UnknownColumnError(DeliveryError):
    """The header holds a column that the mapping does not know."""

    rule = "unknown_column"


class MissingHeaderError(DeliveryError):
    """A fixed-width file does not begin with its header record."""

    rule = "missing_header"


class MissingTrailerError(DeliveryError):
    """A fixed-width file ends without its trailer record: probably cut off."""

    rule = "missing_trailer"


class TrailerMismatchError(DeliveryError):
    """Row count or control total of the trailer differ from what was read."""

    rule = "trailer_mismatch"


class DataAfterTrailerError(DeliveryError):
    """Records follow the trailer of a fixed-width file."""

    rule = "data_after_trailer"


class TruncatedGzipError(DeliveryError):
    """The gzip stream ends before its end marker."""

    rule = "truncated_gzip"


class CorruptGzipError(DeliveryError):
    """The gzip stream is damaged: checksum or structure is wrong."""

    rule = "corrupt_gzip"


class TruncatedZstdError(DeliveryError):
    """The zstd stream ends in the middle of a frame."""

    rule = "truncated_zstd"


class CorruptZstdError(DeliveryError):
    """The zstd stream is damaged."""

    rule = "corrupt_zstd"


class NotGzipError(DeliveryError):
    """The mapping says gzip, the file is none."""

    rule = "not_gzip"


class UnexpectedCompressionError(DeliveryError):
    """The mapping says plain text, the file is gzip."""

    rule = "unexpected_compression"


class LineTooLongError(DeliveryError):
    """A line is longer than the limit that keeps memory bounded."""

    rule = "line_too_long"
