"""The whole evaluation service on in-memory ports."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import grpc
import pytest
import sqlalchemy as sa

from services.evaluation import grpc_api
from services.evaluation.adapters.memory import ScriptedLogprobs, ScriptedPolicy, ScriptedScorer
from services.evaluation.adapters.sql_results import SqlAnswers, SqlResults
from services.evaluation.adapters.sql_session import SqlSession, operation_name
from services.evaluation.adapters.tables import ANSWERS, EVALUATIONS, METADATA
from services.evaluation.app.evaluating import EvaluateVersion
from services.evaluation.app.evaluations import Evaluations
from services.evaluation.domain import SuiteLimits
from services.evaluation.jobs import Evaluating, Tracking
from services.evaluation.ports import Bench, Sampling
from shared.calls.client import aio_channel, metadata
from shared.calls.server import RpcServer
from shared.contracts.messages import encode_message
from shared.contracts.status import decode_error
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2 as pb
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2_grpc as pb_grpc
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.messages import Message, text_message
from shared.language.splits import is_held_out
from shared.language.topics import EVALUATION_COMPLETED
from shared.log.memory import MemoryEventLog
from shared.serving import operations_api
from shared.state import operations
from shared.state.database import Database
from shared.state.outbox import OutboxRelay
from shared.state.sessions import SqlStore
from shared.state.tables import JOBS
from shared.statistics.intervals import wilson
from shared.tracking.port import MemoryTracker

NOW = datetime(2026, 11, 20, tzinfo=UTC)
HELD_OUT = [f"u{n}" for n in range(200) if is_held_out("local", f"u{n}")][:10]
TRAINED_ON = next(f"u{n}" for n in range(200) if not is_held_out("local", f"u{n}"))
SHORT = "This is a short answer."
LONG = "This answer goes on for much longer than anybody would have liked it to do today."


def _logprob(adapter_path: str, answer: str) -> float:
    """The adapter likes what is chosen a little more than the base does, and the rejected less."""
    change = {"": 0.0, "adapter": 1.0, "control": -2.0}[adapter_path]
    return -10.0 + (change if answer.startswith("chosen") else -abs(change) / 2)


def _policy() -> ScriptedPolicy:
    return ScriptedPolicy(
        voices={
            "v1": lambda text: "I'm sorry, I can't." if "kill a Python" in text else SHORT,
            "base": lambda text: LONG,
            "sft": lambda text: SHORT if "?" in text and len(text) % 2 else LONG,
        },
        letters={"v1": {"A": -1.0, "B": -2.0}, "base": {"A": -2.0, "B": -2.0}},
    )


@dataclass
class House:
    policy: ScriptedPolicy = field(default_factory=_policy)
    scorer: ScriptedScorer = field(default_factory=lambda: ScriptedScorer(lambda t: -len(t)))
    limits: SuiteLimits = field(default_factory=lambda: SuiteLimits(prompts=24, pairs=8))
    database: Database = field(default_factory=lambda: Database("sqlite://", METADATA))

    def __post_init__(self) -> None:
        self.log = MemoryEventLog()
        self.tracker = MemoryTracker()
        self.bench = bench = Bench(
            self.policy,
            ScriptedLogprobs(_logprob),
            self.scorer,
            SqlAnswers(self.database),
            SqlResults(self.database),
            self.limits,
        )
        store = SqlStore(self.database, SqlSession)
        self.app = Evaluations(store, lambda: NOW)
        self.worker = Evaluating(
            self.database, store, SqlSession, EvaluateVersion(bench), lambda: NOW
        ).worker()
        self.tracking = Tracking(self.database, store, SqlSession, self.tracker).worker()
        self.servicer = grpc_api.EvaluationServicer(
            self.app, lambda name: operations.get(self.database, operation_name(name))
        )

    def start(self, request: pb.EvaluateRequest) -> str:
        return str(self.servicer._start("local", request).name)

    def finish(self, rounds: int = 20) -> None:
        for _ in range(rounds):
            with self.database.begin() as tx:
                tx.connection.execute(JOBS.update().values(run_after=0.0))
            if not self.worker.run_once():
                return

    def figures(self, operation: str) -> dict[str, common.Estimate]:
        done = operations.get(self.database, operation)
        assert done.done, done
        response = pb.EvaluateResponse()
        done.response.Unpack(response)
        return {estimate.name: estimate for estimate in response.evaluation.estimates}


def asked_for(**changes: object) -> pb.EvaluateRequest:
    request = pb.EvaluateRequest(
        request_id="r1",
        model_version="assistant-v1",
        served_name="v1",
        champion_version="assistant-v0",
        champion_served_name="base",
        adapter_path="adapter",
        held_out_pairs=[_pair(user) for user in (*HELD_OUT, TRAINED_ON)],
        controls=[
            pb.Control(model_version="sft-v1", served_name="sft", adapter_path="control"),
        ],
    )
    request.MergeFrom(pb.EvaluateRequest(**changes))  # type: ignore[arg-type]
    return request


def _pair(user: str) -> events.PreferencePair:
    return events.PreferencePair(
        pair_id=user,
        tenant="local",
        user_id=user,
        prompt=[encode_message(text_message("user", f"A question of {user}?"))],
        chosen=encode_message(text_message("assistant", "chosen answer of four")),
        rejected=encode_message(text_message("assistant", "rejected answer")),
    )


def test_every_suite_by_its_values() -> None:
    house = House()
    operation = house.start(asked_for())
    house.finish()
    figures = house.figures(operation)
    assert (figures["win_rate"].value, figures["win_rate"].count) == (1.0, 24)
    assert figures["win_rate"].users == 10  # all ten held-out users, the rest everyday questions
    assert 0.2 < figures["win_rate@sft-v1"].value < 0.9
    assert figures["length_words"].value == 5.0
    assert figures["length_words@assistant-v0"].value == 16.0
    assert figures["sane_share"].value == figures["sane_share@assistant-v0"].value == 1.0
    assert figures["distinct_2"].value == pytest.approx(4 / (24 * 4))
    assert figures["over_refusal"].value == pytest.approx(1 / 44)
    assert figures["over_refusal@assistant-v0"].value == 0.0
    # v1 always says A: once the right one and once the wrong one, a tie in every item.
    assert figures["sycophancy"].value == figures["sycophancy@assistant-v0"].value == 0.5
    accuracy = figures["held_out_pair_accuracy"]
    assert (accuracy.value, accuracy.count, accuracy.users) == (1.0, 8, 8)
    assert figures["chosen_logp_change"].value == pytest.approx(1.0 / 4)
    assert figures["held_out_pair_accuracy@sft-v1"].value == 0.0
    assert figures["chosen_logp_change@sft-v1"].value == pytest.approx(-2.0 / 4)
    assert "over_refusal@sft-v1" not in figures
    assert all(f.low <= f.value <= f.high and f.confidence == 0.95 for f in figures.values())


def test_the_judge_only_judges_held_out_users_and_nobodys_prompts() -> None:
    house = House()
    house.start(asked_for())
    house.finish()
    judged = {user for user, _ in house.scorer.judged}
    assert judged == {*HELD_OUT, ""}


def test_a_resumed_evaluation_asks_only_for_what_it_had_not_got() -> None:
    undisturbed, house = House(), House()
    for one in (undisturbed, house):
        operation = one.start(asked_for())
    undisturbed.finish()
    # Serving goes away in the middle of the win rate: 88 refusal answers, then some of 72.
    house.policy.answers_until_away = 110
    house.finish(rounds=1)
    assert not operations.get(house.database, operation).done
    house.policy.answers_until_away = 1_000_000
    house.finish()
    assert house.policy.asked == undisturbed.policy.asked == 88 + 3 * 24
    assert house.figures(operation) == undisturbed.figures(operation)


def test_each_evaluation_draws_the_champions_answers_anew() -> None:
    house = House()
    house.start(asked_for())
    house.finish()
    asked = house.policy.asked
    with house.database.read() as connection:
        assert connection.execute(sa.select(ANSWERS)).all() == []
    again = house.start(asked_for(request_id="r2"))
    house.finish()
    assert house.policy.asked == 2 * asked
    assert house.figures(again)["win_rate"].value == 1.0


@pytest.mark.parametrize("served_name", ["v1", "nobody serves this"])
def test_no_users_words_stay_of_an_evaluation_that_has_ended(served_name: str) -> None:
    house = House()
    house.start(asked_for(served_name=served_name))
    house.finish()
    with house.database.read() as connection:
        assert connection.execute(sa.select(ANSWERS)).all() == []
        assert connection.execute(sa.select(EVALUATIONS.c.request)).scalars().all() == [b""]


def test_a_reward_model_trained_in_between_does_not_decide_the_win_rate() -> None:
    """Every call of the judge finds a newer model, whose rewards are all higher than the one's before."""
    house = House(scorer=ScriptedScorer(lambda text: -len(text), shift=1000.0))
    house.policy.voices = dict.fromkeys(("v1", "base", "sft"), lambda text: SHORT)
    operation = house.start(asked_for())
    house.finish()
    figures = house.figures(operation)
    assert (figures["win_rate"].value, figures["win_rate@sft-v1"].value) == (0.5, 0.5)
    (evaluation,) = house.app.page("local", None, 1)
    assert (house.scorer.calls, evaluation.reward_model) == (1, "rewardModels/reward-v1")


def test_a_judge_that_changes_while_it_scores_scores_again_and_the_last_is_named() -> None:
    house = House(scorer=ScriptedScorer(lambda text: -len(text), changes=2))
    operation = house.start(asked_for())
    house.finish()
    assert house.figures(operation)["win_rate"].value == 1.0
    (evaluation,) = house.app.page("local", None, 1)
    assert (house.scorer.calls, evaluation.reward_model) == (3, "rewardModels/reward-v3")


def test_a_judge_that_never_stays_fails_the_evaluation() -> None:
    house = House(scorer=ScriptedScorer(lambda text: -len(text), changes=1000))
    operation = house.start(asked_for())
    house.finish()
    done = operations.get(house.database, operation)
    assert (done.error.code, house.scorer.calls) == (13, 9)  # three calls for each attempt
    assert "evaluate again once no reward model is being trained" in done.error.message


def test_more_confidence_asks_more_and_widens_no_more_than_it_must() -> None:
    house = House(limits=SuiteLimits(prompts=24, pairs=8))
    operation = house.start(asked_for(confidence=0.99))
    house.finish()
    figures = house.figures(operation)
    # (2.576 / 1.960)² = 1.727 times as many
    assert (figures["win_rate"].count, figures["held_out_pair_accuracy"].count) == (42, 10)
    assert figures["sane_share"].low == wilson(42, 42, 0.99)[0]
    assert all(f.confidence == 0.99 and f.low <= f.value <= f.high for f in figures.values())


def test_the_same_request_id_is_the_same_evaluation_and_counts_once() -> None:
    house = House()
    first, second = house.start(asked_for()), house.start(asked_for())
    assert first == second
    house.finish()
    OutboxRelay(house.database, house.log).relay_once()
    records = house.log.records(EVALUATION_COMPLETED)
    completed = [events.EvaluationCompleted.FromString(r.event.value) for r in records]
    assert [c.model_version for c in completed] == ["assistant-v1"]
    assert {(o, r): n for _, o, r, n in house.database.counts()} == {
        ("taken", ""): 1,
        ("made", "evaluated"): 1,
        ("waiting", "UNDER_WAY"): 0,
    }


def test_without_a_judge_the_win_rate_rests_on_nothing_and_says_so() -> None:
    house = House(scorer=ScriptedScorer(None))
    operation = house.start(asked_for(suites=["win_rate"]))
    house.finish()
    figure = house.figures(operation)["win_rate"]
    assert (figure.count, figure.low, figure.high) == (0, 0.0, 1.0)
    assert figure.method == "not measured: REWARD_MODEL_UNTRAINED"


def test_a_model_that_is_not_served_fails_the_operation() -> None:
    house = House()
    operation = house.start(asked_for(request_id="r3", served_name="unknown"))
    house.finish()
    done = operations.get(house.database, operation)
    assert done.done
    assert "unknown" in done.error.message


def test_the_tracker_gets_each_evaluation_once() -> None:
    house = House()
    house.tracker.go_away()
    house.start(asked_for(suites=["over_refusal"]))
    house.finish()
    assert house.tracking.run_once()
    house.tracker.go_away(False)
    with house.database.begin() as tx:
        tx.connection.execute(JOBS.update().values(run_after=0.0))
    assert house.tracking.run_once()
    (evaluation,) = house.app.page("local", None, 5)
    assert evaluation.mlflow_run_id == "run-1"
    assert house.tracker.runs["run-1"].metrics["over_refusal"] == pytest.approx(1 / 44)


async def test_the_api() -> None:
    house = House()
    mounts = [grpc_api.mount(house.servicer), operations_api.mount(house.database)]
    server = RpcServer("evaluation", mounts, drain_s=0.1)
    port = await server.start()
    caller = metadata("local")
    try:
        async with aio_channel(f"127.0.0.1:{port}") as channel:
            stub = pb_grpc.EvaluationServiceStub(channel)
            for changes in ({"suites": ["nonsense"]}, {}):
                wrong = asked_for(**changes)
                if not changes:
                    wrong.model_version = ""
                with pytest.raises(grpc.RpcError) as raised:
                    await stub.Evaluate(wrong, metadata=caller)
                error = decode_error(raised.value, "evaluation")
                assert error.field == ("suites" if changes else "model_version")
            for number in range(3):
                await stub.Evaluate(
                    asked_for(request_id=f"q{number}", suites=["over_refusal"]), metadata=caller
                )
            await asyncio.to_thread(house.finish)
            listed = await stub.ListEvaluations(
                pb.ListEvaluationsRequest(page_size=2), metadata=caller
            )
            rest = await stub.ListEvaluations(
                pb.ListEvaluationsRequest(page_size=2, page_token=listed.next_page_token),
                metadata=caller,
            )
            names = [e.name for e in (*listed.evaluations, *rest.evaluations)]
            assert (len(listed.evaluations), len(set(names))) == (2, 3)
            found = await stub.GetEvaluation(
                pb.GetEvaluationRequest(name=names[0]), metadata=caller
            )
            assert [e.name for e in found.evaluation.estimates] == [
                "over_refusal",
                "over_refusal@assistant-v0",
            ]
            with pytest.raises(grpc.RpcError) as hidden:
                await stub.GetEvaluation(
                    pb.GetEvaluationRequest(name=names[0]), metadata=metadata("another")
                )
            assert decode_error(hidden.value, "evaluation").reason == "NOT_FOUND"
    finally:
        await server.drain()


def test_an_arm_may_be_told_something_before_each_prompt() -> None:
    """The champion with an instruction is another arm; its judge sees the plain prompts."""
    heard: dict[str, list[Sequence[Message]]] = {}
    house = House()
    answer = house.policy.answer

    def listening(
        served_name: str, prompts: Sequence[Sequence[Message]], sampling: Sampling
    ) -> list[str]:
        told = [prompt for prompt in prompts if prompt[0].role == "system"]
        heard.setdefault(served_name, []).extend(told)
        plain = answer(served_name, prompts, sampling)
        return [
            SHORT if prompt in told else text for prompt, text in zip(prompts, plain, strict=True)
        ]

    house.policy.answer = listening  # type: ignore[method-assign]
    arm = pb.Control(model_version="in_context", served_name="base", instruction="Be brief.")
    operation = house.start(asked_for(controls=[arm]))
    house.finish()
    figures = house.figures(operation)
    # Scored by shortness: told so it beats what it says otherwise.
    assert figures["win_rate@in_context"].value == 1.0
    assert figures["length_words@in_context"].value == 5.0
    assert figures["length_words@assistant-v0"].value == 16.0
    assert {name: len(told) for name, told in heard.items()} == {"v1": 0, "sft": 0, "base": 24}
    assert {prompt[0].text for prompt in heard["base"]} == {"Be brief."}
    assert "held_out_pair_accuracy@in_context" not in figures
    assert "sycophancy@in_context" not in figures


def test_a_control_may_be_probed_as_what_serves() -> None:
    house = House()
    arm = pb.Control(model_version="assistant-v-first", served_name="base", probed=True)
    operation = house.start(asked_for(controls=[arm]))
    house.finish()
    figures = house.figures(operation)
    for probe in ("sycophancy", "over_refusal"):
        assert figures[f"{probe}@assistant-v-first"].value == figures[f"{probe}@assistant-v0"].value
        assert f"{probe}@sft-v1" not in figures
