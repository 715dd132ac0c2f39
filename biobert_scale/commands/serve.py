"""The options of `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from biobert_scale.commands.common import check_models
from biobert_scale.display import show
from biobert_scale.errors import UserError
from biobert_scale.ranges import within


@within(port="[0, 65535]", request_megabytes="(0, 1000]", request_seconds="(0, 3600]", waiting="[1, 1000]")
def serve(
    models: Positional[tuple[Path, ...]],
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "auto",
    backend: Literal["torch", "onnx"] = "torch",
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto",
    request_megabytes: float = 10,
    request_seconds: float = 60,
    waiting: int = 64,
) -> None:
    """Mark entities for people with a browser and for programs: a web page and a JSON API.

    Ends at Ctrl-C or SIGTERM, when the requests that are under way are answered.

    Args:
        models: fine-tuned models that were exported (or fine-tuning runs); each marks its own types.
        host: the address to listen at; 127.0.0.1: only this machine reaches it; 0.0.0.0: all who reach the
            machine. There is no password.
        port: 0 for any that is free.
        device: cpu, cuda, cuda:1, ...; auto: a GPU where there is one.
        backend: onnx: ONNX Runtime, on models that were exported with --onnx.
        precision: of the matrix products; see `biobert-scale tag --help`.
        request_megabytes: the largest request.
        request_seconds: how long a request may take to arrive, to be computed, and its answer to be fetched:
            each.
        waiting: requests at once; more are sent away (503).
    """
    check_models(models)
    try:
        import uvicorn  # noqa: F401
    except ImportError:
        remedy = "install it with `pip install 'biobert_scale[serve]'`"
        raise UserError("uvicorn is not installed", where="serve", remedy=remedy) from None
    from biobert_scale.serve.app import make_app
    from biobert_scale.serve.limits import Limits
    from biobert_scale.serve.server import listen, run_server
    from biobert_scale.tag.tagger import TaggerConfig, load_taggers

    limits = Limits(
        request_bytes=int(request_megabytes * 1e6), request_seconds=request_seconds, waiting=waiting
    )
    listening = listen(host, port)
    taggers = load_taggers(models, TaggerConfig(device=device, backend=backend, precision=precision))
    names = [model.resolve().name for model in models]
    app = make_app(list(zip(names, taggers, strict=True)), limits)
    address = f"[{host}]" if ":" in host else host
    line = f"http://{address}:{listening.getsockname()[1]}/ (stop it with Ctrl-C)"
    run_server(app, listening, limits, ready=lambda: show(line))
