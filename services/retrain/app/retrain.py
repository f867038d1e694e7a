"""Use cases: start runs, by a person or a trigger, and look at them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.retrain.app.queue import placed
from services.retrain.domain.asked import check_wish
from services.retrain.domain.datasheet import describe
from services.retrain.domain.following import is_enough, left_without, may_be_followed
from services.retrain.domain.policies import Policy
from services.retrain.domain.praise import to_keep
from services.retrain.domain.recipes import RecipeOf, no_recipes
from services.retrain.domain.rules import Reading, Rules, whole_answers
from services.retrain.domain.runs import (
    Alarm,
    Run,
    RunStep,
    State,
    Trigger,
    TriggerKind,
    learnt_until,
)
from services.retrain.domain.selection import select
from services.retrain.domain.snapshots import Selection, Snapshot
from services.retrain.ports import Policies, Session, Store
from shared.language.errors import InvalidArgument, NotFound
from shared.language.groups import Composition
from shared.language.identifiers import stable_id
from shared.language.policies import PolicyKey, policy_of_version

_log = logging.getLogger(__name__)
# Among so many of a policy's last runs, the one that passed is looked for whose snapshot was learnt last.
RUNS_LOOKED_AT = 50
# What answers whom, and the name under which the run's version is served; None while a canary is out.
Settled = Callable[[Run], tuple[Composition, str] | None]


@dataclass(frozen=True, slots=True)
class Retrain:
    """What the API, the clocks and the alarms ask for. `rules` are the deployment's; a policy has its own
    beside them."""

    store: Store
    rules: Rules
    clock: Callable[[], datetime]
    policies: Policies
    # The version that serves now for a policy, according to the registry. Raises NotFound if the policy does
    # not exist, and Unavailable while the registry is unavailable.
    champion: Callable[[PolicyKey], str]
    reading: Reading = whole_answers
    recipe_of: RecipeOf = no_recipes

    def known(self) -> dict[PolicyKey, Policy]:
        """The registry's policies, and `assistant` of every tenant that has pairs."""
        with self.store.read() as session:
            assistants = [PolicyKey(tenant) for tenant in session.tenants()]
        return {key: Policy(key) for key in assistants} | dict(self.policies.known())

    def start(
        self, key: PolicyKey, request_id: str, detail: str, recipe: str = "", wish: str = ""
    ) -> Run:
        """`wish`: the run takes pairs of those who ask for it alone. Raises NotFound (POLICY_NOT_FOUND) for a
        policy that does not exist, and InvalidArgument for a recipe or a wish that does not, or is wrong."""
        policy = self.policies.get(key)
        rules, trigger = self._rules(policy, recipe), Trigger(TriggerKind.PERSON, detail)
        rules = rules.only_for(check_wish(wish))
        with self.store.begin() as session:
            return self._begin(session, policy, trigger, request_id, rules=rules)

    def on_schedule(self, policy: Policy, fire: datetime) -> Run:
        """The same scheduled time makes only one run of a policy."""
        line = policy.effective(self.rules).schedule
        trigger = Trigger(TriggerKind.SCHEDULE, f"{line} at {fire.isoformat()}")
        with self.store.begin() as session:
            return self._begin(session, policy, trigger, f"schedule/{fire.isoformat()}")

    def on_volume(self, policy: Policy) -> Run | None:
        """Starts a run once enough pairs of the policy have come since its last snapshot."""
        enough = policy.effective(self.rules).volume_pairs
        if not enough:
            return None
        with self.store.read() as session:
            if _more_pairs(session, policy.key, enough) is None:
                return None
        trigger = Trigger(TriggerKind.VOLUME, f"{enough} pairs or more since the last snapshot")
        with self.store.begin() as session:
            place = _more_pairs(session, policy.key, enough)
            if place is None:
                return None
            return self._begin(session, policy, trigger, f"volume/{place}")

    def newest(self, keys: Iterable[PolicyKey]) -> dict[PolicyKey, str]:
        """The newest run of each of these policies that has any."""
        with self.store.read() as session:
            found = {key: session.newest(key) for key in keys}
        return {key: run for key, run in found.items() if run}

    def follow(self, policy: Policy, run: str, settled: Settled) -> bool:
        """Queues a run for each wish that `run`, the policy's newest, left unanswered, once no rollout is under
        way; see domain/following.py. False as long as that is to come. Asks the registry only where there may
        be one. Raises Unavailable while the registry is unavailable."""
        with self.store.read() as session:
            last = session.run(run)
        if last is None or not may_be_followed(last):
            return last is None or last.has_ended
        found = settled(last)
        if found is None:
            return False
        rules = [last.rules.only_for(wish) for wish in left_without(last, *found)]
        with self.store.read() as session:
            each = [(one, selected(session, policy.key, one, self.reading)) for one in rules]
        with self.store.begin() as session:
            if session.newest(policy.key) != run or session.run(run) != last:
                return False
            runs = [
                self._follower(session, policy, last, one)
                for one, selection in each
                if is_enough(selection, one)
            ]
            followers = tuple(one.run for one in runs)
            session.put(replace(last, is_followed=True, followed_by=followers))
        return True

    def _follower(self, session: Session, policy: Policy, of: Run, rules: Rules) -> Run:
        wish = rules.caps.wish
        trigger = Trigger(TriggerKind.WISH, f"{wish}, which {of.run} did not give them")
        return self._begin(session, policy, trigger, f"{of.run}/{wish}", rules=rules)

    def answers(self, alarm: Alarm) -> Policy | None:
        """The policy whose champion the alarm is about, as the registry says; None if it is about no champion.
        Raises Unavailable while the registry is unavailable. Never call it within a transaction."""
        name = policy_of_version(alarm.model_version)
        if not name:  # imported chats carry other models' names
            return None
        key = PolicyKey(alarm.tenant, name)
        try:
            # A canary is for the registry to judge.
            if self.champion(key) != alarm.model_version:
                return None
            return self.policies.get(key)
        except NotFound:
            return None

    def on_alarm(self, session: Session, policy: Policy, alarm: Alarm) -> str:
        """Starts a run for an alarm about the policy's champion, or returns why not. Alarms close together make
        one run."""
        rules = policy.effective(self.rules)
        if not rules.drift:
            return "DRIFT_IS_OFF"
        if session.under_way(policy.key):
            return "RUN_UNDER_WAY"
        now = self.clock()
        last = session.runs(policy.key.tenant, None, 1, policy.key.policy)
        if last and (now - last[0].update_time).total_seconds() < rules.cooldown_s:
            return "COOLING_DOWN"
        try:
            rules = self._rules(policy)
        except InvalidArgument as wrong:
            _log.error("%s starts no run of %s: %s", alarm.name, policy.key.name, wrong.message)
            return wrong.reason
        until, trigger = (
            now + timedelta(seconds=rules.pairs_wait_s),
            Trigger(TriggerKind.DRIFT, alarm.words),
        )
        self._begin(session, policy, trigger, alarm.name, until, rules)
        return ""

    def get(self, tenant: str, run: str) -> Run:
        """Raises NotFound, also for another tenant's."""
        with self.store.read() as session:
            return _known(session, tenant, run)

    def runs(
        self, tenant: str, below: int | None, most: int, policy: str = "", under_way: bool = False
    ) -> list[Run]:
        with self.store.read() as session:
            return session.runs(tenant, below, most, policy, under_way)

    def cancel(self, tenant: str, run: str) -> Run:
        """A queued run ends immediately, a running one within seconds. A run that has ended stays as it
        is.
        """
        with self.store.begin() as session:
            found = _known(session, tenant, run)
            if found.has_ended or found.is_cancelling:
                return found
            now = self.clock()
            if found.state == State.QUEUED:
                found = replace(found.entered(State.CANCELLED, now), verdict="cancelled")
            else:
                found = replace(found, is_cancelling=True, update_time=now)
            session.put(found)
            return found

    def preview(
        self, key: PolicyKey, place_of: Callable[[str], str], recipe: str = "", wish: str = ""
    ) -> Snapshot:
        """What a run of this recipe, for this wish, would be trained on. Raises as `start` does."""
        rules = self._rules(self.policies.get(key), recipe).only_for(check_wish(wish))
        with self.store.read() as session:
            selection = selected(session, key, rules, self.reading)
        snapshot = describe(selection, "")
        return replace(snapshot, uri=place_of(snapshot.digest))

    def rules_of(self, key: PolicyKey) -> Rules:
        """What a run of the policy would follow now, as far as is known here: of a policy that nobody knows the
        deployment's rules, and without its recipe if that is wrong or gone. Asks nobody."""
        policy = self.policies.known().get(key, Policy(key))
        try:
            return self._rules(policy)
        except InvalidArgument:
            return policy.effective(self.rules)

    def _rules(self, policy: Policy, recipe: str = "") -> Rules:
        """A recipe that is asked for by name, or else the policy's, takes precedence over the policy's own
        fields, which do over the deployment's. Raises InvalidArgument as `recipe_of` does."""
        rules, name = policy.effective(self.rules), recipe or policy.recipe
        return self.recipe_of(name).applied(rules) if name else rules

    def _begin(
        self,
        session: Session,
        policy: Policy,
        trigger: Trigger,
        request_id: str,
        pairs_until: datetime | None = None,
        rules: Rules | None = None,
    ) -> Run:
        """`rules`: the policy's, if none are given."""
        name = request_id and f"{trigger.kind.value}/{request_id}"
        if name and (found := session.by_request(policy.key, name)):
            return found
        now, number = self.clock(), session.next_number()
        begun = Run(
            run=f"run-{number}-{stable_id(policy.key.name, name or now.isoformat(), length=6)}",
            number=number,
            state=State.QUEUED,
            trigger=trigger,
            create_time=now,
            update_time=now,
            tenant=policy.key.tenant,
            policy=policy.key.policy,
            rules=rules or self._rules(policy),
            request_id=name,
            pairs_until=pairs_until,
            steps=(RunStep(State.QUEUED, 0, now),),
        )
        run = placed(session, begun)
        session.put(run)
        return run


def selected(
    session: Session, key: PolicyKey, rules: Rules, reading: Reading = whole_answers
) -> Selection:
    """What a snapshot of the policy would contain if it were made now."""
    pairs = session.pairs(key, rules.pairs_looked_at)
    praised = session.praised(key, rules.pairs_looked_at) if rules.caps.praised_answers else []
    personas = session.personas({pair.user for pair in (*pairs, *praised)})
    runs = session.runs(key.tenant, None, RUNS_LOOKED_AT, key.policy)
    until = learnt_until(runs, rules.caps.wish)
    selection = select(pairs, personas, rules.caps, reading(rules), until)
    return replace(selection, praised=to_keep(praised, pairs, personas, rules.caps))


def _more_pairs(session: Session, key: PolicyKey, enough: int) -> int | None:
    """The place after which enough pairs have come. None if there are too few, if a run is under way,
    or if a run for these pairs ended without a snapshot."""
    place = session.pairs_seen(key)
    if session.under_way(key) or session.by_request(key, f"{TriggerKind.VOLUME}/volume/{place}"):
        return None
    return place if session.train_pairs_after(key, place, enough) >= enough else None


def _known(session: Session, tenant: str, run: str) -> Run:
    found = session.run(run)
    if found is None or found.tenant != tenant:
        raise NotFound(f"there is no run {run!r}", field="name")
    return found
