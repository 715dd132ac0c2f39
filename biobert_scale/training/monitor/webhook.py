"""One POST to a person's address where a run has finished, failed or stalled.

It is sent by a thread that nothing waits for while the run trains, and what becomes of it is the run's
business in no case. The address may hold a secret, so it is no setting: those are in `config.json`, which is
published with the weights.
"""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from biobert_scale.environment import WEBHOOK, webhook_address
from biobert_scale.errors import UserError

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
"""For the server's answer."""


def check_address() -> None:
    """Refuse what is no address, before the run trains for weeks.

    Raises:
        UserError: without the address, which may be a secret.
    """
    address = webhook_address()
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if address and not good:
        what, remedy = "no address of a web server", "write https://HOST/PATH, or unset the variable"
        raise UserError(what, where=WEBHOOK, remedy=remedy)


def notify(
    event: Literal["finished", "failed", "stalled"], run: Path, global_step: int, what: str
) -> threading.Thread:
    """Send a JSON object with `text` (one line, which Slack and its like show) and the parts that it is made
    of, where there is an address; returns the thread that does so."""
    name = run.resolve().name
    body = {
        "text": f"{name}: {event} at step {global_step:,}" + f": {what}" * bool(what),
        "event": event,
        "run": name,
        "global_step": global_step,
        "what": what,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    thread = threading.Thread(target=_post, args=(webhook_address(), body), daemon=True, name="webhook")
    thread.start()
    return thread


def _post(address: str, body: dict[str, str | int]) -> None:
    if not address:
        return
    headers = {"Content-Type": "application/json", "User-Agent": "biobert-scale"}
    try:
        with urlopen(
            Request(address, json.dumps(body).encode(), headers, method="POST"), timeout=PATIENCE_SECONDS
        ):
            pass
    except OSError as error:
        logger.warning("the webhook did not take '%s': %s", body["event"], error)
    except (HTTPException, ValueError) as error:  # their words may hold the address
        logger.warning("the webhook did not take '%s': %s", body["event"], type(error).__name__)
