"""Training: data -> network -> loss -> loop -> evaluation -> export. The only room that imports torch.

    datasets/       find and read labelled images             -> Dataset
    networks.py     frozen backbone and the paper's head       -> Classifier
    features.py     the backbone's answers, computed once      -> memory-mapped arrays
    losses/         what is minimized, one file a loss
    loop.py         epochs of Adam over features               -> history
    work.py         the parts of a run in memory
    evaluation.py   logits -> temperature -> Measures
    run.py          all of it, into one run folder
    export.py       run folder -> bundle in the model store
    experiments/    many runs: the paper's tables and figures, the choice of a method

It reads no environment variable and no clock but the card's date, and never imports serving or monitoring.
"""
