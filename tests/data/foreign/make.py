"""Make the foreign models of this folder: `python make.py MAKER`, in an environment with that
maker's packages.

Each maker writes small models, and what its own pipeline says about the images of `images/` to
`expected/MODEL.json`, with the versions of its packages. Run it only to add a model: the files are
kept so that tests need none of the makers.

    python make.py images        # pillow, scikit-learn
    python make.py sklearn       # scikit-learn, skl2onnx, onnxmltools, lightgbm, xgboost
    python make.py catboost      # catboost, scikit-learn
    python make.py keras         # tensorflow-cpu, tf2onnx
    python make.py torch         # torch, onnxscript
    python make.py quantized     # onnxruntime, onnxconverter-common; after torch
    python make.py jax           # jax, flax, jax2onnx
    python make.py paddle        # paddlepaddle, paddle2onnx
    python make.py huggingface   # transformers, optimum-onnx, timm
    python make.py hummingbird   # hummingbird-ml, torch, scikit-learn
    python make.py handmade      # onnx: old files of makers that are gone, by operators
    python make.py clean         # onnx: take out names of local files; after torch and keras
"""

import importlib.metadata
import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")
warnings.filterwarnings("ignore")

FOLDER = Path(__file__).parent
CLASSES = ("benign", "malignant", "normal")
TEN = [str(each) for each in range(10)]
SIDE = 24


def images(kind):
    """Images (N, H, W, C) uint8: "rgb" 24 x 24, "gray" handwritten digits 8 x 8."""
    from PIL import Image

    files = sorted((FOLDER / "images").glob(f"{kind}_*.png"))
    return np.stack(
        [np.asarray(Image.open(file)).reshape(*Image.open(file).size[::-1], -1) for file in files]
    )


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def expect(name, probabilities, options="", *, classes=CLASSES, kind="rgb", makers):
    """Write what the maker's pipeline says. `options`: of `candor import`; `makers`: packages."""
    versions = {each: importlib.metadata.version(each) for each in makers.split()}
    said = {
        "images": kind,
        "classes": [str(each) for each in classes],
        "options": options.split(),
        "makers": versions,
        "probabilities": [[round(float(p), 7) for p in row] for row in probabilities],
    }
    (FOLDER / "expected").mkdir(exist_ok=True)
    (FOLDER / "expected" / f"{name}.json").write_text(json.dumps(said, indent=1) + "\n")
    size = (FOLDER / f"{name}.onnx").stat().st_size
    print(f"{name}: {size:,} bytes", np.round(np.asarray(probabilities)[0], 3))


def make_images():
    from PIL import Image
    from sklearn.datasets import load_digits

    (FOLDER / "images").mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for at in range(6):
        coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(
            FOLDER / "images" / f"rgb_{at}.png"
        )
    for at, digit in enumerate(load_digits().images[:6]):
        Image.fromarray(np.rint(digit * 255 / 16).astype(np.uint8)).save(
            FOLDER / "images" / f"gray_{at}.png"
        )


def digits():
    """Training images (N, 64) of gray levels 0 to 255, and labels."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    return np.rint(loaded.data * 255 / 16).astype(np.float32)[100:], loaded.target[100:]


def make_sklearn():
    import lightgbm
    import onnxmltools
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType as MlFloat
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = digits()
    test = images("gray").reshape(-1, 64).astype(np.float32)

    def keep(name, onnx, own, options, makers):
        (FOLDER / f"{name}.onnx").write_bytes(onnx.SerializeToString())
        expect(name, own, options, classes=TEN, kind="gray", makers=makers)

    made = "scikit-learn skl2onnx"
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(x, y)
    onnx = convert_sklearn(logistic, initial_types=[("X", FloatTensorType([None, 64]))])
    keep("sklearn_logistic", onnx, logistic.predict_proba(test), "--normalize raw", made)
    forest = RandomForestClassifier(8, max_depth=5, random_state=0).fit(x / 255, y)
    onnx = convert_sklearn(
        forest, initial_types=[("float_input", FloatTensorType([None, 64]))], target_opset=12
    )
    keep("sklearn_forest", onnx, forest.predict_proba(test / 255), "--normalize unit", made)
    mlp = MLPClassifier((16,), max_iter=80, random_state=0).fit(x.astype(np.float64) / 255, y)
    onnx = convert_sklearn(
        mlp,
        initial_types=[("X", DoubleTensorType([None, 64]))],
        options={id(mlp): {"zipmap": False}},
    )
    keep(
        "sklearn_mlp_double",
        onnx,
        mlp.predict_proba(test.astype(np.float64) / 255),
        "--normalize unit",
        made,
    )
    boosted = lightgbm.LGBMClassifier(n_estimators=4, num_leaves=6, verbose=-1).fit(x, y)
    onnx = onnxmltools.convert_lightgbm(
        boosted, initial_types=[("input", MlFloat([None, 64]))], target_opset=13
    )
    keep("lightgbm", onnx, boosted.predict_proba(test), "--normalize raw", "lightgbm onnxmltools")
    boosted = xgboost.XGBClassifier(n_estimators=4, max_depth=3).fit(x, y)
    onnx = onnxmltools.convert_xgboost(
        boosted, initial_types=[("input", MlFloat([None, 64]))], target_opset=13
    )
    keep("xgboost", onnx, boosted.predict_proba(test), "--normalize raw", "xgboost onnxmltools")


def make_catboost():
    import catboost

    x, y = digits()
    test = images("gray").reshape(-1, 64).astype(np.float32)
    model = catboost.CatBoostClassifier(iterations=6, depth=3, verbose=0, random_seed=0).fit(x, y)
    model.save_model(
        str(FOLDER / "catboost.onnx"),
        format="onnx",
        export_parameters={"onnx_domain": "ai.catboost"},
    )
    expect(
        "catboost",
        model.predict_proba(test),
        "--normalize raw",
        classes=TEN,
        kind="gray",
        makers="catboost",
    )


def make_keras():
    import keras
    import tensorflow as tf
    import tf2onnx
    from keras import layers

    keras.utils.set_random_seed(0)
    rgb = images("rgb").astype(np.float32)
    made = "keras tensorflow-cpu tf2onnx"

    def net(first, last):
        return keras.Sequential(
            [
                keras.Input((SIDE, SIDE, 3), name="input_image"),
                *first,
                layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
                layers.DepthwiseConv2D(3, padding="same"),
                layers.BatchNormalization(),
                layers.ReLU(6.0),
                layers.GlobalAveragePooling2D(),
                *last,
            ]
        )

    strong = keras.initializers.RandomNormal(stddev=4.0)
    model = net(
        [layers.Rescaling(1 / 127.5, offset=-1)],
        [layers.Dense(3, kernel_initializer=strong), layers.Softmax()],
    )
    own = model(rgb)
    model.export(str(FOLDER / "keras_rescaling.onnx"), format="onnx", verbose=False)
    expect("keras_rescaling", np.asarray(own), "--channels rgb", makers=made)

    model = net([], [layers.Dense(1, activation="sigmoid", kernel_initializer=strong)])
    spec = (tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="serving_default_x"),)
    tf2onnx.convert.from_function(
        tf.function(model), spec, opset=11, output_path=str(FOLDER / "keras_binary.onnx")
    )
    p = model.predict(rgb / 255, verbose=0)
    expect(
        "keras_binary",
        np.hstack([1 - p, p]),
        "--normalize unit --channels rgb",
        classes=CLASSES[:2],
        makers=made,
    )

    # What Teachable Machine and TensorFlow Lite Model Maker give: quantized, uint8 in and out.
    model = net([], [layers.Dense(3, kernel_initializer=strong), layers.Softmax()])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([each[None] / 127.5 - 1] for each in rgb)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    flat = converter.convert()
    lite = FOLDER / "keras_tflite.tflite"
    lite.write_bytes(flat)
    import subprocess

    target = FOLDER / "tflite_quantized.onnx"
    command = f"{sys.executable} -m tf2onnx.convert --tflite {lite} --output {target} --opset 13"
    subprocess.run(command.split(), check=True, capture_output=True)
    lite.unlink()
    interpreter = tf.lite.Interpreter(model_content=flat)
    interpreter.allocate_tensors()
    rows = []
    for each in rgb:
        interpreter.set_tensor(
            interpreter.get_input_details()[0]["index"], (each / 127.5 - 1)[None].astype(np.float32)
        )
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    rows = np.stack(rows)
    expect(
        "tflite_quantized",
        rows / rows.sum(axis=1, keepdims=True),
        "--normalize symmetric --channels rgb",
        makers=made,
    )


def torch_net(head):
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 3),
        *head,
    )
    with torch.no_grad():
        net[7].weight *= 12
    return net.eval()


MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def make_torch():
    import torch
    from torch import nn

    prepared = ((images("rgb").astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    x = torch.from_numpy(np.ascontiguousarray(prepared))
    options = "--normalize imagenet --channels rgb"
    net = torch_net([nn.LogSoftmax(dim=1)])
    with torch.no_grad():
        own = net(x).exp().numpy()
    torch.onnx.export(
        net,
        x[:1],
        str(FOLDER / "torchscript_fixed_batch.onnx"),
        dynamo=False,
        opset_version=11,
        input_names=["input:0"],
        output_names=["net/log_softmax"],
    )
    expect("torchscript_fixed_batch", own, options, makers="torch")

    class Reshaping(nn.Module):
        """Its batch of one is a constant of the graph."""

        def __init__(self):
            super().__init__()
            self.net = torch_net([])

        def forward(self, image):
            maps = self.net[:5](image)
            return self.net[7](maps.reshape(1, 12, 36).mean(dim=2)).squeeze(0)

    net = Reshaping().eval()
    with torch.no_grad():
        own = softmax(np.stack([net(each[None]).numpy() for each in x]))
    torch.onnx.export(
        net, x[:1], str(FOLDER / "torchscript_batch_of_one.onnx"), dynamo=False, opset_version=9
    )
    expect("torchscript_batch_of_one", own, f"{options} --exclusive", makers="torch")

    net = torch_net([nn.Softmax(dim=1), nn.Unflatten(1, (3, 1, 1))])
    with torch.no_grad():
        own = net(x).numpy()[:, :, 0, 0]
    program = torch.onnx.export(
        net, (x,), dynamo=True, dynamic_shapes={"input": {0: "batch"}}, external_data=False
    )
    program.save(str(FOLDER / "torch_dynamo.onnx"))
    expect("torch_dynamo", own, options, makers="torch onnxscript")

    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch_net([])

        def forward(self, image):
            maps = self.net[:5](image)
            features = self.net[5:7](maps)
            return maps, features, self.net[7](features)

    net = Several().eval()
    with torch.no_grad():
        own = softmax(net(x)[2].numpy())
    axes = {name: {0: "n"} for name in ("pixels", "maps", "features", "scores")}
    torch.onnx.export(
        net,
        x[:1],
        str(FOLDER / "torch_several_outputs.onnx"),
        dynamo=False,
        opset_version=17,
        input_names=["pixels"],
        output_names=["maps", "features", "scores"],
        dynamic_axes=axes,
    )
    expect("torch_several_outputs", own, f"{options} --exclusive", makers="torch")


def make_quantized():
    import onnx
    import onnxruntime as ort
    from onnxconverter_common import float16
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        quantize_dynamic,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    x = np.ascontiguousarray(
        ((images("rgb").astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    )
    source, clean = FOLDER / "torch_dynamo.onnx", FOLDER / "clean.onnx"
    quant_pre_process(str(source), str(clean), skip_symbolic_shape=True)
    name = onnx.load(clean).graph.input[0].name

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter([{name: x}])

        def get_next(self):
            return next(self.left, None)

    def keep(kind, makers):
        session = ort.InferenceSession(
            str(FOLDER / f"{kind}.onnx"), providers=["CPUExecutionProvider"]
        )
        entry = session.get_inputs()[0]
        given = x.astype(np.float16) if entry.type == "tensor(float16)" else x
        own = np.stack(
            [session.run(None, {entry.name: each[None]})[0].ravel() for each in given]
        ).astype(np.float64)
        own /= own.sum(axis=1, keepdims=True)
        expect(kind, own, "--normalize imagenet --channels rgb", makers=makers)

    made = "onnxruntime"
    quantize_static(
        str(clean), str(FOLDER / "ort_qdq.onnx"), Reader(), quant_format=QuantFormat.QDQ
    )
    keep("ort_qdq", made)
    quantize_static(
        str(clean), str(FOLDER / "ort_qoperator.onnx"), Reader(), quant_format=QuantFormat.QOperator
    )
    keep("ort_qoperator", made)
    quantize_dynamic(
        str(clean), str(FOLDER / "ort_dynamic.onnx"), op_types_to_quantize=["MatMul", "Gemm"]
    )
    keep("ort_dynamic", made)
    half = float16.convert_float_to_float16(onnx.load(clean), keep_io_types=False)
    onnx.save(half, FOLDER / "float16.onnx")
    keep("float16", "onnxconverter-common onnxruntime")
    clean.unlink()


def make_jax():
    import flax.nnx as nnx
    import jax
    import jax.numpy as jnp
    import onnx
    from jax2onnx import to_onnx

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
            self.out = nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x):
            return jax.nn.softmax(8 * self.out(jnp.mean(jax.nn.gelu(self.conv(x)), axis=(1, 2))))

    net = Net(nnx.Rngs(0))
    model = to_onnx(net, [("B", SIDE, SIDE, 3)])
    onnx.save(model, FOLDER / "jax_flax.onnx")
    own = np.asarray(net(images("rgb").astype(np.float32) / 255))
    expect("jax_flax", own, "--normalize unit --channels rgb", makers="jax flax jax2onnx")


def make_paddle():
    import paddle
    from paddle import nn

    paddle.seed(0)
    net = nn.Sequential(
        nn.Conv2D(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2D(8),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        nn.Linear(8, 3),
        nn.Softmax(),
    )
    net.eval()
    net[5].weight.set_value(net[5].weight * 12)
    x = ((images("rgb").astype(np.float32)[..., ::-1] / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    x = paddle.to_tensor(np.ascontiguousarray(x))
    spec = [paddle.static.InputSpec([None, 3, SIDE, SIDE], "float32", "x")]
    paddle.onnx.export(net, str(FOLDER / "paddle"), input_spec=spec, opset_version=11)
    options = "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --divisor 255 --channels bgr"
    expect("paddle", net(x).numpy(), options, makers="paddlepaddle paddle2onnx")


def make_huggingface():
    import torch
    from optimum.exporters.onnx import onnx_export_from_model
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=SIDE,
        patch_size=8,
        id2label=dict(enumerate(CLASSES)),
        label2id={n: i for i, n in enumerate(CLASSES)},
    )
    model = ViTForImageClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight *= 60
    processor = ViTImageProcessor(size={"height": SIDE, "width": SIDE})
    folder = Path("/tmp/import-hf-model")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    onnx_export_from_model(
        model, folder, opset=14, do_validation=False, task="image-classification"
    )
    (FOLDER / "huggingface_vit.onnx").write_bytes((folder / "model.onnx").read_bytes())
    with torch.no_grad():
        prepared = processor(list(images("rgb")), return_tensors="pt")
        own = softmax(model(**prepared).logits.numpy())
    expect(
        "huggingface_vit",
        own,
        "--normalize symmetric --size 24x24 --exclusive --channels rgb",
        makers="transformers optimum-onnx",
    )


def make_hummingbird():
    import functools

    import onnx
    import torch
    from hummingbird.ml import convert
    from sklearn.ensemble import RandomForestClassifier

    x, y = digits()
    test = images("gray").reshape(-1, 64).astype(np.float32)
    forest = RandomForestClassifier(4, max_depth=4, random_state=0).fit(x, y)
    torch.onnx.export = functools.partial(
        torch.onnx.export, dynamo=False
    )  # Hummingbird expects the older exporter
    converted = convert(forest, "onnx", test)
    onnx.save(converted.model, FOLDER / "hummingbird.onnx")
    expect(
        "hummingbird",
        forest.predict_proba(test),
        "--normalize raw",
        classes=TEN,
        kind="gray",
        makers="hummingbird-ml scikit-learn",
    )


def make_handmade():
    """Old files, as their makers wrote them; the expected numbers are computed here in NumPy."""
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    weights = random.normal(0, 1, (3, 3 * SIDE * SIDE)).astype(np.float32) / 20
    rgb, nothing = images("rgb").astype(np.float32), np.zeros(3, np.float32)
    floats, pixels = TensorProto.FLOAT, [3, SIDE, SIDE]
    value = helper.make_tensor_value_info

    def node(operator, inputs, outputs, **attributes):
        return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)

    def save(name, nodes, given, outputs, constants, *, opsets=(("", 7),), ir=3, metadata=None):
        tensors = [
            numpy_helper.from_array(np.asarray(each), key) for key, each in constants.items()
        ]
        listed = [value(each.name, each.data_type, each.dims) for each in tensors if ir < 4]
        graph = helper.make_graph(nodes, name, [*given, *listed], outputs, tensors)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid(*each) for each in opsets], ir_version=ir
        )
        for key, text in (metadata or {}).items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, text
        onnx.save(model, FOLDER / f"{name}.onnx")

    # The ONNX zoo of 2018, as MXNet wrote it: opset 7, IR 3, weights among the inputs, a fixed
    # batch of one.
    nodes = [
        node("BatchNormalization", "data g b m v", "bn", epsilon=1e-5, momentum=0.9),
        node("Flatten", "bn", "flatten0"),
        node("Gemm", "flatten0 dense0_weight dense0_bias", "mxnet_dense0_fwd", transB=1),
        node("Softmax", "mxnet_dense0_fwd", "softmax"),
    ]
    numbers = {"g": [1, 1, 1], "b": [0, 0, 0], "m": [120, 115, 100], "v": [4000, 4100, 4200]}
    norm = {name: np.array(each, np.float32) for name, each in numbers.items()}
    given, taken = value("data", floats, [1, *pixels]), value("softmax", floats, [1, 3])
    constants = {"dense0_weight": weights, "dense0_bias": nothing} | norm
    save("mxnet_opset7", nodes, [given], [taken], constants)
    x = ((rgb - norm["m"]) / np.sqrt(norm["v"] + 1e-5)).transpose(0, 3, 1, 2)
    own = softmax(x.reshape(len(x), -1) @ weights.T)
    expect("mxnet_opset7", own, "--channels rgb", makers="onnx")

    # Azure Custom Vision: BGR pixels in `data`, a label, and the probabilities as a map in `loss`.
    ml, labels = "ai.onnx.ml", list(CLASSES)
    nodes = [
        node("Flatten", "data", "flat"),
        node("Gemm", "flat w bias", "z", transB=1),
        node("Softmax", "z", "p"),
        node("ArgMax", "p", "best", axis=1),
        node("ArrayFeatureExtractor", "names best", "classLabel", domain=ml),
        node("ZipMap", "p", "loss", domain=ml, classlabels_strings=labels),
    ]
    number = helper.make_tensor_type_proto(floats, [])
    mapped = helper.make_map_type_proto(TensorProto.STRING, number)
    label = value("classLabel", TensorProto.STRING, ["None", 1])
    loss = helper.make_value_info("loss", helper.make_sequence_type_proto(mapped))
    save(
        "custom_vision",
        nodes,
        [value("data", floats, ["None", *pixels])],
        [label, loss],
        {"w": weights / 400, "bias": nothing, "names": np.array(CLASSES, dtype=object)},
        opsets=(("", 7), (ml, 1)),
        metadata={
            "Image.BitmapPixelFormat": "Bgr8",
            "Image.ColorSpaceGamma": "SRGB",
            "Image.NominalPixelRange": "NominalRange_0_255",
        },
    )
    x = rgb[..., ::-1].transpose(0, 3, 1, 2).reshape(len(rgb), -1)
    expect("custom_vision", softmax(x @ weights.T / 400), makers="onnx")

    # ML.NET: columns of the table in and out, the label too, a fixed batch of one.
    nodes = [
        node("Identity", "Label", "Label.output"),
        node("Identity", "PixelValues", "PixelValues.output"),
        node("Gemm", "PixelValues w bias", "raw", transB=1),
        node("Softmax", "raw", "Score.output", axis=1),
        node("ArgMax", "Score.output", "PredictedLabel.output", axis=1),
    ]
    small = random.normal(0, 1, (10, 64)).astype(np.float32) / 4
    whole = TensorProto.INT64
    outputs = [
        value("Label.output", whole, [1, 1]),
        value("PixelValues.output", floats, [1, 64]),
        value("Score.output", floats, [1, 10]),
        value("PredictedLabel.output", whole, [1, 1]),
    ]
    given = [value("Label", whole, [1, 1]), value("PixelValues", floats, [1, 64])]
    constants = {"w": small, "bias": np.zeros(10, np.float32)}
    save("mlnet", nodes, given, outputs, constants, opsets=(("", 9), (ml, 2)), ir=6)
    gray = images("gray").reshape(-1, 64).astype(np.float32) / 255
    said = softmax(gray @ small.T)
    expect("mlnet", said, "--normalize unit", classes=TEN, kind="gray", makers="onnx")

    # uint8 pixels in, half precision inside, last channel first; a softmax written out as Exp, Sum
    # and Div.
    nodes = [
        node("Cast", "images", "half", to=TensorProto.FLOAT16),
        node("Mul", "half scale", "scaled"),
        node("Reshape", "scaled shape", "flat"),
        node("MatMul", "flat w", "z"),
        node("Exp", "z", "e"),
        node("ReduceSum", "e", "total", axes=[1], keepdims=1),
        node("Div", "e total", "out:0"),
    ]
    w = weights.reshape(3, 3, SIDE, SIDE).transpose(2, 3, 1, 0).reshape(-1, 3).astype(np.float16)
    shape = np.array([-1, 3 * SIDE * SIDE], np.int64)
    given = value("images", TensorProto.UINT8, ["b", SIDE, SIDE, 3])
    taken = value("out:0", TensorProto.FLOAT16, ["b", 3])
    constants = {"scale": np.array([1 / 255], np.float16), "shape": shape, "w": w}
    save("uint8_written_out", nodes, [given], [taken], constants, opsets=(("", 12),), ir=7)
    session = ort.InferenceSession(str(FOLDER / "uint8_written_out.onnx"))
    (own,) = session.run(None, {"images": images("rgb")})
    own = own.astype(np.float64)
    expect("uint8_written_out", own, "--channels rgb", makers="onnx onnxruntime")


def make_clean():
    """Take out what names files of this machine: stack traces and notes in the graphs, which
    nothing reads.
    """
    import onnx

    for file in FOLDER.glob("*.onnx"):
        model = onnx.load(file)
        nodes = [
            *model.graph.node,
            *(node for function in model.functions for node in function.node),
        ]
        for part in (model, model.graph, *nodes):
            if str(FOLDER.parents[2]) in part.doc_string:
                part.doc_string = ""
            for at in reversed(range(len(part.metadata_props))):
                if str(FOLDER.parents[2]) in part.metadata_props[at].value:
                    del part.metadata_props[at]
        onnx.save(model, file)


if __name__ == "__main__":
    globals()[f"make_{sys.argv[1]}"]()
