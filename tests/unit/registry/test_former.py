"""Which versions served before."""

from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from tests.unit.registry.test_registry import HOME, Calling, House


async def test_former_champions_are_told_newest_first_without_those_that_were_rolled_back() -> None:
    house = House()
    for name in "abcd":
        house.app.promote("local", house.register(name), "ann", "looks good")
    house.app.rollback(HOME, "", "ann", "d was not")

    async def former(most: int) -> list[str]:
        asked = pb.GetRolloutRequest(former=most)
        told = await house.servicer.GetRollout(asked, Calling("local"))
        return [one.version for one in told.former]

    assert await former(0) == await former(-1) == []
    assert await former(2) == ["assistant-v2", "assistant-v1"]
    assert await former(9) == ["assistant-v2", "assistant-v1", "assistant-v0"]
    house.app.promote("local", "assistant-v1", "ann", "the best after all")
    assert await former(9) == ["assistant-v3", "assistant-v2", "assistant-v0"]
