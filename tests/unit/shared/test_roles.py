"""Every method of every API has a deliberate role: a new method must be added here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from infra.local.paths import REPO
from shared.access.admission import role_for
from shared.gen.trimtab.common.v1 import access_pb2

ROLES = {
    "writer": """
        Completion: UpdateCompletion
        Feedback: CorrectPersona DeletePersona FreezePersona UnfreezePersona
        Interaction: LogAssessments LogFeedback LogPreferences LogTurns StreamTurns
        People: CorrectMembership""",
    "reader": """
        Completion: GetCompletion ListCompletionMessages ListCompletions
        DeadLetter: ListDeadLetters
        Drift: GetAlarm ListAlarms ListBuckets ListStreams
        Evaluation: GetEvaluation ListEvaluations
        Feedback: Classify GetPersona ListFeedback ListPairs ListPersonaVersions ListPersonas
        Feedback: ListHeads ListJudgements ListWaitingFeedback
        Interaction: GetConversation ListConversations
        People: GetMembership ListGroups ListMembershipVersions ListMemberships
        PersonalData: ExportPersonalData
        Registry: GetPolicy GetRollout GetVersion ListPolicies ListVersions
        Retrain: GetReport GetRun ListRecipes ListRuns PreviewSnapshot
        Reward: ListRewardModels Score ScoreStream
        Stage: GetStageCounts
        Trace: TraceConversation
        UserData: ExportUser""",
    "operator": """
        Evaluation: Evaluate
        Feedback: FitHead RetireHead
        Registry: AdvanceRollout CreatePolicy PromoteVersion RegisterVersion RejectVersion
        Registry: RestoreVersion RetireVersion RollbackVersion StartRollout UpdatePolicy VerifyVersion
        Retrain: CancelRun StartRetrain
        Reward: TrainRewardModel""",
    "admin": """
        Key: CreateKey GetQuota ListKeys RevokeKey RotateKey SetQuota
        Registry: DeletePolicy
        UserData: EraseUser GetErasure ListErasures""",
    "internal": """
        DeadLetter: ReplayDeadLetters
        Key: ReportUses WatchKeys
        Registry: ReportAnswers WatchServed""",
}


def _thought_about() -> dict[str, str]:
    found: dict[str, str] = {}
    for role, text in ROLES.items():
        for line in text.strip().splitlines():
            service, _, methods = line.strip().partition(": ")
            found |= {f"{service}Service.{method}": role for method in methods.split()}
    return found


def _modules() -> list[Any]:
    return [
        import_module(".".join(file.relative_to(REPO).with_suffix("").parts))
        for file in sorted((REPO / "shared" / "gen" / "trimtab").rglob("*_pb2.py"))
    ]


def test_every_method_needs_the_role_that_it_should() -> None:
    actual = {
        f"{service.name}.{method.name}": role_for(f"/{service.full_name}/{method.name}")
        for module in _modules()
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert actual == _thought_about()


def test_every_method_says_in_the_protos_who_may_call_it() -> None:
    silent = [
        method.full_name
        for module in _modules()
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if not method.GetOptions().Extensions[access_pb2.caller]
    ]
    assert silent == []


def test_what_is_not_ours_or_not_known() -> None:
    assert role_for("/google.longrunning.Operations/GetOperation") == "reader"
    assert role_for("/google.longrunning.Operations/DeleteOperation") == "admin"
    assert role_for("/trimtab.drift.v1.DriftService/GetEverything") == "admin"
