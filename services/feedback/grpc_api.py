"""FeedbackService: decode, call, encode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from services.feedback import codec, heads_codec, judge_codec
from services.feedback.adapters.sql_book import SqlBook
from services.feedback.adapters.sql_heads import SqlHeads
from services.feedback.adapters.sql_shelf import SqlShelf
from services.feedback.app import persona_care
from services.feedback.app.classifier import Classifier, Exchange
from services.feedback.app.ports import Book
from services.feedback.workers import UnsureJobs
from shared.calls.server import tenant_of
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.gen.trimtab.feedback.v1 import feedback_pb2_grpc as pb_grpc
from shared.language.errors import InvalidArgument, PermissionDenied
from shared.language.identifiers import parse_name
from shared.language.paging import Term, decode_token, encode_token, page_size, parse_filter
from shared.language.schedule import following
from shared.language.times import now
from shared.redaction.redactor import Redactor
from shared.state.database import Database

T = TypeVar("T")

_FEEDBACK_FIELDS = (
    "user_id",
    "conversation_id",
    "model_version",
    "kind",
    "source",
    "abstained",
)
_PAIR_FIELDS = ("user_id", "conversation_id", "source", "state")
_MOST_CLASSIFIED = 256


class FeedbackServicer(pb_grpc.FeedbackServiceServicer):
    """`redactor`: what is said here is stored without what the tenant's policy wants out, as at every
    other door."""

    def __init__(
        self,
        database: Database,
        shelf: SqlShelf,
        classifier: Classifier,
        redactor: Redactor,
        heads: SqlHeads,
        heads_schedule: str,
        unsure: UnsureJobs,
    ) -> None:
        self._database, self._shelf, self._classifier = database, shelf, classifier
        self._redactor = redactor
        self._heads, self._heads_schedule = heads, heads_schedule
        self._unsure = unsure

    async def ListFeedback(
        self, request: pb.ListFeedbackRequest, context: Any
    ) -> pb.ListFeedbackResponse:
        tenant, terms = tenant_of(context), _terms(request.filter, _FEEDBACK_FIELDS)
        after = _after(decode_token(request.page_token, request.filter))
        page = await asyncio.to_thread(
            self._shelf.list_feedback, tenant, terms, after, page_size(request.page_size)
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
            self._shelf.list_waiting, tenant_of(context), after, page_size(request.page_size)
        )
        return pb.ListWaitingFeedbackResponse(
            waiting=page.items,
            next_page_token=_token(page.after, "waiting"),
            total_size=page.total,
        )

    async def GetPersona(
        self, request: pb.GetPersonaRequest, context: Any
    ) -> pb.GetPersonaResponse:
        tenant, user_id = _whose(request.name, context)
        user = await asyncio.to_thread(self._shelf.user, tenant, user_id)
        if user.persona is None or not user.persona.is_there:
            raise persona_care.not_there(tenant, user_id)
        return pb.GetPersonaResponse(persona=codec.encode_persona(user.persona))

    async def ListPersonas(
        self, request: pb.ListPersonasRequest, context: Any
    ) -> pb.ListPersonasResponse:
        tenant, after = tenant_of(context), decode_token(request.page_token, "personas")
        personas, more, total = await asyncio.to_thread(
            self._shelf.list_personas, tenant, str(after or ""), page_size(request.page_size)
        )
        return pb.ListPersonasResponse(
            personas=[codec.encode_persona(persona) for persona in personas],
            next_page_token=encode_token(personas[-1].user_id, "personas") if more else "",
            total_size=total,
        )

    async def ListPersonaVersions(
        self, request: pb.ListPersonaVersionsRequest, context: Any
    ) -> pb.ListPersonaVersionsResponse:
        tenant, user_id = _whose(request.name, context)
        below = _after(decode_token(request.page_token, request.name))
        personas, more, total = await asyncio.to_thread(
            self._shelf.persona_versions, tenant, user_id, below, page_size(request.page_size)
        )
        return pb.ListPersonaVersionsResponse(
            personas=[codec.encode_persona(persona) for persona in personas],
            next_page_token=_token(personas[-1].version if more else None, request.name),
            total_size=total,
        )

    async def CorrectPersona(
        self, request: pb.CorrectPersonaRequest, context: Any
    ) -> pb.CorrectPersonaResponse:
        tenant, user_id = _whose(request.name, context)
        text = self._redactor.text(tenant, request.text)
        persona = await self._write(
            lambda book: persona_care.correct(
                tenant, user_id, request.line_id, text, request.actor, now(), book
            )
        )
        return pb.CorrectPersonaResponse(persona=codec.encode_persona(persona))

    async def FreezePersona(
        self, request: pb.FreezePersonaRequest, context: Any
    ) -> pb.FreezePersonaResponse:
        whose = _whose(request.name, context)
        persona = await self._write(
            lambda book: persona_care.freeze(*whose, request.actor, now(), book)
        )
        return pb.FreezePersonaResponse(persona=codec.encode_persona(persona))

    async def UnfreezePersona(
        self, request: pb.UnfreezePersonaRequest, context: Any
    ) -> pb.UnfreezePersonaResponse:
        whose = _whose(request.name, context)
        persona = await self._write(
            lambda book: persona_care.unfreeze(*whose, request.actor, now(), book)
        )
        return pb.UnfreezePersonaResponse(persona=codec.encode_persona(persona))

    async def DeletePersona(
        self, request: pb.DeletePersonaRequest, context: Any
    ) -> pb.DeletePersonaResponse:
        whose = _whose(request.name, context)
        versions = await self._write(
            lambda book: persona_care.delete(*whose, request.actor, now(), book)
        )
        return pb.DeletePersonaResponse(versions=versions)

    async def _write(self, change: Callable[[Book], T]) -> T:
        """In a transaction of its own, beside the event loop."""

        def write() -> T:
            with self._database.begin() as transaction:
                return change(SqlBook(transaction))

        return await asyncio.to_thread(write)

    async def ListPairs(self, request: pb.ListPairsRequest, context: Any) -> pb.ListPairsResponse:
        tenant, terms = tenant_of(context), _terms(request.filter, _PAIR_FIELDS)
        after = _after(decode_token(request.page_token, request.filter))
        page = await asyncio.to_thread(
            self._shelf.list_pairs, tenant, terms, after, page_size(request.page_size)
        )
        return pb.ListPairsResponse(
            pairs=[codec.encode_stored_pair(stored) for stored in page.items],
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
        cards, total = self._heads.page(tenant, before, size + 1)
        look = self._heads.look(tenant)
        following_time = following(self._heads_schedule, look.looked) if look else None
        return pb.ListHeadsResponse(
            heads=[heads_codec.encode_head(card) for card in cards[:size]],
            next_page_token=_token(cards[size - 1].version if len(cards) > size else None, tenant),
            total_size=total,
            serving=self._classifier.head_of(tenant),
            look=heads_codec.encode_look(look, following_time) if look else None,
        )

    async def ListJudgements(
        self, request: pb.ListJudgementsRequest, context: Any
    ) -> pb.ListJudgementsResponse:
        return await asyncio.to_thread(self._list_judgements, tenant_of(context), request)

    def _list_judgements(
        self, tenant: str, request: pb.ListJudgementsRequest
    ) -> pb.ListJudgementsResponse:
        before = _after(decode_token(request.page_token, tenant))
        page = self._unsure.judgements.page(tenant, before, page_size(request.page_size))
        agreement = self._unsure.agreement(tenant)
        return pb.ListJudgementsResponse(
            judgements=[judge_codec.encode_judgement(one) for one in page.items],
            next_page_token=_token(page.after, tenant),
            total_size=page.total,
            agreement=judge_codec.encode_agreement(agreement),
            commonest=agreement.commonest,
            trusted=agreement.trusted,
        )

    async def Classify(self, request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:
        tenant = tenant_of(context)
        if len(request.follow_ups) > _MOST_CLASSIFIED:
            raise InvalidArgument(
                f"at most {_MOST_CLASSIFIED} follow-ups a call", field="follow_ups"
            )
        exchanges = [Exchange(f.request, f.answer, f.follow_up) for f in request.follow_ups]
        whose = [tenant] * len(exchanges)
        judged = await asyncio.to_thread(self._classifier.judge, exchanges, whose)
        return pb.ClassifyResponse(labels=[codec.encode_label(label) for label in judged.labels])


def _whose(name: str, context: Any) -> tuple[str, str]:
    """(tenant, user id) of a persona's name."""
    tenant, user_id = parse_name(name, "tenants/*/users/*/persona")
    if tenant != tenant_of(context):
        raise PermissionDenied(f"{name} is of another tenant", reason="FOREIGN_TENANT")
    return tenant, user_id


def _terms(text: str, fields: tuple[str, ...]) -> tuple[Term, ...]:
    """Values of enumerations are taken in any case: kind = POSITIVE, state = kept."""
    terms = parse_filter(text, fields)
    for term in terms:
        if term.operator not in ("=", "!="):
            raise InvalidArgument(
                f"filter compares {term.field} by = or != only",
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
