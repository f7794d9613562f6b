"""Insight into workflows and runs, without running them: advice, drawings, explanations."""

from gorkflow.insight.explain import Block, Branch, Explanation, Phase, Row, Span
from gorkflow.insight.whatif import Changes

__all__ = ["Block", "Branch", "Changes", "Explanation", "Phase", "Row", "Span"]
