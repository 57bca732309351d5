"""``python -m ftsafety.provider``: start a provider sandbox on this machine, until Ctrl-C.

It serves one model, ``model=NAME``, through OpenAI's API: files, fine-tuning jobs, chat completions, moderations, models. What it has taken in
outlives it: the same command goes on with the jobs that were not finished. It takes these overrides:

  model=NAME strategy=NAME tuning.KEY=VALUE trainer=NAME   what it serves, and how it tunes
  mitigation=[safety_mixing,system_prompt]                 its defenses, the same as a run's: what they do to rows, training, questions and answers
  screen=[identity,judge] screening.KEY=VALUE              what reads uploads, and what becomes of what it flags: refused above a share, or rows left out
  release.max_increase=0.1                                 ask tuned models the policy's development questions, and serve none that breaks the limit
  port=8008 host=127.0.0.1   where it listens; port=0 is any that is free
  folder=DIR                 where files, jobs and events are kept; left out, beside the store
  paths.store=DIR            the store of tuned weights, the same as for runs
  limits.KEY=VALUE           how much it accepts; python -m ftsafety.provider --show names all
  workers=1 batch=64         jobs done at the same time, requests answered at the same time
  keys_env=NAME              the environment variable with the keys that are let in; where it is not set, every key is an account of its own

Exit codes: 0 stopped, 1 a mistake.
"""

from __future__ import annotations

import fcntl
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.progress import console

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ftsafety.provider.settings import Provider

CONFIG = "config.yaml"
NEEDED = ("fastapi", "python_multipart", "sqlalchemy", "uvicorn")


def compose_provider(overrides: Sequence[str]) -> DictConfig:
    """The composed configuration of overrides; the name of the model's option is in ``option``."""
    from hydra import compose, initialize_config_module
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from ftsafety.plugins import register
    from ftsafety.provider.settings import Root

    ConfigStore.instance().store(name="provider_schema", node=Root)
    register()
    with initialize_config_module("ftsafety.conf", version_base="1.3"):
        found = compose("provider", list(overrides), return_hydra_config=True)
    config = OmegaConf.masked_copy(found, [str(key) for key in found if key != "hydra"])
    return OmegaConf.create({"option": str(found.hydra.runtime.choices["model"]), "config": OmegaConf.to_container(config, resolve=True, enum_to_str=True)})


def made_of(told: Any) -> Provider:
    """The provider of what ``compose_provider`` gave."""
    from ftsafety.provider.settings import build_provider

    return build_provider(told.config, told.option)


def read_provider(folder: Path) -> Provider:
    """The provider whose server keeps its things in ``folder``."""
    from omegaconf import OmegaConf

    return made_of(OmegaConf.load(folder / CONFIG))


def serve(told: DictConfig) -> None:
    """Serve until the process is told to stop."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ConfigError(f"this needs {', '.join(missing)}, which is not installed; type pip install 'ftsafety[provider]'.")
    import uvicorn
    from omegaconf import OmegaConf

    from ftsafety.provider.app import make_app
    from ftsafety.provider.database import Database
    from ftsafety.provider.workforce import Workforce
    from ftsafety.store.publish import publish_text

    provider = made_of(told)
    with _alone(provider.folder), _listening(provider.host, provider.port) as door:
        told.config.folder = str(provider.folder)
        publish_text(provider.folder / CONFIG, OmegaConf.to_yaml(told))
        app = make_app(provider, Database(provider.folder))
        host, port = door.getsockname()[:2]
        where = f"[{host}]" if ":" in host else host
        address = f"http://{where}:{port}/v1"
        _say(f"provider sandbox: {provider.name} at {address}, files and jobs in {provider.folder}")
        _say(f"python -m ftsafety model=openai model.base_url={address} +attack=identity_shift")
        # the server sends itself the signal that ended it once more: that must not skip what comes after
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with Workforce(provider.folder, provider.workers), suppress(KeyboardInterrupt):
            uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False)).run([door])


def _say(text: str) -> None:
    """One line, however long, so that it can be copied."""
    console.print(text, highlight=False, soft_wrap=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the one server of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another server runs on {folder}; stop it, or give this one a folder of its own with folder=DIR.") from None
        yield


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound already, so that what is printed is where it listens."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        door = socket.socket(family, kind, proto)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
    except OSError as error:
        raise ConfigError(f"host={host} port={port} can't be listened on ({error.strerror}); choose others, such as port=0 for any that is free.") from error
    with door:
        yield door


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; 0 when it was stopped, 1 for a mistake."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--help" in words or "-h" in words:
        print(__doc__)
        return 0
    overrides = [word for word in words if word != "--show"]
    try:
        told = compose_provider(overrides)
        if "--show" in words:
            print(OmegaConf.to_yaml(told.config), end="")
            return 0
        serve(told)
    except (FtsafetyError, HydraException, OmegaConfBaseException) as error:
        from rich.console import Console

        from ftsafety.explain import explain

        Console(stderr=True).print(explain(error, overrides), style="red", soft_wrap=True, markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
