"""What can be told of a file for fine-tuning before anything is served: its data, its screens, a small tuning under the gate, and advice.

Everything is told of the whole file and nothing of a row, so that an audit does not teach how to pass one.
"""
