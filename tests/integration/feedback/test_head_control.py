"""Heads on demand: fitted when a person asks, and taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.longrunning import operations_pb2

from services.feedback.heads.app.refit import STAGE
from services.feedback.heads.domain import HeadState
from shared.calls.client import aio_channel, metadata
from shared.calls.server import RpcServer
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.gen.trimtab.feedback.v1 import feedback_pb2_grpc as pb_grpc
from shared.language.errors import FailedPrecondition, InvalidArgument, NotFound
from shared.state import operations
from tests.unit.feedback import raters
from tests.unit.feedback.house import House
from tests.unit.feedback.raters import MODEL, V1


@pytest.fixture
def turned() -> House:
    """Nothing is due by its schedule."""
    return raters.turned_house(heads_schedule="")


def end(house: House, name: str) -> tuple[bool, pb.FitHeadResponse]:
    found = operations.get(house.database, name, "local")
    response = pb.FitHeadResponse()
    found.response.Unpack(response)
    return found.done, response


def fit(house: House, request_id: str = "") -> pb.FitHeadResponse:
    name = house.rooms.heads.control.fit("local", request_id)
    assert end(house, name)[0] is False
    assert raters.fits(house).run_once()
    while raters.tracks(house).run_once():
        continue
    done, response = end(house, name)
    assert done
    return response


def test_a_fit_on_demand_serves_if_it_passes_and_tells_its_figures(turned: House) -> None:
    response = fit(turned)
    assert (response.reason, response.head.name) == ("promoted", V1)
    assert response.head.log_loss_gain.low > 0
    assert response.labels == response.users * raters.TALKS
    assert turned.parts.classifier.head_of("local") == V1
    assert turned.counts(STAGE) == {("taken", ""): 1, ("made", "promoted"): 1}
    with pytest.raises(NotFound):
        operations.get(turned.database, "operations/none", "local")


def test_the_same_request_is_one_fit_and_another_waits_its_turn(turned: House) -> None:
    control = turned.rooms.heads.control
    name = control.fit("local", "r1")
    assert control.fit("local", "r1") == name
    with pytest.raises(FailedPrecondition) as refused:
        control.fit("local", "r2")
    assert refused.value.reason == "FIT_UNDER_WAY"
    assert raters.fits(turned).run_once()
    assert not raters.fits(turned).run_once()
    assert control.fit("local", "r1") == name  # it has ended: nothing is begun
    assert not raters.fits(turned).run_once()


def test_a_scheduled_look_does_not_fit_beside_one_on_demand() -> None:
    house = raters.turned_house()
    house.rooms.heads.control.fit("local", "")
    assert raters.look(house) == 0
    assert raters.fits(house).run_once()
    assert not raters.fits(house).run_once()
    assert house.adds_up()


def test_one_new_label_is_enough_on_demand_and_none_is_not(turned: House) -> None:
    fit(turned)
    assert fit(turned).reason == "NOTHING_NEW"
    raters.rate(turned, raters.reversed_, [0], batch="new")
    assert fit(turned).reason in {"NOT_BETTER", "promoted"}


def test_a_head_that_serves_is_taken_back_and_needs_new_labels_to_return(turned: House) -> None:
    fit(turned)
    card = turned.rooms.heads.control.retire("local", V1)
    assert (card.name, card.state, card.reason) == (V1, HeadState.FORMER, "RETIRED")
    assert turned.parts.classifier.head_of("local") == turned.parts.classifier.shipped
    while raters.tracks(turned).run_once():
        continue
    assert turned.tracker.serving == {MODEL: ""}
    (listed,), _ = turned.parts.heads.page("local", None, 9)
    assert listed.reason == "RETIRED"
    assert fit(turned).reason == "NOTHING_NEW"


def test_only_what_serves_can_be_taken_back(turned: House) -> None:
    control = turned.rooms.heads.control
    with pytest.raises(NotFound):
        control.retire("local", "")
    fit(turned)
    with pytest.raises(FailedPrecondition, match="is not serving"):
        control.retire("local", "heads/dissatisfaction-v9")
    with pytest.raises(InvalidArgument):
        control.retire("local", "v1")
    assert control.retire("local", "").name == V1
    with pytest.raises(NotFound):
        control.retire("local", "")


def test_a_fit_that_fails_ends_its_operation_with_the_error(turned: House) -> None:
    name = turned.rooms.heads.control.fit("local", "")
    worker, job = raters.fits(turned), raters.job_of(turned)
    with turned.database.begin() as transaction:
        worker.abandon(job, RuntimeError("no numbers"), transaction)
    found = operations.get(turned.database, name, "local")
    assert (found.done, found.error.message) == (True, "the fit failed: no numbers")


@pytest.fixture
async def stub(turned: House) -> AsyncIterator[Any]:
    server = RpcServer("feedback", [turned.parts.mount()])
    channel = aio_channel(f"127.0.0.1:{await server.start()}")
    yield pb_grpc.FeedbackServiceStub(channel)
    await channel.close()
    await server.drain()


async def test_both_are_calls(turned: House, stub: Any) -> None:
    operation = await stub.FitHead(pb.FitHeadRequest(), metadata=metadata("local"))
    assert isinstance(operation, operations_pb2.Operation)
    assert operation.name.startswith("operations/fit-head-")
    assert raters.fits(turned).run_once()
    told = await stub.RetireHead(pb.RetireHeadRequest(name=V1), metadata=metadata("local"))
    assert told.head.state == pb.HEAD_STATE_FORMER
    assert told.serving == turned.parts.classifier.shipped
