"""The ways in which a network can run on a CPU; `python -m benchmarks.forward` measures them.

A way takes a network that was just loaded, and what it will be asked with, and returns what runs
it. It may change the network. Runtimes that are not installed are told as `Unavailable`.
"""

from __future__ import annotations

import importlib.util
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from t2i.encoders.captions import CaptionNetwork
from t2i.invariant import pad_rows
from t2i.networks.blocks import precompute

__all__ = ["ENCODER_WAYS", "GENERATOR_WAYS", "Call", "Unavailable", "Way"]

Inputs = tuple[Tensor, ...]
Call = Callable[[Inputs], Sequence[Tensor]]
# Inputs by the number of pictures or captions in them.
Sizes = Mapping[int, Inputs]


class Unavailable(Exception):
    """A way cannot be gone here; the message tells why."""


class Way(NamedTuple):
    """One way to run a network.

    Attributes:
        about: what is done to the network.
        make: returns what runs the network for inputs of the given sizes.
    """

    about: str
    make: Callable[[nn.Module, Sizes], Call]


def _eager(network: nn.Module, sizes: Sizes) -> Call:
    return lambda inputs: network(*inputs)


def _channels_last(network: nn.Module, sizes: Sizes) -> Call:
    return _eager(network.to(memory_format=torch.channels_last), sizes)


def _padded(network: nn.Module, sizes: Sizes) -> Call:
    pad_rows(network)
    return _channels_last(network, sizes)


def _precomputed(network: nn.Module, sizes: Sizes) -> Call:
    # In this order: what is computed beforehand has the layout of the weights.
    network.to(memory_format=torch.channels_last)
    precompute(network)
    return _padded(network, sizes)


def _fused(network: nn.Module, sizes: Sizes) -> Call:
    if not fuse_norms(network):
        raise Unavailable("no BatchNorm stands behind a convolution or a linear layer")
    return _precomputed(network, sizes)


def _half(network: nn.Module, sizes: Sizes) -> Call:
    # Cast once: autocast alone would do it in every pass.
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.data = parameter.data.bfloat16()
    network.to(memory_format=torch.channels_last)

    def call(inputs: Inputs) -> Sequence[Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return [output.float() for output in network(*inputs)]

    return call


def _laid_out(network: nn.Module, sizes: Sizes) -> Call:
    network.lay_out()  # type: ignore[operator]
    for module in network.modules():
        if isinstance(module, CaptionNetwork):
            pad_rows(module)
    return _eager(network, sizes)


def _compiled(network: nn.Module, sizes: Sizes, *, frozen: bool = False) -> Call:
    import torch._inductor.config as inductor
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise Unavailable("torch.compile needs a C++ compiler, and there is none") from error
    # In this process, so that its time can be told; and nothing that an earlier run left.
    inductor.compile_threads = 1
    inductor.force_disable_caches = True
    inductor.freezing = frozen
    torch._dynamo.reset()
    network.to(memory_format=torch.channels_last)
    compiled = torch.compile(network, dynamic=False)
    with torch.no_grad():
        for inputs in sizes.values():
            compiled(*inputs)

    def call(inputs: Inputs) -> Sequence[Tensor]:
        with torch.no_grad():
            return compiled(*inputs)  # type: ignore[no-any-return]

    return call


def _frozen(network: nn.Module, sizes: Sizes) -> Call:
    return _compiled(network, sizes, frozen=True)


def _onnxruntime(network: nn.Module, sizes: Sizes) -> Call:
    _need("onnxruntime", "onnx", "onnxscript")
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    sessions = {}
    with tempfile.TemporaryDirectory() as folder, _exporting():
        for size, inputs in sizes.items():
            path = Path(folder, f"{size}.onnx")
            torch.onnx.export(network, inputs, path, dynamo=True, verbose=False)
            sessions[size] = onnxruntime.InferenceSession(
                path, settings, providers=["CPUExecutionProvider"]
            )
    names = {size: [each.name for each in found.get_inputs()] for size, found in sessions.items()}

    def call(inputs: Inputs) -> Sequence[Tensor]:
        size = len(inputs[0])
        arrays = (each.numpy() for each in inputs)
        found = sessions[size].run(None, dict(zip(names[size], arrays, strict=True)))
        return [torch.from_numpy(each) for each in found]

    return call


def _openvino(network: nn.Module, sizes: Sizes, precision: str = "f32") -> Call:
    _need("openvino")
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
    }
    models = {}
    with _exporting():
        for size, inputs in sizes.items():
            model = openvino.convert_model(torch.export.export(network, inputs))
            models[size] = core.compile_model(model, "CPU", settings).create_infer_request()

    def call(inputs: Inputs) -> Sequence[Tensor]:
        request = models[len(inputs[0])]
        found = request.infer([each.numpy() for each in inputs], share_inputs=True)
        return [torch.from_numpy(found[port].copy()) for port in found]

    return call


def _openvino_half(network: nn.Module, sizes: Sizes) -> Call:
    return _openvino(network, sizes, "bf16")


def fuse_norms(network: nn.Module) -> int:
    """Fold each BatchNorm right behind a convolution or linear layer of a sequence into it.

    Returns:
        How many there were.
    """
    fused = 0
    for sequence in network.modules():
        if not isinstance(sequence, nn.Sequential):
            continue
        for place in range(len(sequence) - 1):
            layer, norm = sequence[place], sequence[place + 1]
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.track_running_stats:
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                    turned = isinstance(layer, nn.ConvTranspose2d)
                    sequence[place] = fuse_conv_bn_eval(layer, norm, transpose=turned)
                elif isinstance(layer, nn.Linear):
                    sequence[place] = fuse_linear_bn_eval(layer, norm)
                else:
                    continue
                sequence[place + 1] = nn.Identity()
                fused += 1
    return fused


def _need(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise Unavailable(
            f"{' and '.join(missing)} not installed; pip install {' '.join(packages)}"
        )


@contextmanager
def _exporting() -> Any:
    """Keep exporters off the terminal, and torch off kernels that others do not know."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with redirect_stdout(io.StringIO()), torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


_OTHERS = {
    "bf16": Way("bfloat16, channels_last", _half),
    "compiled": Way("torch.compile, float32, channels_last, a program for each size", _compiled),
    "compiled, frozen": Way("the same with the weights as constants", _frozen),
    "onnxruntime": Way("ONNX Runtime, float32, a program for each size", _onnxruntime),
    "openvino": Way("OpenVINO, float32, a program for each size", _openvino),
    "openvino, bf16": Way("OpenVINO, bfloat16, a program for each size", _openvino_half),
}
GENERATOR_WAYS = {
    "eager": Way("float32, as loaded", _eager),
    "channels_last": Way("float32, weights channels_last", _channels_last),
    "padded": Way("the same, no fewer than four rows in small products", _padded),
    "drawn": Way(
        "the same, what follows from weights alone computed once: the pipeline's way", _precomputed
    ),
    "fused norm": Way("the pipeline's way, BatchNorm folded into the layer before it", _fused),
    **_OTHERS,
}
ENCODER_WAYS = {
    "eager": Way("float32, torch's own products", _eager),
    "read": Way("float32, weights laid out for oneDNN: the pipeline's way", _laid_out),
    **_OTHERS,
}
