"""FeedbackService: decode, call, encode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from google.longrunning import operations_pb2

from services.feedback.heads import codec as heads_codec
from services.feedback.heads.app.control import ControlHeads
from services.feedback.heads.ports import HeadReads
from services.feedback.mining import codec
from services.feedback.mining.app.agreement import Trust
from services.feedback.mining.app.classifier import Classifier, Exchange
from services.feedback.mining.ports import FeedbackReads, JudgementReads
from services.feedback.pairs.codec import encode_stored_pair
from services.feedback.pairs.ports import PairReads
from services.feedback.personas.app.care import CarePersonas, not_there
from services.feedback.personas.codec import encode_persona
from services.feedback.personas.ports import PersonaReads
from shared.calls.server import Mount, tenant_of
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.gen.trimtab.feedback.v1 import feedback_pb2_grpc as pb_grpc
from shared.language.errors import InvalidArgument, PermissionDenied
from shared.language.identifiers import checked_user, parse_name
from shared.language.paging import Term, decode_token, encode_token, page_size, parse_filter
from shared.language.schedule import following

_FEEDBACK_FIELDS = (
    "user_id",
    "conversation_id",
    "model_version",
    "kind",
    "source",
    "abstained",
    "group",
)
_PAIR_FIELDS = ("user_id", "conversation_id", "source", "state", "group")
_MOST_CLASSIFIED = 256


# The operation of that name.
Operation = Callable[[str], operations_pb2.Operation]


class Reads(NamedTuple):
    """What the calls look at."""

    feedback: FeedbackReads
    personas: PersonaReads
    pairs: PairReads
    heads: HeadReads
    judgements: JudgementReads


class FeedbackServicer(pb_grpc.FeedbackServiceServicer):
    def __init__(
        self,
        reads: Reads,
        classifier: Classifier,
        care: CarePersonas,
        heads_schedule: str,
        trust: Trust,
        control: ControlHeads,
        operation: Operation,
    ) -> None:
        self._reads, self._classifier, self._care = reads, classifier, care
        self._heads_schedule, self._trust = heads_schedule, trust
        self._control, self._operation = control, operation

    async def ListFeedback(
        self, request: pb.ListFeedbackRequest, context: Any
    ) -> pb.ListFeedbackResponse:
        tenant, terms = tenant_of(context), _terms(request.filter, _FEEDBACK_FIELDS)
        after = _after(decode_token(request.page_token, request.filter))
        page = await asyncio.to_thread(
            self._reads.feedback.page, tenant, terms, after, page_size(request.page_size)
        )
        return pb.ListFeedbackResponse(
            feedback=[codec.encode_mined(mined) for mined in page.items],
            next_page_token=_token(page.after, request.filter),
            total_size=page.total,
        )

    async def ListWaitingFeedback(
        self, request: pb.ListWaitingFeedbackRequest, context: Any
    ) -> pb.ListWaitingFeedbackResponse:
        after = _after(decode_token(request.page_token, "waiting"))
        page = await asyncio.to_thread(
            self._reads.feedback.waiting, tenant_of(context), after, page_size(request.page_size)
        )
        return pb.ListWaitingFeedbackResponse(
            waiting=[codec.encode_waiting(one) for one in page.items],
            next_page_token=_token(page.after, "waiting"),
            total_size=page.total,
        )

    async def GetPersona(
        self, request: pb.GetPersonaRequest, context: Any
    ) -> pb.GetPersonaResponse:
        tenant, user_id = _whose(request.name, context)
        user = await asyncio.to_thread(self._reads.personas.user, tenant, user_id)
        if user.persona is None or not user.persona.is_there:
            raise not_there(tenant, user_id)
        return pb.GetPersonaResponse(persona=encode_persona(user.persona))

    async def ListPersonas(
        self, request: pb.ListPersonasRequest, context: Any
    ) -> pb.ListPersonasResponse:
        tenant, after = tenant_of(context), decode_token(request.page_token, "personas")
        personas, more, total = await asyncio.to_thread(
            self._reads.personas.personas, tenant, str(after or ""), page_size(request.page_size)
        )
        return pb.ListPersonasResponse(
            personas=[encode_persona(persona) for persona in personas],
            next_page_token=encode_token(personas[-1].user_id, "personas") if more else "",
            total_size=total,
        )

    async def ListPersonaVersions(
        self, request: pb.ListPersonaVersionsRequest, context: Any
    ) -> pb.ListPersonaVersionsResponse:
        tenant, user_id = _whose(request.name, context)
        below = _after(decode_token(request.page_token, request.name))
        personas, more, total = await asyncio.to_thread(
            self._reads.personas.versions, tenant, user_id, below, page_size(request.page_size)
        )
        return pb.ListPersonaVersionsResponse(
            personas=[encode_persona(persona) for persona in personas],
            next_page_token=_token(personas[-1].version if more else None, request.name),
            total_size=total,
        )

    async def CorrectPersona(
        self, request: pb.CorrectPersonaRequest, context: Any
    ) -> pb.CorrectPersonaResponse:
        whose = _whose(request.name, context)
        persona = await asyncio.to_thread(
            self._care.correct, *whose, request.line_id, request.text, request.actor
        )
        return pb.CorrectPersonaResponse(persona=encode_persona(persona))

    async def FreezePersona(
        self, request: pb.FreezePersonaRequest, context: Any
    ) -> pb.FreezePersonaResponse:
        whose = _whose(request.name, context)
        persona = await asyncio.to_thread(self._care.freeze, *whose, request.actor)
        return pb.FreezePersonaResponse(persona=encode_persona(persona))

    async def UnfreezePersona(
        self, request: pb.UnfreezePersonaRequest, context: Any
    ) -> pb.UnfreezePersonaResponse:
        whose = _whose(request.name, context)
        persona = await asyncio.to_thread(self._care.unfreeze, *whose, request.actor)
        return pb.UnfreezePersonaResponse(persona=encode_persona(persona))

    async def DeletePersona(
        self, request: pb.DeletePersonaRequest, context: Any
    ) -> pb.DeletePersonaResponse:
        whose = _whose(request.name, context)
        versions = await asyncio.to_thread(self._care.delete, *whose, request.actor)
        return pb.DeletePersonaResponse(versions=versions)

    async def ListPairs(self, request: pb.ListPairsRequest, context: Any) -> pb.ListPairsResponse:
        tenant, terms = tenant_of(context), _terms(request.filter, _PAIR_FIELDS)
        after = _after(decode_token(request.page_token, request.filter))
        page = await asyncio.to_thread(
            self._reads.pairs.page, tenant, terms, after, page_size(request.page_size)
        )
        return pb.ListPairsResponse(
            pairs=[encode_stored_pair(stored) for stored in page.items],
            next_page_token=_token(page.after, request.filter),
            total_size=page.total,
        )

    async def ListHeads(self, request: pb.ListHeadsRequest, context: Any) -> pb.ListHeadsResponse:
        return await asyncio.to_thread(self._list_heads, tenant_of(context), request)

    def _list_heads(self, tenant: str, request: pb.ListHeadsRequest) -> pb.ListHeadsResponse:
        size, before = (
            page_size(request.page_size),
            _after(decode_token(request.page_token, tenant)),
        )
        cards, total = self._reads.heads.page(tenant, before, size + 1)
        look = self._reads.heads.look(tenant)
        following_time = following(self._heads_schedule, look.looked) if look else None
        return pb.ListHeadsResponse(
            heads=[heads_codec.encode_head(card) for card in cards[:size]],
            next_page_token=_token(cards[size - 1].version if len(cards) > size else None, tenant),
            total_size=total,
            serving=self._classifier.head_of(tenant),
            look=heads_codec.encode_look(look, following_time) if look else None,
        )

    async def FitHead(self, request: pb.FitHeadRequest, context: Any) -> operations_pb2.Operation:
        tenant = tenant_of(context)
        name = await asyncio.to_thread(self._control.fit, tenant, request.request_id)
        return await asyncio.to_thread(self._operation, name)

    async def RetireHead(
        self, request: pb.RetireHeadRequest, context: Any
    ) -> pb.RetireHeadResponse:
        tenant = tenant_of(context)
        card = await asyncio.to_thread(self._control.retire, tenant, request.name)
        serving = await asyncio.to_thread(self._classifier.head_of, tenant)
        return pb.RetireHeadResponse(head=heads_codec.encode_head(card), serving=serving)

    async def ListJudgements(
        self, request: pb.ListJudgementsRequest, context: Any
    ) -> pb.ListJudgementsResponse:
        return await asyncio.to_thread(self._list_judgements, tenant_of(context), request)

    def _list_judgements(
        self, tenant: str, request: pb.ListJudgementsRequest
    ) -> pb.ListJudgementsResponse:
        before = _after(decode_token(request.page_token, tenant))
        page = self._reads.judgements.page(tenant, before, page_size(request.page_size))
        agreement = self._trust.agreement(tenant)
        return pb.ListJudgementsResponse(
            judgements=[codec.encode_judgement(one) for one in page.items],
            next_page_token=_token(page.after, tenant),
            total_size=page.total,
            agreement=codec.encode_agreement(agreement),
            commonest=agreement.commonest,
            trusted=agreement.trusted,
        )

    async def Classify(self, request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:
        tenant = tenant_of(context)
        if len(request.follow_ups) > _MOST_CLASSIFIED:
            raise InvalidArgument(
                f"at most {_MOST_CLASSIFIED} follow-ups per call: send them in several",
                field="follow_ups",
            )
        exchanges = [Exchange(f.request, f.answer, f.follow_up) for f in request.follow_ups]
        whose = [tenant] * len(exchanges)
        judged = await asyncio.to_thread(self._classifier.judge, exchanges, whose)
        return pb.ClassifyResponse(labels=[codec.encode_label(label) for label in judged.labels])


def _whose(name: str, context: Any) -> tuple[str, str]:
    """(tenant, user id) of a persona's name, which has what the application calls the user."""
    tenant, said = parse_name(name, "tenants/*/users/**/persona")
    if tenant != tenant_of(context):
        raise PermissionDenied(f"{name[:80]} belongs to another tenant", reason="FOREIGN_TENANT")
    return tenant, checked_user(said)


def _terms(text: str, fields: tuple[str, ...]) -> tuple[Term, ...]:
    """Values of enumerations are taken in any case: kind = POSITIVE, state = kept."""
    terms = parse_filter(text, fields)
    for term in terms:
        if term.operator not in ("=", "!="):
            raise InvalidArgument(
                f"the filter can compare {term.field} only with = or !=",
                reason="INVALID_FILTER",
                field="filter",
            )
    folded = ("kind", "source", "state")
    return tuple(
        Term(t.field, t.operator, t.value.lower()) if t.field in folded else t for t in terms
    )


def _after(position: object) -> int | None:
    return position if isinstance(position, int) else None


def _token(after: int | None, request: str) -> str:
    return encode_token(after, request) if after is not None else ""


def mount(servicer: FeedbackServicer) -> Mount:
    add = partial(pb_grpc.add_FeedbackServiceServicer_to_server, servicer)
    return ("trimtab.feedback.v1.FeedbackService", add)
