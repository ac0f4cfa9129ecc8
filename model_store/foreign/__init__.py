"""Models that Candor did not train: from somebody's ONNX file to a bundle like any other.

A file is read without being trusted (`onnx_file.py`) and run only in a process with limits
(`sandbox.py`). A look at it and a few runs tell what goes in (`image_input.py`) and what comes out
(`class_scores.py`). What the graph cannot tell comes from the caller, or from labeled images
(`preprocessing_choice.py`). The result is one graph that keeps Candor's contract (`wrapping.py`),
compared with the file as it came before anything is published (`model_import.py`).
"""
