"""From a checked request to the answers that will fill its response."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from pipelines.trace import Typical
from serving.api.answer import Answer, Origin
from serving.api.errors import InvalidRequest
from serving.api.metrics import MAX_NAME
from serving.api.resolve import Prompt, edits_of, engine_request, lossy_of, stop_strings
from serving.api.responses import EnvelopeFields
from serving.api.schemas import GenerationBody
from serving.api.service import Service
from serving.lots import lot
from serving.messages import Request
from serving.text import AnswerText
from serving.traffic import conversation_id
from speculator.constraint.constraint import Constraint


@dataclass(frozen=True, slots=True)
class Head:
    """What every object and chunk of one response says alike."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    lossy: Typical | UnsetType

    @classmethod
    def new(cls, prefix: str, body: GenerationBody, service: Service) -> Head:
        identity = f"{prefix}-{uuid.uuid4().hex}"
        lossy = lossy_of(body, service) or UNSET
        return cls(identity, int(time.time()), service.settings.model, service.fingerprint, lossy)

    def envelope(self, kind: str) -> EnvelopeFields:
        """What an object of that kind begins with."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.system_fingerprint,
            "lossy": self.lossy,
        }


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt with its answers' longest length, and the text that begins its conversation."""

    prompt: Prompt
    max_tokens: int
    """0: the prompt is read, and nothing answered."""
    opening: str | Sequence[int]


def admit(
    service: Service,
    body: GenerationBody,
    asks: Sequence[Ask],
    head: Head,
    tenant: str,
    constraint: Constraint | None = None,
) -> list[Answer]:
    """`n` answers for each prompt, in this order, nothing started yet. Raises InvalidRequest."""
    num_choices, limit = body.n or 1, service.settings.max_in_flight
    if num_choices > limit:
        raise InvalidRequest(f"n: expected at most {limit}, the answers that run at once, got {num_choices}", "n")
    consent = service.traffic.allowed(tenant, body.store)
    stops, edits = stop_strings(body), edits_of(body, service)
    metadata = body.metadata or {}
    answers: list[Answer] = []
    for ask in asks:
        conversation = conversation_id(metadata.get("conversation"), body.user, ask.opening)
        drawn = lot(f"{tenant} {conversation}")
        request = engine_request(body, ask.prompt, ask.max_tokens, tenant, consent is not None, drawn, service)
        domain = (metadata.get("domain") or "")[:MAX_NAME]
        request = replace(request, constraint=constraint, edits=edits, domain=domain)
        for choice in range(num_choices):
            origin = Origin(f"{head.id}-{len(answers)}", consent, conversation, metadata.get("domain"))
            # one seed: the noise of each choice is keyed by its index
            each = request if choice == 0 else replace(request, id=service.engine.next_id(), choice=choice)
            answers.append(_answer(service, body, ask, len(answers), each, origin, stops))
    return answers


def _answer(
    service: Service, body: GenerationBody, ask: Ask, index: int, request: Request, origin: Origin, stops: Sequence[str]
) -> Answer:
    assembler = AnswerText(
        service.tokenizer,
        stops,
        include_stop=bool(body.include_stop_str_in_output),
        skip_special=body.skip_special_tokens is not False,
        min_tokens=body.min_tokens or 0,
    )
    return Answer(
        index=index,
        request=request,
        origin=origin,
        assembler=assembler,
        end_ids=frozenset() if body.ignore_eos else service.tokenizer.eos_ids,
        created_at=time.time(),
        arrived_at=time.perf_counter(),
        prompt_text=ask.prompt.text,
        heard=ask.max_tokens > 0,
    )
