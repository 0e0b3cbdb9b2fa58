"""The contract of a method as questions to it: `bench test`, and the tests of the methods here."""

from bench.conformance.outcome import Finding
from bench.conformance.subject import Subject
from bench.conformance.suite import CHECKS, examine

__all__ = ["CHECKS", "Finding", "Subject", "examine"]
