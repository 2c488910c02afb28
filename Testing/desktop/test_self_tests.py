"""The self-tests for a desktop Slicer pass on the stand-in too: they are known to work before one is at hand."""

from __future__ import annotations

import importlib.util
import unittest

from conftest import PROJECT


def run(case: type) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def test_the_self_tests_of_the_build_pass(person):
    path = PROJECT / "Testing" / "Slicer" / "test_hlfd_segment.py"
    spec = importlib.util.spec_from_file_location("self_tests", path)
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    result = run(tests.HLFDSegmentSelfTest)
    assert [message for _test, message in (*result.errors, *result.failures)] == []
    assert result.testsRun == 5
    assert result.skipped == []


def test_the_self_test_of_the_module_file_passes(person):
    import HLFDSegment

    result = run(HLFDSegment.HLFDSegmentTest)
    assert [message for _test, message in (*result.errors, *result.failures)] == []
