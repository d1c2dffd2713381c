"""Lines for the gateway's log, under the policy's name. Bounded in length (1024 bytes) and number. Always available."""

from portcullis._bindings import interface

_log = interface("log")


def debug(message: str) -> None:
    _log.write(_log.Level.DEBUG, message)


def info(message: str) -> None:
    _log.write(_log.Level.INFO, message)


def warn(message: str) -> None:
    _log.write(_log.Level.WARN, message)


def error(message: str) -> None:
    _log.write(_log.Level.ERROR, message)
