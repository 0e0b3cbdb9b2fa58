"""The contract of a method as questions to it: `bench test`, and the tests of the methods here."""

from bench.contract.outcome import Finding
from bench.contract.subject import Subject
from bench.contract.suite import CHECKS, examine

__all__ = ["CHECKS", "Finding", "Subject", "examine"]
