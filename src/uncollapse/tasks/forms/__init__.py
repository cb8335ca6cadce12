"""Rows of parallel forms, such as the tenses of a verb: training, conversion, and the scores of the tense lab."""
