"""The self-tests for a desktop Slicer pass on the stand-in too: they are known to work before one is at hand."""

from __future__ import annotations

import importlib.util
import unittest

from conftest import PROJECT


def run(case: type) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def self_tests(name: str) -> object:
    spec = importlib.util.spec_from_file_location("self_tests", PROJECT / "Testing" / "Slicer" / f"{name}.py")
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    return tests


def test_the_self_tests_of_the_build_pass(person):
    result = run(self_tests("test_hlfd_segment").HLFDSegmentSelfTest)
    assert [message for _test, message in (*result.errors, *result.failures)] == []
    assert result.testsRun == 5
    assert result.skipped == []


def test_the_self_tests_of_hlfd_train_pass(trainer):
    result = run(self_tests("test_hlfd_train").HLFDTrainSelfTest)
    assert [message for _test, message in (*result.errors, *result.failures)] == []
    assert result.testsRun == 3


def test_the_self_test_of_the_module_file_of_hlfd_train_passes(trainer):
    import HLFDTrain

    result = run(HLFDTrain.HLFDTrainTest)
    assert [message for _test, message in (*result.errors, *result.failures)] == []


def test_the_self_test_of_the_module_file_passes(person):
    import HLFDSegment

    result = run(HLFDSegment.HLFDSegmentTest)
    assert [message for _test, message in (*result.errors, *result.failures)] == []
