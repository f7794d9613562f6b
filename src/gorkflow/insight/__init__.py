"""Insight into workflows and runs, without running them: advice, drawings, explanations."""

from gorkflow.insight.explain import Block, Branch, Explanation, Phase, Row, Span

__all__ = ["Block", "Branch", "Explanation", "Phase", "Row", "Span"]
