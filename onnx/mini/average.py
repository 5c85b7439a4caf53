"""The mean of weights that several runs made of the same ones, each on data of its own: as good as a larger batch.

python average.py FLOW_A.pt FLOW_B.pt ... OUT.pt        # arXiv 2203.05482
"""

import sys

from training import halves, save, weights


def mean(states):
    return {name: sum(state[name] for state in states) / len(states) for name in states[0]}


if __name__ == "__main__":
    *runs, out = sys.argv[1:]
    save(halves(mean([weights(path) for path in runs])), out)
