"""Training: data -> network -> loss -> fit -> evaluation -> export. The only room that imports
torch.

    load_options.py what a user may say of labeled images
    datasets/       find, check and read them                         -> Dataset
    networks/       frozen backbone and the paper's head              -> Classifier
    features/       the backbone's output, computed once              -> memory-mapped arrays
    losses/         what training minimizes, one file per loss        -> Objective
    processes/      device, half precision, several processes
    fitting/        epochs of Adam over features or images            -> history
    evaluation/     logits -> calibrators -> measures and plots
    runs/           one training run, from configuration to run folder to bundle
    experiments/    many runs: the paper's tables and figures, the choice of a method

Two things come from outside the arguments: the variables by which torchrun tells a process its rank
(processes/distributed.py), and the time at which a run is finished, which is the date on its card.
It never imports serving or monitoring.
"""
