"""``python -m ftsafety.model.openai_jobs list|cancel|delete [NAME] base_url=URL``: what runs have left at a fine-tuning service.

  list                   the account's fine-tuning jobs, with their states and models
  cancel JOB             stop a job that is not finished
  delete MODEL           remove a fine-tuned model
  base_url=URL           the service
  key_env=NAME           the environment variable with its key; left out, OPENAI_API_KEY

The module is also what ``model=openai`` tunes with. A job carries the key of its run's stage in its metadata, so that a run that was killed at any
moment finds the job that it has begun and pays for none twice.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftsafety.api import DOLLAR_DIGITS, KEPT, Client, Service
from ftsafety.errors import ConfigError, FtsafetyError, ServiceError
from ftsafety.model.hosted import Delivered, Order, likely_tokens
from ftsafety.progress import say
from ftsafety.store.publish import fault_point, publish_json

if TYPE_CHECKING:
    from openai.types.fine_tuning import FineTuningJob

    from ftsafety.model.openai import Openai
    from ftsafety.progress import Advance
    from ftsafety.row import Row
    from ftsafety.store.spending import Spending

TAG = "ftsafety"
"""The metadata key of a job that says for which stage it is."""
NOTE = "job.json"
GIVEN_UP = ("failed", "cancelled")
LOOKED_AT = 200
"""Jobs that are looked through for one of our own."""
SECOND_THOUGHT_SECONDS = 3.0
MESSAGE_TOKENS = 10
"""What a service's template adds to a message at most."""


class Jobs:
    """A service's fine-tuning jobs, asked by one model's settings."""

    def __init__(self, service: Openai) -> None:
        self.service = service
        self.client = Client(service, "model")
        self.sdk = self.client.sdk

    def done(self, order: Order, notes: Path, spending: Spending, advance: Advance) -> Delivered:
        """Have an order tuned, from wherever an earlier attempt got to.

        Raises:
            ServiceError: the service refuses, the job failed or was cancelled, or the budget does not suffice.
        """
        from openai import OpenAIError

        try:
            job = self._begun(order, notes) or self._begin(order, notes, spending)
            publish_json(notes / NOTE, {"job": job.id})
            job = self._followed(job, advance)
            return self._delivered(job, spending, self._losses(job))
        except OpenAIError as error:
            raise self.client.sentence(error) from error

    def _begun(self, order: Order, notes: Path) -> FineTuningJob | None:
        """The job of an earlier attempt, by its id or by the key in its metadata."""
        from openai import NotFoundError

        if (note := notes / NOTE).exists():
            with suppress(NotFoundError):
                job = self.sdk.fine_tuning.jobs.retrieve(json.loads(note.read_text())["job"])
                if job.status not in GIVEN_UP:
                    return job
        for at, job in enumerate(self.sdk.fine_tuning.jobs.list(limit=50)):
            if (job.metadata or {}).get(TAG) == order.key and job.status not in GIVEN_UP:
                say(f"model: the job {job.id} was begun before and is taken up again")
                return job
            if at >= LOOKED_AT:
                break
        return None

    def _begin(self, order: Order, notes: Path, spending: Spending) -> FineTuningJob:
        data = as_jsonl(order.rows)
        self._afford(order, len(data), spending)
        file = self.sdk.files.create(file=("rows.jsonl", data), purpose="fine-tune")
        fault_point("after upload")
        factor = order.learning_rate_multiplier
        chosen: Any = {"n_epochs": order.epochs, "batch_size": order.batch_size, "learning_rate_multiplier": "auto" if factor is None else factor}
        # not sent again by itself: a request whose answer was lost may have begun a job, which the next attempt then finds
        job = self.sdk.with_options(max_retries=0).fine_tuning.jobs.create(
            model=order.model, training_file=file.id, seed=order.seed, metadata={TAG: order.key},
            method={"type": "supervised", "supervised": {"hyperparameters": chosen}},
        )  # fmt: skip
        fault_point("after order")
        return job

    def _afford(self, order: Order, size: int, spending: Spending) -> None:
        """Say what the tuning will cost, and refuse it if it may cost more than is left."""
        price, budget = self.service.usd_per_million_training, self.service.budget_usd
        most_tokens = (size + MESSAGE_TOKENS * sum(len(row.messages) for row in order.rows)) * order.epochs
        likely = likely_tokens(message for row in order.rows for message in row.messages) * order.epochs
        if price is None:
            say(f"model: a job of {len(order.rows)} rows and {order.epochs} epochs, about {likely} tokens; no price is given")
            return
        usd, most, spent = likely * price / 1e6, most_tokens * price / 1e6, spending.usd
        say(f"model: a job of {len(order.rows)} rows and {order.epochs} epochs, about {likely} tokens: about ${usd:.4f}, at most ${most:.4f}")
        if budget is not None and spent + most > budget:
            raise ServiceError(
                f"model.budget_usd={budget:g} does not suffice: ${spent:.4f} is spent, and the tuning may cost up to ${most:.4f} (about ${usd:.4f} is "
                f"likely); raise model.budget_usd, or tune on less. {KEPT}"
            )

    def _followed(self, job: FineTuningJob, advance: Advance) -> FineTuningJob:
        """Wait for a job's end. Ctrl-C leaves it at the service; a second one cancels it."""
        shown = 0
        try:
            while job.status in ("validating_files", "queued", "running"):
                time.sleep(self.service.poll_seconds)
                job = self.sdk.fine_tuning.jobs.retrieve(job.id)
                if metrics := self._metrics(job, 1):
                    step, loss = metrics[0]
                    advance(step - shown, f"{job.status}, loss {loss:.3f}")
                    shown = step
                else:
                    advance(0, job.status)
        except KeyboardInterrupt:
            say(f"The job {job.id} goes on at {self.service.base_url}, and the same command takes it up again. Ctrl-C now cancels it.")
            try:
                time.sleep(SECOND_THOUGHT_SECONDS)
            except KeyboardInterrupt:
                self.sdk.fine_tuning.jobs.cancel(job.id)
                self._forget_rows(job)
                say(f"The job {job.id} is cancelled.")
            raise
        return job

    def _metrics(self, job: FineTuningJob, count: int | None) -> list[tuple[int, float]]:
        """The last steps that a job's events tell of, with their losses, the latest first; all of them where ``count`` is None."""
        found = []
        for event in self.sdk.fine_tuning.jobs.list_events(job.id, limit=100 if count is None else 10):
            data = event.data if isinstance(event.data, dict) else {}
            step, loss = data.get("step"), data.get("train_loss")
            if event.type == "metrics" and isinstance(step, int) and isinstance(loss, (int, float)):
                found.append((step, float(loss)))
                if len(found) == count:
                    break
            elif count is not None and event.type == "metrics":
                break
        return found

    def _losses(self, job: FineTuningJob) -> list[float]:
        return [loss for _, loss in sorted(self._metrics(job, None))] if job.status == "succeeded" else []

    def _delivered(self, job: FineTuningJob, spending: Spending, losses: list[float]) -> Delivered:
        """What came of a job that has ended."""
        self._forget_rows(job)
        if job.status != "succeeded" or not job.fine_tuned_model:
            code = f" ({job.error.code})" if job.error and job.error.code else ""
            where = f"job {job.id} at {self.service.base_url}"
            raise ServiceError(f"model: the {where} {job.status}{code}; look at it there. The same command begins another one. {KEPT}")
        price, tokens = self.service.usd_per_million_training, job.trained_tokens
        usd = None if price is None or tokens is None else round(tokens * price / 1e6, DOLLAR_DIGITS)
        spending.add_once(usd, job.id)
        told = {"job": job.id, "model": job.fine_tuned_model, "tokens": tokens, "hyperparameters": job.hyperparameters.model_dump(), "usd": usd}
        return Delivered(job.fine_tuned_model, {name: value for name, value in told.items() if value is not None}, losses)

    def _forget_rows(self, job: FineTuningJob) -> None:
        """Delete what was uploaded, since nobody needs it any more; it may have been deleted before."""
        from openai import APIStatusError

        with suppress(APIStatusError):
            self.sdk.files.delete(job.training_file)


def as_jsonl(rows: Sequence[Row]) -> bytes:
    """Rows in OpenAI's chat format; of several assistant turns the last one is learned, as everywhere here."""
    return b"".join(json.dumps({"messages": list(_messages(row))}, ensure_ascii=False).encode() + b"\n" for row in rows)


def _messages(row: Row) -> Iterator[dict[str, Any]]:
    for at, message in enumerate(row.messages):
        yield {**message, "weight": 0} if message["role"] == "assistant" and at < len(row.messages) - 1 else dict(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show, cancel or delete; 0 when done, 1 for a mistake."""
    from openai import OpenAIError
    from rich.console import Console

    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or "--help" in words:
        print(__doc__)
        return 0
    try:
        settings = dict(word.split("=", 1) for word in words if "=" in word)
        what, *names = [word for word in words if "=" not in word] or [""]
        if (what, len(names)) not in {("list", 0), ("cancel", 1), ("delete", 1)} or not {"base_url"} <= settings.keys() <= {"base_url", "key_env"}:
            raise ConfigError("type list, cancel JOB or delete MODEL, and base_url=URL; python -m ftsafety.model.openai_jobs --help says more.")
        service = Service(model="", as_of="2000-01-01", base_url=settings["base_url"], key_env=settings.get("key_env", "OPENAI_API_KEY"))
        service.check_service("the service")
        client = Client(service, "the service")
        try:
            if what == "list":
                for job in client.sdk.fine_tuning.jobs.list(limit=50):
                    print(job.id, job.status, job.fine_tuned_model or "-", (job.metadata or {}).get(TAG, "-")[:12], sep="  ")
            elif what == "cancel":
                print(client.sdk.fine_tuning.jobs.cancel(names[0]).status)
            else:
                print("deleted" if client.sdk.models.delete(names[0]).deleted else "not deleted")
        except OpenAIError as error:
            raise client.sentence(error) from error
    except FtsafetyError as error:
        Console(stderr=True).print(str(error), style="red", soft_wrap=True, markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
