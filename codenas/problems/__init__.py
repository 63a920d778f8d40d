"""Benchmark problems: the records of HumanEval, its infilling variants and MBPP."""

from codenas.problems.reader import load_problems, parse_problem
from codenas.problems.records import HumanEvalProblem, MbppProblem, Problem

__all__ = ["HumanEvalProblem", "MbppProblem", "Problem", "load_problems", "parse_problem"]
