"""Scores in percent, one kind of answer a file: pure functions of gold and predictions."""
