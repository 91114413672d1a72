"""The log: what comes from outside cannot forge a line, and nothing is said again and again."""

import io
import logging

import pytest

from export.server.log import LogHandler

FORGED = "half\n2026-01-01 00:00:00,000 ERROR all is lost\x1b[2J\u2028\u202e"


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def log(clock):
    """`(logger, function that gives the lines so far, handler)`"""
    stream = io.StringIO()
    handler = LogHandler(stream, lambda: clock[0])
    logger = logging.getLogger("test_log")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield logger, lambda: stream.getvalue().splitlines(), handler
    logger.removeHandler(handler)


@pytest.mark.parametrize("say", ["info", "error"])
def test_a_name_cannot_forge_a_line(log, say):
    logger, lines, _ = log
    getattr(logger, say)("Loaded %s version %d", FORGED, 3)
    (line,) = lines()
    assert f"{say.upper()} Loaded half\\n2026" in line and "\\x1b[2J\\u2028\\u202e version 3" in line


def test_nor_can_the_error_of_a_traceback(log):
    logger, lines, _ = log
    try:
        raise ValueError(FORGED)
    except ValueError:
        logger.exception("Internal error")
    first, *rest = lines()
    assert first.endswith("ERROR Internal error") and rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)


def test_a_repeated_error_is_said_once_with_its_count(log, clock):
    logger, lines, handler = log
    for _ in range(5):
        logger.info("as often as it happens")
        logger.error("out of files")
        try:
            raise OSError(24, "Too many open files")
        except OSError:
            logger.exception("accept")
    logger.error("another")
    said = [line.split(" ", 2)[2] for line in lines() if not line.startswith(" ")]
    assert said.count("INFO as often as it happens") == 5
    assert [line for line in said if "INFO" not in line] == ["ERROR out of files", "ERROR accept", "ERROR another"]
    clock[0] = 61.0
    logger.error("out of files")
    said = [line.split(" ", 2)[2] for line in lines() if not line.startswith(" ")]
    assert said[-3:] == [
        "ERROR (repeated 4 times) out of files",
        "ERROR (repeated 4 times) accept",
        "ERROR out of files",
    ]
    logger.error("out of files")
    handler.close()
    assert lines()[-1].endswith("ERROR (repeated 1 time) out of files")


def test_many_different_errors_are_all_said(log):
    logger, lines, handler = log
    for number in range(300):
        logger.error("error %d", number)
    assert len(lines()) == 300 and len(handler._events) <= 100
